import ApusBroker
import ApusIO

/// Turns the publishes of one turn into as few append requests as their meaning allows.
///
/// Messages without a producer's sequence that go to one partition share a batch, whichever frames they came in: each
/// answer then names its own part of the batch's offsets. What carries a sequence stays a batch of its own, because the
/// log knows a repeat by its batch.
struct PublishAssembler {
  /// A publish that waits for the log's answer.
  struct Pending {
    var id: Int64?
    var partition: TopicPartition
    /// Which of `requests` it became, or is a part of.
    var firstRequest: Int
    var requestCount = 1
    /// Its records within that batch.
    var recordOffset = 0
    var recordCount: Int
  }

  /// A batch that still takes messages; its place among the requests is kept free.
  private struct OpenBatch {
    var partition: TopicPartition
    var builder: RecordBatchBuilder
    var request: Int
  }

  /// Shared batches are closed at this size, well below what topics take.
  static let sharedBatchBytes = 256 << 10
  /// Partitions with an open batch at one time.
  private static let openBatchesMax = 16

  /// One a batch; those of open batches are filled in by `finish`.
  private var requests: [AppendRequest?] = []
  private var open: [OpenBatch] = []
  /// Kept from turn to turn for its memory, while that is small.
  private var spare: RecordBatchBuilder?
  private var encoder = MessageEncoder()

  init() {}

  var isEmpty: Bool { requests.isEmpty }

  /// Adds messages that go to one partition. `timestamp` is for those that have none.
  mutating func add(
    _ messages: [RequestMessage], request: Request, partition: TopicPartition, timestamp: Int64
  ) throws(DoorError) -> Pending {
    if let producer = try PublishAssembler.producer(of: request) {
      close(partition)
      var builder = takeBuilder()
      for message in messages { try encoder.append(message, timestamp, to: &builder) }
      let batch = try finish(&builder, producer.identity, producer.sequence)
      spare = builder
      requests.append(AppendRequest(partition: partition, batch: batch))
      return Pending(
        id: request.id, partition: partition, firstRequest: requests.count - 1, recordCount: messages.count)
    }
    let index = openBatch(for: partition)
    let before = open[index].builder.recordCount
    do throws(DoorError) {
      for message in messages { try encoder.append(message, timestamp, to: &open[index].builder) }
    } catch {
      // Some of this frame's messages are in the batch already and cannot be taken out again: those of the frames
      // before it are put in a batch without them.
      rebuild(index, keeping: before)
      throw error
    }
    return Pending(
      id: request.id, partition: partition, firstRequest: open[index].request, recordOffset: before,
      recordCount: messages.count)
  }

  /// Adds batches as they came, one after another in `payload`; each is checked.
  mutating func add(
    batches payload: UnsafeRawBufferPointer, request: Request, partition: TopicPartition
  ) throws(DoorError) -> Pending {
    close(partition)
    var found: [AppendRequest] = []
    var records = 0
    var position = 0
    while position < payload.count {
      let rest = UnsafeRawBufferPointer(rebasing: payload[position...])
      do throws(LogError) {
        guard rest.count >= RecordBatchHeader.byteCount else {
          throw .invalidBatch(InvalidBatch(reason: "\(rest.count) bytes are fewer than a header has", position: 0))
        }
        let header = RecordBatchHeader(rest)
        if let problem = header.problem(limit: rest.count) { throw .invalidBatch(problem) }
        let batch = try RecordBatch(validating: [UInt8](rest[..<header.totalBytes]))
        records += batch.recordCount
        found.append(AppendRequest(partition: partition, batch: batch))
        position += header.totalBytes
      } catch {
        throw PublishAssembler.located(error, at: position)
      }
    }
    guard !found.isEmpty else { throw .invalidRequest("payload_bytes", "is 0: a batch publish needs a batch") }
    requests.append(contentsOf: found)
    return Pending(
      id: request.id, partition: partition, firstRequest: requests.count - found.count, requestCount: found.count,
      recordCount: records)
  }

  /// Closes every batch and gives the requests away, in the order of the frames within each partition.
  mutating func finish() -> [AppendRequest] {
    for index in open.indices { closeBatch(index) }
    open.removeAll(keepingCapacity: true)
    defer { requests = [] }
    return requests.map { request in
      guard let request else { preconditionFailure("a batch was left open") }
      return request
    }
  }

  /// A batch error's position is told from the start of the payload.
  private static func located(_ error: LogError, at position: Int) -> DoorError {
    guard case .invalidBatch(let problem) = error else { return DoorError(error) }
    return DoorError(.invalidBatch(InvalidBatch(reason: problem.reason, position: problem.position + position)))
  }

  private static func producer(
    of request: Request
  ) throws(DoorError) -> (identity: ProducerIdentity, sequence: Int32)? {
    switch (request.producerID, request.epoch, request.sequence) {
    case (nil, nil, nil): return nil
    case (let id?, let epoch?, let sequence?): return (ProducerIdentity(id: id, epoch: epoch), sequence)
    default: throw .invalidRequest("producer_id", "\"epoch\" and \"sequence\" are there together or not at all")
    }
  }

  private mutating func takeBuilder() -> RecordBatchBuilder {
    defer { spare = nil }
    return spare ?? RecordBatchBuilder()
  }

  private mutating func openBatch(for partition: TopicPartition) -> Int {
    if let index = open.firstIndex(where: { $0.partition == partition }) {
      if open[index].builder.byteCount < PublishAssembler.sharedBatchBytes { return index }
      closeBatch(index)
      open[index].request = requests.count
      requests.append(nil)
      return index
    }
    if open.count == PublishAssembler.openBatchesMax {
      closeBatch(0)
      open.remove(at: 0)
    }
    open.append(OpenBatch(partition: partition, builder: takeBuilder(), request: requests.count))
    requests.append(nil)
    return open.count - 1
  }

  /// Closes the shared batch of a partition, so that what follows does not overtake it.
  private mutating func close(_ partition: TopicPartition) {
    guard let index = open.firstIndex(where: { $0.partition == partition }) else { return }
    closeBatch(index)
    open.remove(at: index)
  }

  private mutating func closeBatch(_ index: Int) {
    let batch = shared(&open[index].builder)
    requests[open[index].request] = AppendRequest(partition: open[index].partition, batch: batch)
    if batch.bytes.count <= 65_536 { spare = open[index].builder }
  }

  /// A shared batch has at least one record, is far from 2 GiB, and its timestamps are checked by the decoder, so
  /// nothing is left that could keep it from being made.
  private func shared(_ builder: inout RecordBatchBuilder) -> RecordBatch {
    do throws(LogError) {
      return try builder.finish()
    } catch {
      preconditionFailure("a shared batch of \(builder.recordCount) records cannot be made: \(error)")
    }
  }

  private func finish(
    _ builder: inout RecordBatchBuilder, _ producer: ProducerIdentity, _ sequence: Int32
  ) throws(DoorError) -> RecordBatch {
    do throws(LogError) {
      return try builder.finish(producer: producer, baseSequence: sequence)
    } catch {
      throw DoorError(error)
    }
  }

  /// Leaves only the first `count` records of an open batch; without any the batch is as if it had never been opened.
  private mutating func rebuild(_ index: Int, keeping count: Int) {
    if count == 0 {
      // A batch gets its first record in the call that opens it, so its place is the last one.
      precondition(open[index].request == requests.count - 1, "an empty batch lies before others")
      requests.removeLast()
      open.remove(at: index)
      return
    }
    let batch = shared(&open[index].builder)
    var kept = 0
    var builder = RecordBatchBuilder()
    do {
      try batch.forEachRecord { record in
        if kept < count { builder.append(record.copy()) }
        kept += 1
      }
    } catch {
      preconditionFailure("a batch made here cannot be read: \(error)")
    }
    open[index].builder = builder
  }
}
