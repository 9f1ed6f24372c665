/// Appends binary fields to a growing array. Little-endian unless the name says otherwise.
package struct ByteWriter: Sendable {
  package var bytes: [UInt8]

  package init(reserving capacity: Int = 0) {
    bytes = []
    bytes.reserveCapacity(capacity)
  }

  package var count: Int { bytes.count }

  @inlinable package mutating func write(_ byte: UInt8) { bytes.append(byte) }

  @inlinable package mutating func write<Integer: FixedWidthInteger>(_ value: Integer) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  @inlinable package mutating func writeBigEndian<Integer: FixedWidthInteger>(_ value: Integer) {
    withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
  }

  @inlinable package mutating func write(_ value: Double) { write(value.bitPattern) }

  @inlinable package mutating func write(_ source: some Collection<UInt8>) { bytes.append(contentsOf: source) }

  @inlinable package mutating func write(_ source: UnsafeRawBufferPointer) { bytes.append(contentsOf: source) }

  /// Values one after another, 8 bytes each.
  package mutating func write(_ values: [Double]) {
    // Both architectures we build for are little-endian, so the memory is the encoding.
    values.withUnsafeBytes { bytes.append(contentsOf: $0) }
  }

  /// LEB128: 7 bits a byte, lowest first, the top bit says that more follow.
  @inlinable package mutating func writeVarint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  /// A signed number as a varint, small magnitudes short ("zigzag").
  @inlinable package mutating func writeZigzag(_ value: Int64) {
    writeVarint(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
  }

  /// A varint length, then the bytes.
  package mutating func writeLengthPrefixed(_ source: [UInt8]) {
    writeVarint(UInt64(source.count))
    bytes.append(contentsOf: source)
  }

  package mutating func writeLengthPrefixed(_ text: String) {
    writeVarint(UInt64(text.utf8.count))
    bytes.append(contentsOf: text.utf8)
  }

  /// Writes a 32-bit field at a place that was left free for it.
  package mutating func overwrite(_ value: UInt32, at offset: Int) {
    precondition(offset >= 0 && offset + 4 <= bytes.count, "offset \(offset) in \(bytes.count) bytes")
    for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(8 * index)) }
  }
}
