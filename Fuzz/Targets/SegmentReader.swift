import ApusBroker
import ApusIO

extension FuzzTarget {
  /// The bytes of a segment: scanned as recovery does, and its first batch taken as from a producer. No search would
  /// guess a checksum, so the first byte says whether the first batch gets the length and the checksum it ought to have.
  static let segmentReader = FuzzTarget("segment-reader", bytesMax: 8192) { bytes in
    guard let option = bytes.first else { return }
    var segment = Array(bytes.dropFirst())
    if option & 1 != 0 { repair(&segment) }
    let baseOffset = segment.count >= 8 ? integer(segment, at: 0) : 0
    let outcome = segment.withUnsafeBytes { SegmentScanner.scan($0, baseOffset: baseOffset) }
    precondition(outcome.validBytes <= Int64(segment.count), "more is valid than there is")
    precondition(outcome.problem != nil || outcome.validBytes == Int64(segment.count), "bytes were passed over")
    guard let batch = try? RecordBatch(validating: segment, maxDecompressedBytes: 1 << 20) else { return }
    guard let records = try? batch.records() else { preconditionFailure("a checked batch cannot be read") }
    precondition(records.count == batch.recordCount, "\(records.count) records of \(batch.recordCount)")
  }

  /// Sets length and checksum of the first batch to what all of the bytes make them.
  private static func repair(_ segment: inout [UInt8]) {
    guard segment.count >= 61 else { return }
    set(UInt32(segment.count - 12), in: &segment, at: 8)
    let crc = segment.withUnsafeBytes { CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[21...])) }
    set(crc, in: &segment, at: 17)
  }

  private static func set(_ value: UInt32, in segment: inout [UInt8], at offset: Int) {
    for index in 0..<4 { segment[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * index)) }
  }

  private static func integer(_ segment: [UInt8], at offset: Int) -> Int64 {
    segment[offset..<offset + 8].reduce(0) { $0 << 8 | Int64($1) }
  }
}
