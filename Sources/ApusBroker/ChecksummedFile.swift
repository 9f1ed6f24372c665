import ApusIO

/// The frame of the log's small files: a magic number that names kind and version, the payload, and a CRC-32C of both
/// (docs/format/log.md, "Small files"). They are replaced whole, by rename.
enum ChecksummedFile {
  static func seal(_ payload: [UInt8], magic: UInt64) -> [UInt8] {
    var writer = ByteWriter(reserving: payload.count + 12)
    writer.write(magic)
    writer.write(payload)
    writer.write(CRC32C.checksum(writer.bytes))
    return writer.bytes
  }

  /// The payload; nil when the bytes are not a whole file of this kind.
  static func open(_ bytes: [UInt8], magic: UInt64) -> [UInt8]? {
    guard bytes.count >= 12 else { return nil }
    return bytes.withUnsafeBytes { raw in
      let content = UnsafeRawBufferPointer(rebasing: raw[..<(raw.count - 4)])
      let stored = UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: raw.count - 4, as: UInt32.self))
      guard CRC32C.checksum(content) == stored,
        UInt64(littleEndian: raw.loadUnaligned(as: UInt64.self)) == magic
      else { return nil }
      return [UInt8](content[8...])
    }
  }
}
