import ApusIO

/// Goes over the batches of a segment and checks each: header, bounds, checksum, and that its offsets follow those
/// before. Pure: it sees bytes and knows nothing of files, so it runs over a file's chunks and over fuzzed bytes alike.
package struct SegmentScanner {
  package enum Step {
    /// A whole valid batch begins at the first byte and has this many.
    case batch(RecordBatchHeader)
    /// The batch needs this many bytes from its start on; nothing is known against it so far.
    case incomplete(needed: Int)
    /// What begins here is not a batch of this segment; the reason as a clause.
    case invalid(String)
  }

  /// The base offset that the next batch must have.
  package private(set) var expectedOffset: Int64

  package init(baseOffset: Int64) { expectedOffset = baseOffset }

  /// Looks at the bytes from where the next batch begins, and moves behind it when it is whole and valid.
  package mutating func step(_ bytes: UnsafeRawBufferPointer) -> Step {
    guard bytes.count >= RecordBatchHeader.byteCount else { return .incomplete(needed: RecordBatchHeader.byteCount) }
    let header = RecordBatchHeader(bytes)
    if let problem = header.problem(limit: RecordBatch.bytesMax) { return .invalid(problem.reason) }
    guard header.baseOffset == expectedOffset else {
      return .invalid("the base offset is \(header.baseOffset) and must be \(expectedOffset)")
    }
    // No checksum covers it, and the log writes no other.
    guard header.leaderEpoch == 0 else { return .invalid("the leader epoch is \(header.leaderEpoch) and must be 0") }
    guard bytes.count >= header.totalBytes else { return .incomplete(needed: header.totalBytes) }
    if let problem = RecordBatch.checksumProblem(bytes, header) { return .invalid(problem.reason) }
    expectedOffset = header.nextOffset
    return .batch(header)
  }

  /// The outcome of a scan: how far the bytes are good, and what is wrong with what follows (nil at the end).
  package struct Outcome: Hashable, Sendable {
    package var validBytes: Int64
    package var nextOffset: Int64
    package var batches: Int
    package var problem: String?
  }

  /// Scans the bytes of a whole segment that begins at `baseOffset`.
  package static func scan(_ bytes: UnsafeRawBufferPointer, baseOffset: Int64) -> Outcome {
    var scanner = SegmentScanner(baseOffset: baseOffset)
    var position = 0
    var batches = 0
    var problem: String?
    while position < bytes.count, problem == nil {
      switch scanner.step(UnsafeRawBufferPointer(rebasing: bytes[position...])) {
      case .batch(let header):
        position += header.totalBytes
        batches += 1
      case .incomplete: problem = "the last batch ends too early"
      case .invalid(let reason): problem = reason
      }
    }
    return Outcome(
      validBytes: Int64(position), nextOffset: scanner.expectedOffset, batches: batches, problem: problem)
  }

  /// Scans a part of a segment's file, chunk by chunk, and calls `visit` with each batch, its place and its bytes
  /// (borrowed for the call).
  static func scan(
    _ file: any DiskFile, from start: Int64, to end: Int64, baseOffset: Int64,
    visit: (_ header: RecordBatchHeader, _ position: Int64, _ bytes: UnsafeRawBufferPointer) -> Void
  ) throws(DiskError) -> Outcome {
    var scanner = SegmentScanner(baseOffset: baseOffset)
    var outcome = Outcome(validBytes: start, nextOffset: baseOffset, batches: 0, problem: nil)
    var wanted = 1 << 20
    while outcome.validBytes < end, outcome.problem == nil {
      let chunk = try file.read(Int(min(Int64(wanted), end - outcome.validBytes)), at: outcome.validBytes)
      if chunk.isEmpty {
        outcome.problem = "the file ends too early"
        break
      }
      var used = 0
      var needed = 0
      chunk.withUnsafeBytes { bytes in
        while used < bytes.count, needed == 0, outcome.problem == nil {
          let rest = UnsafeRawBufferPointer(rebasing: bytes[used...])
          switch scanner.step(rest) {
          case .batch(let header):
            visit(header, outcome.validBytes, UnsafeRawBufferPointer(rebasing: rest[..<header.totalBytes]))
            used += header.totalBytes
            outcome.validBytes += Int64(header.totalBytes)
            outcome.batches += 1
          case .incomplete(let bytesNeeded): needed = bytesNeeded
          case .invalid(let reason): outcome.problem = reason
          }
        }
      }
      if needed > 0 {
        if Int64(needed) > end - outcome.validBytes { outcome.problem = "the last batch ends too early" }
        wanted = max(1 << 20, needed)
      }
    }
    outcome.nextOffset = scanner.expectedOffset
    return outcome
  }
}
