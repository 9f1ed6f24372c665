/// Bytes ended or held something impossible where a field was expected.
package struct ByteReaderError: Error, Hashable, Sendable, CustomStringConvertible {
  package enum Kind: Hashable, Sendable {
    case truncated
    /// A varint longer than ten bytes, or a length beyond the caller's bound.
    case outOfBounds
    case notUTF8
  }

  package var kind: Kind
  /// Where, in bytes from the start of what is read.
  package var offset: Int

  package init(kind: Kind, offset: Int) {
    self.kind = kind
    self.offset = offset
  }

  package var description: String {
    switch kind {
    case .truncated: "the bytes end too early, at byte \(offset)"
    case .outOfBounds: "a number at byte \(offset) is out of bounds"
    case .notUTF8: "the text at byte \(offset) is not UTF-8"
    }
  }
}

/// Reads binary fields from borrowed bytes, every one of them checked against the end. Little-endian unless the name
/// says otherwise.
///
/// Invariant (unsafe memory): the caller keeps `bytes` alive for as long as the reader is used.
package struct ByteReader {
  package let bytes: UnsafeRawBufferPointer
  package var position = 0

  package init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  package var remaining: Int { bytes.count - position }
  package var isAtEnd: Bool { position >= bytes.count }

  @inlinable package mutating func read<Integer: FixedWidthInteger>(
    _ type: Integer.Type = Integer.self
  ) throws(ByteReaderError) -> Integer {
    let size = Integer.bitWidth / 8
    guard size <= bytes.count - position else { throw ByteReaderError(kind: .truncated, offset: position) }
    defer { position += size }
    return Integer(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Integer.self))
  }

  @inlinable package mutating func readBigEndian<Integer: FixedWidthInteger>(
    _ type: Integer.Type = Integer.self
  ) throws(ByteReaderError) -> Integer {
    Integer(bigEndian: Integer(littleEndian: try read(type)))
  }

  @inlinable package mutating func readDouble() throws(ByteReaderError) -> Double {
    Double(bitPattern: try read(UInt64.self))
  }

  @inlinable package mutating func readVarint() throws(ByteReaderError) -> UInt64 {
    let start = position
    var result: UInt64 = 0
    var shift: UInt64 = 0
    while position < bytes.count {
      let byte = bytes[position]
      position += 1
      if shift == 63 && byte > 1 { throw ByteReaderError(kind: .outOfBounds, offset: start) }
      result |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return result }
      shift += 7
      if shift > 63 { throw ByteReaderError(kind: .outOfBounds, offset: start) }
    }
    throw ByteReaderError(kind: .truncated, offset: start)
  }

  @inlinable package mutating func readZigzag() throws(ByteReaderError) -> Int64 {
    let raw = try readVarint()
    return Int64(bitPattern: (raw >> 1) ^ (0 &- (raw & 1)))
  }

  /// A varint that counts or measures something, at most `max`.
  package mutating func readCount(max: Int) throws(ByteReaderError) -> Int {
    let start = position
    let value = try readVarint()
    guard value <= UInt64(max) else { throw ByteReaderError(kind: .outOfBounds, offset: start) }
    return Int(value)
  }

  /// The next `count` bytes, still borrowed.
  @inlinable package mutating func readBytes(_ count: Int) throws(ByteReaderError) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= bytes.count - position else {
      throw ByteReaderError(kind: .truncated, offset: position)
    }
    defer { position += count }
    return UnsafeRawBufferPointer(rebasing: bytes[position..<position + count])
  }

  /// A varint length, then that many bytes, still borrowed.
  package mutating func readLengthPrefixed(max: Int) throws(ByteReaderError) -> UnsafeRawBufferPointer {
    try readBytes(try readCount(max: max))
  }

  /// A varint length, then that many bytes of UTF-8.
  package mutating func readString(max: Int) throws(ByteReaderError) -> String {
    let start = position
    let raw = try readLengthPrefixed(max: max)
    guard let text = String(validating: raw, as: UTF8.self) else {
      throw ByteReaderError(kind: .notUTF8, offset: start)
    }
    return text
  }
}
