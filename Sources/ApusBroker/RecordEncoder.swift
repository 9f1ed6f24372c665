/// Writes the fields of records into a buffer that grows ahead of them, so that a field costs a store and no check of
/// the array's own.
struct RecordEncoder: Sendable {
  /// All of it is initialised; what counts is before `count`.
  private var buffer: [UInt8] = []
  private(set) var count = 0

  /// A record's fields before its key take at most: length 5, attributes 1, timestamp 10, offset 5 bytes; then the
  /// lengths of key, value and the number of headers, 5 each.
  private static let fixedFieldsMax = 5 + 1 + 10 + 5 + 15

  mutating func removeAll() { count = 0 }

  /// Calls `body` with what was written.
  func withBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    let outcome = buffer.withUnsafeBytes { bytes -> Swift.Result<Result, Failure> in
      do throws(Failure) {
        return .success(try body(UnsafeRawBufferPointer(rebasing: bytes[..<count])))
      } catch { return .failure(error) }
    }
    return try outcome.get()
  }

  /// What was written, as an array of its own.
  func takeBytes() -> [UInt8] { Array(buffer[..<count]) }

  /// Writes one record whose headers are encoded already (their number first).
  mutating func writeRecord(
    timestampDelta: Int64, offsetDelta: Int32, key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?,
    encodedHeaders: UnsafeRawBufferPointer
  ) {
    let keyBytes = key?.count ?? 0
    let valueBytes = value?.count ?? 0
    let bodyBytes =
      1 + RecordEncoder.varintBytes(timestampDelta) + RecordEncoder.varintBytes(Int64(offsetDelta))
      + RecordEncoder.varintBytes(key == nil ? -1 : Int64(keyBytes)) + keyBytes
      + RecordEncoder.varintBytes(value == nil ? -1 : Int64(valueBytes)) + valueBytes + encodedHeaders.count
    reserve(RecordEncoder.fixedFieldsMax + keyBytes + valueBytes + encodedHeaders.count)
    var position = count
    buffer.withUnsafeMutableBytes { bytes in
      let base = bytes.baseAddress!
      RecordEncoder.putVarint(Int64(bodyBytes), base, &position)
      base.storeBytes(of: 0, toByteOffset: position, as: UInt8.self)
      position += 1
      RecordEncoder.putVarint(timestampDelta, base, &position)
      RecordEncoder.putVarint(Int64(offsetDelta), base, &position)
      RecordEncoder.putNullable(key, base, &position)
      RecordEncoder.putNullable(value, base, &position)
      RecordEncoder.put(encodedHeaders, base, &position)
    }
    count = position
  }

  /// Writes the number of headers and the headers.
  mutating func writeHeaders(_ headers: [RecordHeader]) {
    writeVarint(Int64(headers.count))
    for header in headers {
      var name = header.name
      name.withUTF8 { writeNullable(UnsafeRawBufferPointer($0)) }
      if let value = header.value {
        value.withUnsafeBytes { writeNullable($0) }
      } else {
        writeNullable(nil)
      }
    }
  }

  private mutating func writeVarint(_ value: Int64) {
    reserve(10)
    var position = count
    buffer.withUnsafeMutableBytes { RecordEncoder.putVarint(value, $0.baseAddress!, &position) }
    count = position
  }

  private mutating func writeNullable(_ source: UnsafeRawBufferPointer?) {
    reserve(10 + (source?.count ?? 0))
    var position = count
    buffer.withUnsafeMutableBytes { RecordEncoder.putNullable(source, $0.baseAddress!, &position) }
    count = position
  }

  private mutating func reserve(_ more: Int) {
    if buffer.count - count < more {
      buffer.append(contentsOf: repeatElement(0, count: max(more, max(buffer.count, 4096))))
    }
  }

  @inline(__always)
  static func varintBytes(_ value: Int64) -> Int {
    let raw = UInt64(bitPattern: (value << 1) ^ (value >> 63))
    return (70 - (raw | 1).leadingZeroBitCount) / 7
  }

  @inline(__always)
  private static func putVarint(_ value: Int64, _ base: UnsafeMutableRawPointer, _ position: inout Int) {
    var rest = UInt64(bitPattern: (value << 1) ^ (value >> 63))
    while rest >= 0x80 {
      base.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: position, as: UInt8.self)
      position += 1
      rest >>= 7
    }
    base.storeBytes(of: UInt8(rest), toByteOffset: position, as: UInt8.self)
    position += 1
  }

  @inline(__always)
  private static func putNullable(
    _ source: UnsafeRawBufferPointer?, _ base: UnsafeMutableRawPointer, _ position: inout Int
  ) {
    guard let source else { return putVarint(-1, base, &position) }
    putVarint(Int64(source.count), base, &position)
    put(source, base, &position)
  }

  @inline(__always)
  private static func put(
    _ source: UnsafeRawBufferPointer, _ base: UnsafeMutableRawPointer, _ position: inout Int
  ) {
    guard let start = source.baseAddress else { return }
    (base + position).copyMemory(from: start, byteCount: source.count)
    position += source.count
  }
}
