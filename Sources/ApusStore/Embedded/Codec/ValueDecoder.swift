import ApusIO
import ApusModel

/// Decodes value chunks and reads their statistics. What comes in is checked against its end at every step: bytes that no
/// encoder wrote give an error, never an access outside of them.
package enum ValueDecoder {
  /// Decodes a chunk of `rows` rows into `values` and `presence` (a byte a row). Returns whether all rows have a sample;
  /// where they do, `presence` is left alone. Absent rows get the value 0.
  ///
  /// Invariant (unsafe memory): `values` and `presence` have room for `rows` elements, at most `ValueChunk.rowsMax`.
  package static func decode(
    _ bytes: UnsafeRawBufferPointer, rows: Int, into values: UnsafeMutablePointer<Double>,
    presence: UnsafeMutablePointer<UInt8>
  ) throws(ByteReaderError) -> Bool {
    if bytes.isEmpty {
      values.update(repeating: 0, count: rows)
      presence.update(repeating: 0, count: rows)
      return false
    }
    var reader = ByteReader(bytes)
    let (kind, gaps) = try readHeader(&reader)
    let count = gaps ? try Presence.decode(&reader, rows: rows, into: presence) : rows
    guard count > 0 else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
    switch kind {
    case .constant: values.update(repeating: try reader.readNumber(), count: count)
    case .runLength: try decodeRuns(&reader, count, into: values)
    case .decimal: try decodeDecimals(&reader, count, into: values)
    case .coded: try decodeCoded(&reader, count, into: values)
    case .xor:
      try skipStatistics(&reader)
      try XORCodec.decode(&reader, count: count, into: values)
    case .raw:
      try skipStatistics(&reader)
      let raw = try reader.readBytes(count * 8)
      UnsafeMutableRawPointer(values).copyMemory(from: raw.baseAddress!, byteCount: raw.count)
    }
    if !gaps { return true }
    // Spread from the end, so that nothing is overwritten before it has moved.
    var source = count
    var row = rows
    while row > 0 {
      row -= 1
      if presence[row] != 0 {
        source -= 1
        values[row] = values[source]
      } else {
        values[row] = 0
      }
    }
    return false
  }

  /// Which rows have a sample, without decoding the values. Returns whether all have.
  ///
  /// Invariant (unsafe memory): `presence` has room for `rows` bytes.
  package static func presence(
    _ bytes: UnsafeRawBufferPointer, rows: Int, into presence: UnsafeMutablePointer<UInt8>
  ) throws(ByteReaderError) -> Bool {
    if bytes.isEmpty {
      presence.update(repeating: 0, count: rows)
      return false
    }
    var reader = ByteReader(bytes)
    let (_, gaps) = try readHeader(&reader)
    if !gaps { return true }
    return try Presence.decode(&reader, rows: rows, into: presence) == rows
  }

  /// Reads or derives the statistics of a chunk; of constant, run-length and decimal chunks without touching values.
  package static func statistics(_ bytes: UnsafeRawBufferPointer, rows: Int) throws(ByteReaderError) -> ChunkStatistics
  {
    var result = ChunkStatistics()
    if bytes.isEmpty { return result }
    var reader = ByteReader(bytes)
    let flags = bytes[0]
    let (kind, gaps) = try readHeader(&reader)
    result.count = rows
    if gaps {
      var failure: ByteReaderError?
      withUnsafeTemporaryAllocation(of: UInt8.self, capacity: rows) { scratch in
        do throws(ByteReaderError) {
          result.count = try Presence.decode(&reader, rows: rows, into: scratch.baseAddress!)
        } catch { failure = error }
      }
      if let failure { throw failure }
    }
    result.hasNaN = flags & ValueChunk.nanFlag != 0
    result.hasStale = flags & ValueChunk.staleFlag != 0
    switch kind {
    case .constant:
      let value = try reader.readNumber()
      result.first = value
      result.last = value
      if !value.isNaN {
        result.minimum = value
        result.maximum = value
        result.sum = value * Double(result.count)
      }
    case .runLength: try readRunStatistics(&reader, &result)
    case .decimal, .coded:
      let exponent = try reader.read(UInt8.self)
      if kind == .decimal, exponent & ValueChunk.exceptionsFlag != 0 {
        try readStatistics(&reader, &result)
      } else {
        guard exponent <= DecimalScaling.exponentMax else {
          throw ByteReaderError(kind: .outOfBounds, offset: reader.position)
        }
        let power = DecimalScaling.powers[Int(exponent)]
        let below = Int64(truncatingIfNeeded: try reader.readVarint())
        let above = Int64(truncatingIfNeeded: try reader.readVarint())
        let last = try reader.readZigzag()
        let distance = try reader.readZigzag()
        let first = try reader.readZigzag()
        result.first = Double(first) / power
        result.last = Double(first &+ last) / power
        result.minimum = Double(first &- below) / power
        result.maximum = Double(first &+ above) / power
        result.sum = Double(Int128(first) * Int128(result.count) + Int128(distance)) / power
      }
    case .xor, .raw: try readStatistics(&reader, &result)
    }
    return result
  }

  private static func readHeader(
    _ reader: inout ByteReader
  ) throws(ByteReaderError) -> (kind: ValueChunk.Kind, gaps: Bool) {
    let byte = try reader.read(UInt8.self)
    guard let kind = ValueChunk.Kind(rawValue: byte & ValueChunk.kindMask), byte & 0xc0 == 0 else {
      throw ByteReaderError(kind: .outOfBounds, offset: reader.position - 1)
    }
    return (kind, byte & ValueChunk.gapsFlag != 0)
  }

  private static func decodeRuns(
    _ reader: inout ByteReader, _ count: Int, into values: UnsafeMutablePointer<Double>
  ) throws(ByteReaderError) {
    let runs = try reader.readCount(max: count)
    var done = 0
    for _ in 0..<runs {
      let length = try reader.readCount(max: count - done)
      (values + done).update(repeating: try reader.readNumber(), count: length)
      done += length
    }
    guard done == count else { throw ByteReaderError(kind: .truncated, offset: reader.position) }
  }

  private static func decodeDecimals(
    _ reader: inout ByteReader, _ count: Int, into values: UnsafeMutablePointer<Double>
  ) throws(ByteReaderError) {
    let tag = try reader.read(UInt8.self)
    let exponent = Int(tag & ~ValueChunk.exceptionsFlag)
    guard exponent <= DecimalScaling.exponentMax else {
      throw ByteReaderError(kind: .outOfBounds, offset: reader.position - 1)
    }
    let hasExceptions = tag & ValueChunk.exceptionsFlag != 0
    if hasExceptions {
      try skipStatistics(&reader)
    } else {
      for _ in 0..<4 { _ = try reader.readVarint() }
    }
    let exceptions = hasExceptions ? try reader.readCount(max: count) : 0
    let exceptionsStart = reader.position
    for _ in 0..<exceptions {
      _ = try reader.readVarint()
      _ = try reader.readNumber()
    }
    try reader.readIntegers(into: integers(at: values), count: count)
    unscale(values, count, exponent: exponent)
    if exceptions == 0 { return }
    reader.position = exceptionsStart
    var place = 0
    for _ in 0..<exceptions {
      place += try reader.readCount(max: count)
      guard place < count else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
      values[place] = try reader.readNumber()
    }
  }

  private static func decodeCoded(
    _ reader: inout ByteReader, _ count: Int, into values: UnsafeMutablePointer<Double>
  ) throws(ByteReaderError) {
    let exponent = Int(try reader.read(UInt8.self))
    guard exponent <= DecimalScaling.exponentMax else {
      throw ByteReaderError(kind: .outOfBounds, offset: reader.position - 1)
    }
    for _ in 0..<4 { _ = try reader.readVarint() }
    try reader.readCodedIntegers(into: integers(at: values), count: count)
    unscale(values, count, exponent: exponent)
  }

  /// The integers are decoded where the doubles will be: both take eight bytes and each is read before its place is
  /// written again.
  private static func integers(at values: UnsafeMutablePointer<Double>) -> UnsafeMutablePointer<Int64> {
    UnsafeMutableRawPointer(values).assumingMemoryBound(to: Int64.self)
  }

  /// Turns integers into the doubles that they stand for, where they are.
  private static func unscale(_ values: UnsafeMutablePointer<Double>, _ count: Int, exponent: Int) {
    let raw = UnsafeMutableRawPointer(values)
    if exponent == 0 {
      for index in 0..<count {
        let integer = raw.load(fromByteOffset: index * 8, as: Int64.self)
        raw.storeBytes(of: Double(integer), toByteOffset: index * 8, as: Double.self)
      }
    } else {
      let power = DecimalScaling.powers[exponent]
      for index in 0..<count {
        let integer = raw.load(fromByteOffset: index * 8, as: Int64.self)
        raw.storeBytes(of: Double(integer) / power, toByteOffset: index * 8, as: Double.self)
      }
    }
  }

  private static func readStatistics(
    _ reader: inout ByteReader, _ result: inout ChunkStatistics
  ) throws(ByteReaderError) {
    result.minimum = try reader.readDouble()
    result.maximum = try reader.readDouble()
    result.sum = try reader.readDouble()
    result.first = try reader.readNumber()
    result.last = try reader.readNumber()
  }

  private static func skipStatistics(_ reader: inout ByteReader) throws(ByteReaderError) {
    _ = try reader.readBytes(24)
    _ = try reader.readNumber()
    _ = try reader.readNumber()
  }

  private static func readRunStatistics(
    _ reader: inout ByteReader, _ result: inout ChunkStatistics
  ) throws(ByteReaderError) {
    var summation = CompensatedSum()
    let runs = try reader.readCount(max: result.count)
    for run in 0..<runs {
      let length = try reader.readCount(max: result.count)
      let value = try reader.readNumber()
      if run == 0 { result.first = value }
      result.last = value
      if value.isNaN { continue }
      summation.add(value * Double(length))
      if !(result.minimum <= value) { result.minimum = value }
      if !(result.maximum >= value) { result.maximum = value }
    }
    result.sum = summation.value
  }
}
