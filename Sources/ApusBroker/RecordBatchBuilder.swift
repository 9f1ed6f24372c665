import ApusIO

/// Puts records together into a batch. Its buffers are used again for the next batch, so a record costs a copy of its
/// bytes and no allocation.
///
/// ```swift
/// var builder = RecordBatchBuilder(compression: .zstd)
/// builder.append(Record(timestamp: now, value: payload))
/// let batch = try builder.finish()
/// ```
package struct RecordBatchBuilder: Sendable {
  package let compression: Compression
  /// The records of the batch that is being made.
  package private(set) var recordCount = 0
  private var records = RecordEncoder()
  private var headers = RecordEncoder()
  private var baseTimestamp: Int64 = 0
  private var maxTimestamp: Int64 = 0
  /// Two timestamps lie further apart than a delta can say; told by `finish`.
  private var isSpanTooLong = false

  package init(compression: Compression = .none) {
    self.compression = compression
  }

  package var isEmpty: Bool { recordCount == 0 }

  /// The size of the batch before compression, header included.
  package var byteCount: Int { RecordBatchHeader.byteCount + records.count }

  /// Appends a record.
  package mutating func append(_ record: Record) {
    headers.removeAll()
    headers.writeHeaders(record.headers)
    RecordBatchBuilder.withOptionalBytes(record.key) { key in
      RecordBatchBuilder.withOptionalBytes(record.value) { value in
        appendWithHeaders(timestamp: record.timestamp, key: key, value: value)
      }
    }
  }

  /// Appends a record from borrowed bytes, with headers that were encoded once for many records.
  package mutating func append(
    timestamp: Int64, key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?,
    headers encoded: EncodedRecordHeaders = .empty
  ) {
    encoded.bytes.withUnsafeBytes { appendRecord(timestamp: timestamp, key: key, value: value, encodedHeaders: $0) }
  }

  /// Throws the records away that were appended since the last batch.
  package mutating func removeAll() {
    recordCount = 0
    isSpanTooLong = false
    records.removeAll()
  }

  /// Makes the batch of all records appended so far, and begins the next. Its base offset is 0 until a log gives it
  /// one. An idempotent producer names itself and the sequence of the first record.
  ///
  /// `LogError.invalidBatch` when there is no record, when they take more than 2 GiB or lie too far apart in time;
  /// `LogError.invalidConfiguration` when the codec cannot be had.
  package mutating func finish(
    producer: ProducerIdentity? = nil, baseSequence: Int32 = -1
  ) throws(LogError) -> RecordBatch {
    guard recordCount > 0 else {
      throw .invalidBatch(InvalidBatch(reason: "there are no records", position: 0))
    }
    guard !isSpanTooLong else {
      throw .invalidBatch(InvalidBatch(reason: "the timestamps lie more than 2^63 ms apart", position: 0))
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(byteCount)
    bytes.append(contentsOf: repeatElement(0, count: RecordBatchHeader.byteCount))
    let codec = compression
    do throws(CompressionError) {
      try records.withBytes { raw throws(CompressionError) in try codec.compress(raw, appendingTo: &bytes) }
    } catch {
      throw .invalidConfiguration(setting: "compression", reason: "cannot be used: \(error)")
    }
    guard bytes.count <= Int(Int32.max) else {
      throw .invalidBatch(InvalidBatch(reason: "the records take more than 2 GiB", position: 0))
    }
    writeHeader(into: &bytes, producer: producer, baseSequence: baseSequence)
    removeAll()
    return RecordBatch(unchecked: bytes)
  }

  private mutating func appendWithHeaders(
    timestamp: Int64, key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?
  ) {
    // Taken out for the call, so that the buffer is not reached twice at once; an array's move costs nothing.
    let encoded = headers
    encoded.withBytes { appendRecord(timestamp: timestamp, key: key, value: value, encodedHeaders: $0) }
  }

  private mutating func appendRecord(
    timestamp: Int64, key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?,
    encodedHeaders: UnsafeRawBufferPointer
  ) {
    precondition(recordCount < Int(Int32.max), "a batch holds at most 2^31 - 1 records")
    if recordCount == 0 {
      baseTimestamp = timestamp
      maxTimestamp = timestamp
    }
    maxTimestamp = max(maxTimestamp, timestamp)
    let (delta, overflow) = timestamp.subtractingReportingOverflow(baseTimestamp)
    if overflow { isSpanTooLong = true }
    records.writeRecord(
      timestampDelta: delta, offsetDelta: Int32(recordCount), key: key, value: value,
      encodedHeaders: encodedHeaders)
    recordCount += 1
  }

  private func writeHeader(into bytes: inout [UInt8], producer: ProducerIdentity?, baseSequence: Int32) {
    typealias Position = RecordBatchHeader.Position
    let lastOffsetDelta = Int32(recordCount - 1)
    bytes.withUnsafeMutableBytes { buffer in
      func put<Integer: FixedWidthInteger>(_ value: Integer, _ position: Int) {
        buffer.storeBytes(of: value.bigEndian, toByteOffset: position, as: Integer.self)
      }
      put(Int64(0), Position.baseOffset)
      put(Int32(buffer.count - RecordBatchHeader.lengthPrefixBytes), Position.batchLength)
      put(Int32(0), Position.leaderEpoch)
      put(Int8(2), Position.magic)
      put(Int16(compression.rawValue), Position.attributes)
      put(lastOffsetDelta, Position.lastOffsetDelta)
      put(baseTimestamp, Position.baseTimestamp)
      put(maxTimestamp, Position.maxTimestamp)
      put(producer?.id ?? -1, Position.producerID)
      put(producer?.epoch ?? -1, Position.producerEpoch)
      put(producer == nil ? -1 : baseSequence, Position.baseSequence)
      put(Int32(recordCount), Position.recordCount)
      let covered = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer)[Position.attributes...])
      put(CRC32C.checksum(covered), Position.crc)
    }
  }

  private static func withOptionalBytes(_ bytes: [UInt8]?, _ body: (UnsafeRawBufferPointer?) -> Void) {
    if let bytes { bytes.withUnsafeBytes { body($0) } } else { body(nil) }
  }
}
