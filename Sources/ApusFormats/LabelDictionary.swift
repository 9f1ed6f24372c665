import ApusIO
import ApusModel

/// Writes label sets as lists of numbers of `name="value"` pairs, each pair once: the series of one source share almost
/// all of theirs, so a set takes a tenth of the bytes (docs/format/records.md, "Label dictionary").
struct LabelDictionaryWriter {
  /// By the hash of a pair's bytes, or the next free key behind it where two hashes are equal.
  private var numbers: [UInt64: Int] = [:]
  /// The pairs one after another, and where each begins and ends.
  private var pairs: [UInt8] = []
  private var ranges: [Range<Int>] = []
  private var body = ByteWriter()
  private var list: [Int] = []

  /// Appends one label set to the body.
  mutating func add(_ labels: Labels) {
    list.removeAll(keepingCapacity: true)
    var ends: [Int] = []
    ends.reserveCapacity(16)
    labels.forEach { _, value in ends.append(value.endIndex) }
    labels.bytes.withUnsafeBytes { bytes in
      var start = 0
      for end in ends {
        // A pair is the stretch of the canonical bytes that holds one label, lengths and all.
        list.append(number(of: UnsafeRawBufferPointer(rebasing: bytes[start..<end])))
        start = end
      }
    }
    body.writeVarint(UInt64(list.count))
    for number in list { body.writeVarint(UInt64(number)) }
  }

  private mutating func number(of pair: UnsafeRawBufferPointer) -> Int {
    var key = KeyHash.hash(pair)
    while let known = numbers[key] {
      let isSame = pairs.withUnsafeBytes { UnsafeRawBufferPointer(rebasing: $0[ranges[known]]).elementsEqual(pair) }
      if isSame { return known }
      key &+= 1
    }
    let number = ranges.count
    numbers[key] = number
    ranges.append(pairs.count..<pairs.count + pair.count)
    pairs.append(contentsOf: pair)
    return number
  }

  /// Appends to the body what belongs to the label set just added.
  mutating func append(_ write: (inout ByteWriter) -> Void) { write(&body) }

  /// The dictionary, then the body.
  func write(to writer: inout ByteWriter) {
    writer.writeVarint(UInt64(ranges.count))
    writer.write(pairs)
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
