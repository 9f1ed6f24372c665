/// Walks over the fields of records, every one checked against the end of the bytes (docs/format/log.md, "Record").
///
/// Reads answer nil rather than throw: the caller knows which field of which record it was at, and says so once.
///
/// Invariant (unsafe memory): the caller keeps `bytes` alive for as long as the cursor is used.
struct RecordCursor {
  let bytes: UnsafeRawBufferPointer
  var position = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// A zigzag varint of at most ten bytes.
  @inline(__always)
  mutating func readVarint() -> Int64? {
    guard position < bytes.count else { return nil }
    let first = bytes[position]
    if first < 0x80 {
      position += 1
      return Int64(first >> 1) ^ (0 &- Int64(first & 1))
    }
    return readLongVarint()
  }

  private mutating func readLongVarint() -> Int64? {
    var result: UInt64 = 0
    var shift: UInt64 = 0
    while position < bytes.count, shift < 64 {
      let byte = bytes[position]
      position += 1
      if shift == 63 && byte > 1 { return nil }
      result |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return Int64(bitPattern: (result >> 1) ^ (0 &- (result & 1))) }
      shift += 7
    }
    return nil
  }

  /// A length and that many bytes, where the length may be -1 for null. The outer nil says that they do not fit.
  @inline(__always)
  mutating func readNullableBytes() -> UnsafeRawBufferPointer?? {
    guard let length = readVarint() else { return nil }
    if length == -1 { return .some(nil) }
    guard length >= 0, length <= Int64(bytes.count - position) else { return nil }
    defer { position += Int(length) }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + Int(length)])
  }

  mutating func readHeader() -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?)? {
    guard let name = readNullableBytes(), let name, let value = readNullableBytes() else { return nil }
    return (name, value)
  }

  /// The next record, whole and checked; nil where its bytes are not a record. Its deltas are added by the caller.
  @inline(__always)
  mutating func readRecord(baseOffset: Int64, baseTimestamp: Int64, appendTime: Int64?) -> RecordView? {
    guard let length = readVarint(), length >= 0, length <= Int64(bytes.count - position) else { return nil }
    let end = position + Int(length)
    var fields = RecordCursor(UnsafeRawBufferPointer(rebasing: bytes[position..<end]))
    // The record's attributes: no bit of them means anything yet.
    guard fields.bytes.count > 0 else { return nil }
    fields.position = 1
    guard let timestampDelta = fields.readVarint(), let offsetDelta = fields.readVarint(),
      offsetDelta >= 0, offsetDelta <= Int64(Int32.max),
      let key = fields.readNullableBytes(), let value = fields.readNullableBytes(),
      let headerCount = fields.readVarint(), headerCount >= 0, headerCount <= Int64(fields.bytes.count)
    else { return nil }
    let (timestamp, overflow) = baseTimestamp.addingReportingOverflow(timestampDelta)
    let headersStart = fields.position
    for _ in 0..<headerCount { if fields.readHeader() == nil { return nil } }
    guard fields.position == fields.bytes.count, !overflow else { return nil }
    position = end
    return RecordView(
      offset: baseOffset + offsetDelta, timestamp: appendTime ?? timestamp, key: key, value: value,
      headerCount: Int(headerCount), headers: UnsafeRawBufferPointer(rebasing: fields.bytes[headersStart...]))
  }
}
