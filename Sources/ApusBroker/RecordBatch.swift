import ApusIO

/// A run of records as it travels and as it lies on disk: Kafka's record batch, version 2.
///
/// A value of this type has been checked: its header is plausible, its checksum is right, and its records (expanded
/// where they are compressed) are as many as the header says and fill it exactly. The offset of its first record is
/// the only thing that changes on its way; the checksum does not cover it.
package struct RecordBatch: Sendable {
  /// The whole batch. Changed only by way of `baseOffset` and `leaderEpoch`.
  package private(set) var bytes: [UInt8]

  /// The largest batch there may be, in bytes as stored.
  package static let bytesMax = 128 << 20

  /// The most that the records of one batch may expand to, unless told to be less: a batch is held in memory whole.
  package static let decompressedBytesMax = 64 << 20

  /// Takes a batch from outside, or says what is wrong with it and where. `maxDecompressedBytes` bounds what its
  /// records may expand to, and so the memory that the check takes; beyond `decompressedBytesMax` it has no effect.
  package init(
    validating bytes: [UInt8], maxDecompressedBytes: Int = RecordBatch.decompressedBytesMax
  ) throws(LogError) {
    self.init(unchecked: bytes)
    let problem = bytes.withUnsafeBytes {
      RecordBatch.problem($0, maxDecompressedBytes: min(maxDecompressedBytes, RecordBatch.decompressedBytesMax))
    }
    if let problem { throw .invalidBatch(problem) }
  }

  /// Takes bytes that were checked before: by this type's own rules, or by those of the log's reader.
  init(unchecked bytes: [UInt8]) { self.bytes = bytes }

  /// All fields of the header.
  package var header: RecordBatchHeader { bytes.withUnsafeBytes { RecordBatchHeader($0) } }

  /// The offset of the first record.
  package var baseOffset: Int64 {
    get { field(RecordBatchHeader.Position.baseOffset) }
    set { setField(RecordBatchHeader.Position.baseOffset, newValue) }
  }

  /// The term of the partition's leader: a log with one leader leaves it at 0.
  package var leaderEpoch: Int32 {
    get { field(RecordBatchHeader.Position.leaderEpoch) }
    set { setField(RecordBatchHeader.Position.leaderEpoch, newValue) }
  }

  package var recordCount: Int { Int(field(RecordBatchHeader.Position.recordCount) as Int32) }
  /// The offset behind the last record.
  package var nextOffset: Int64 {
    baseOffset + Int64(field(RecordBatchHeader.Position.lastOffsetDelta) as Int32) + 1
  }
  /// -1 when the producer is not idempotent.
  package var producerID: Int64 { field(RecordBatchHeader.Position.producerID) }
  package var producerEpoch: Int16 { field(RecordBatchHeader.Position.producerEpoch) }
  package var baseSequence: Int32 { field(RecordBatchHeader.Position.baseSequence) }
  /// The first record's, milliseconds since 1970.
  package var baseTimestamp: Int64 { field(RecordBatchHeader.Position.baseTimestamp) }
  /// The greatest of the records', milliseconds since 1970.
  package var maxTimestamp: Int64 { field(RecordBatchHeader.Position.maxTimestamp) }
  package var compression: Compression {
    let attributes: Int16 = field(RecordBatchHeader.Position.attributes)
    return Compression(rawValue: UInt8(attributes & RecordBatchHeader.Attributes.codecMask)) ?? .none
  }

  /// Calls `body` with each record in order. A compressed batch is expanded into a buffer that is used again; an
  /// uncompressed one is walked over where it is.
  ///
  /// Throws what `body` throws, and `LogError.invalidBatch` where the records are not what the batch was checked for.
  package func forEachRecord(_ body: (borrowing RecordView) throws -> Void) throws {
    let header = header
    try bytes.withUnsafeBytes { whole in
      let stored = UnsafeRawBufferPointer(rebasing: whole[RecordBatchHeader.byteCount...])
      try RecordBatch.withExpandedRecords(
        stored, header.compression ?? .none, maxBytes: RecordBatch.decompressedBytesMax
      ) { records in
        if let problem = try RecordBatch.walk(records, header, isDense: false, body) {
          throw LogError.invalidBatch(problem)
        }
      }
    }
  }

  /// Copies of all records.
  package func records() throws(LogError) -> [Record] {
    var result: [Record] = []
    result.reserveCapacity(recordCount)
    do {
      try forEachRecord { result.append($0.copy()) }
    } catch let error as LogError {
      throw error
    } catch {
      // `copy` does not throw and `forEachRecord` adds errors of the log alone.
      preconditionFailure("unexpected \(error)")
    }
    return result
  }

  private func field<Integer: FixedWidthInteger>(_ position: Int) -> Integer {
    bytes.withUnsafeBytes { Integer(bigEndian: $0.loadUnaligned(fromByteOffset: position, as: Integer.self)) }
  }

  private mutating func setField<Integer: FixedWidthInteger>(_ position: Int, _ value: Integer) {
    bytes.withUnsafeMutableBytes { $0.storeBytes(of: value.bigEndian, toByteOffset: position, as: Integer.self) }
  }
}

extension RecordBatch {
  /// What keeps these bytes from being one whole valid batch from a producer; nil when nothing does.
  static func problem(_ bytes: UnsafeRawBufferPointer, maxDecompressedBytes: Int) -> InvalidBatch? {
    guard bytes.count >= RecordBatchHeader.byteCount else {
      return InvalidBatch(reason: "\(bytes.count) bytes are fewer than a header has", position: bytes.count)
    }
    let header = RecordBatchHeader(bytes)
    if let problem = header.problem(limit: bytes.count) { return problem }
    guard header.totalBytes == bytes.count else {
      return InvalidBatch(
        reason: "the length says \(header.totalBytes) bytes and there are \(bytes.count)",
        position: RecordBatchHeader.Position.batchLength)
    }
    if let problem = checksumProblem(bytes, header) { return problem }
    return recordsProblem(bytes, header, maxDecompressedBytes: maxDecompressedBytes)
  }

  /// Whether the checksum, which covers everything from the attributes on, is right.
  static func checksumProblem(_ bytes: UnsafeRawBufferPointer, _ header: RecordBatchHeader) -> InvalidBatch? {
    let covered = UnsafeRawBufferPointer(
      rebasing: bytes[RecordBatchHeader.Position.attributes..<header.totalBytes])
    if CRC32C.checksum(covered) == header.crc { return nil }
    return InvalidBatch(
      reason: "the checksum does not match the content", position: RecordBatchHeader.Position.crc)
  }

  private static func recordsProblem(
    _ bytes: UnsafeRawBufferPointer, _ header: RecordBatchHeader, maxDecompressedBytes: Int
  ) -> InvalidBatch? {
    guard Int(header.lastOffsetDelta) == Int(header.recordCount) - 1 else {
      return InvalidBatch(
        reason: "\(header.recordCount) records cannot end at offset delta \(header.lastOffsetDelta)",
        position: RecordBatchHeader.Position.lastOffsetDelta)
    }
    let stored = UnsafeRawBufferPointer(rebasing: bytes[RecordBatchHeader.byteCount...])
    var greatest = Int64.min
    do {
      let problem = try withExpandedRecords(
        stored, header.compression ?? .none, maxBytes: maxDecompressedBytes
      ) { records in
        walk(records, header, isDense: true) { greatest = max(greatest, $0.timestamp) }
      }
      if let problem { return problem }
    } catch let error as LogError {
      if case .invalidBatch(let problem) = error { return problem }
      return InvalidBatch(reason: error.description, position: RecordBatchHeader.byteCount)
    } catch {
      preconditionFailure("unexpected \(error)")
    }
    guard greatest == header.maxTimestamp else {
      return InvalidBatch(
        reason: "the greatest timestamp is \(greatest) and the header says \(header.maxTimestamp)",
        position: RecordBatchHeader.Position.maxTimestamp)
    }
    return nil
  }

  /// Goes over the records and calls `body` with each. `isDense` demands that every offset of the batch has its
  /// record, as in what a producer sends; compaction leaves holes, but never changes the order.
  @inline(__always)
  private static func walk(
    _ records: UnsafeRawBufferPointer, _ header: RecordBatchHeader, isDense: Bool,
    _ body: (borrowing RecordView) throws -> Void
  ) rethrows -> InvalidBatch? {
    let appendTime =
      header.attributes & RecordBatchHeader.Attributes.isAppendTime == 0 ? nil : header.maxTimestamp
    var cursor = RecordCursor(records)
    var expected = header.baseOffset
    for index in 0..<header.recordCount {
      let start = cursor.position
      guard
        let record = cursor.readRecord(
          baseOffset: header.baseOffset, baseTimestamp: header.baseTimestamp, appendTime: appendTime)
      else {
        return InvalidBatch(
          reason: "record \(index) of \(header.recordCount) is malformed or ends too early",
          position: RecordBatchHeader.byteCount + start)
      }
      let isInOrder = isDense ? record.offset == expected : record.offset >= expected
      guard isInOrder, record.offset < header.nextOffset else {
        return InvalidBatch(
          reason: "record \(index) of \(header.recordCount) has a wrong offset delta",
          position: RecordBatchHeader.byteCount + start)
      }
      expected = record.offset + 1
      try body(record)
    }
    guard cursor.position == records.count else {
      return InvalidBatch(
        reason: "\(records.count - cursor.position) bytes follow the last record",
        position: RecordBatchHeader.byteCount + cursor.position)
    }
    return nil
  }

  /// Calls `body` with the records as they are before compression.
  private static func withExpandedRecords<Result>(
    _ stored: UnsafeRawBufferPointer, _ codec: Compression, maxBytes: Int,
    _ body: (UnsafeRawBufferPointer) throws -> Result
  ) throws -> Result {
    if codec == .none { return try body(stored) }
    var buffer = ScratchBuffers.take()
    defer { ScratchBuffers.putBack(&buffer) }
    do throws(CompressionError) {
      try codec.decompress(stored, maxBytes: maxBytes, appendingTo: &buffer)
    } catch {
      throw LogError.invalidBatch(
        InvalidBatch(reason: error.description, position: RecordBatchHeader.byteCount))
    }
    return try buffer.withUnsafeBytes(body)
  }
}
