import ApusIO
import ApusModel

/// Writes label sets as lists of numbers of `name="value"` pairs, each pair once: the series of one source share almost
/// all of theirs, so a set takes a tenth of the bytes (docs/format/records.md, "Label dictionary").
struct LabelDictionaryWriter {
  private var numbers: [ArraySlice<UInt8>: Int] = [:]
  private var pairs: [ArraySlice<UInt8>] = []
  private var body = ByteWriter()

  /// Appends one label set to the body.
  mutating func add(_ labels: Labels) {
    var list: [Int] = []
    list.reserveCapacity(16)
    var start = 0
    labels.forEach { _, value in
      // A pair is the stretch of the canonical bytes that holds one label, lengths and all.
      let pair = labels.bytes[start..<value.endIndex]
      start = value.endIndex
      if let number = numbers[pair] {
        list.append(number)
      } else {
        numbers[pair] = pairs.count
        list.append(pairs.count)
        pairs.append(pair)
      }
    }
    body.writeVarint(UInt64(list.count))
    for number in list { body.writeVarint(UInt64(number)) }
  }

  /// Appends to the body what belongs to the label set just added.
  mutating func append(_ write: (inout ByteWriter) -> Void) { write(&body) }

  /// The dictionary, then the body.
  func write(to writer: inout ByteWriter) {
    writer.writeVarint(UInt64(pairs.count))
    for pair in pairs { writer.write(pair) }
    writer.write(body.bytes)
  }
}

/// Reads what `LabelDictionaryWriter` writes, checking every count, length, order and encoding.
struct LabelDictionaryReader {
  /// Where each pair lies in the record.
  private var pairs: [Range<Int>] = []
  /// Where each pair's name lies in the record.
  private var names: [Range<Int>] = []
  private var labelBytes = 0
  private var scratch: [UInt8] = []

  init(_ reader: inout RecordReader) throws(FormatError) {
    // A pair takes at least four bytes: two lengths and a byte each.
    let count = try reader.count(max: reader.remaining / 4)
    pairs.reserveCapacity(count)
    names.reserveCapacity(count)
    for _ in 0..<count {
      let start = reader.position
      let name = try LabelDictionaryReader.part(&reader, max: FormatLimits.labelNameBytes)
      _ = try LabelDictionaryReader.part(&reader, max: FormatLimits.labelValueBytes)
      names.append(name)
      pairs.append(start..<reader.position)
    }
  }

  /// The next label set of the body.
  mutating func labels(_ reader: inout RecordReader) throws(FormatError) -> Labels {
    let start = reader.position
    let count = try reader.count(max: FormatLimits.labelsPerSeries)
    guard count > 0 else { throw FormatError.record(.invalidLabels, offset: start) }
    scratch.removeAll(keepingCapacity: true)
    var previous: Int? = nil
    for _ in 0..<count {
      let number = try reader.varint()
      guard number < UInt64(pairs.count) else { throw FormatError.record(.invalidLabels, offset: start) }
      let index = Int(number)
      if let previous, !isAscending(reader.bytes, names[previous], names[index]) {
        throw FormatError.record(.invalidLabels, offset: start)
      }
      scratch.append(contentsOf: UnsafeRawBufferPointer(rebasing: reader.bytes[pairs[index]]))
      previous = index
    }
    labelBytes += scratch.count
    guard labelBytes <= FormatLimits.labelBytesPerSet else { throw FormatError.record(.outOfBounds, offset: start) }
    // A copy of just the right size: label sets live long.
    return Labels(canonicalBytes: Array(scratch[...]))
  }

  private func isAscending(_ bytes: UnsafeRawBufferPointer, _ left: Range<Int>, _ right: Range<Int>) -> Bool {
    bytes[left].lexicographicallyPrecedes(bytes[right])
  }

  /// A length that is not zero and as short as a varint can be, then as many bytes of UTF-8.
  private static func part(_ reader: inout RecordReader, max: Int) throws(FormatError) -> Range<Int> {
    let start = reader.position
    let length = try reader.count(max: max)
    guard length > 0, reader.position - start == varintLength(length) else {
      throw FormatError.record(.invalidLabels, offset: start)
    }
    let first = reader.position
    guard UTF8Check.isValid(try reader.slice(length)) else { throw .record(.notUTF8, offset: first) }
    return first..<reader.position
  }

  private static func varintLength(_ value: Int) -> Int { value < 0x80 ? 1 : value < 0x4000 ? 2 : 3 }
}
