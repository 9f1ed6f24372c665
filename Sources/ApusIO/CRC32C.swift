import CKernels

/// CRC-32C (Castagnoli), the checksum of Kafka's record batches and of every section of our own files.
package enum CRC32C {
  /// The checksum of `bytes`, or of what came before followed by `bytes` when `continuing` is an earlier result.
  package static func checksum(_ bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
    apus_crc32c(crc, bytes.baseAddress, bytes.count)
  }

  package static func checksum(_ bytes: [UInt8], continuing crc: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { checksum($0, continuing: crc) }
  }
}
