import ApusBroker
import ApusIO
import ApusModel
import ApusStore

/// Where a live source's telemetry waits while the broker is away: a log of the same format in a folder of its own,
/// bounded by size. When it is full, the log's retention drops the oldest, and the reader counts what is gone.
///
/// One task appends and another reads. What has been published is known by the streamer's outbox, so a restart goes on
/// where the last run ended.
package actor Spool {
  /// The topic that a spool keeps its records in.
  package static let topicName = "spool"
  /// The source's name under which the outbox keeps the spool's position.
  static let positionName = "\u{0}spool"

  private let log: any RecordLog
  private let partition: TopicPartition
  private let clock: any WallClock
  private var builder: RoundBuilder
  private var producer = ProducerState()
  private var decoder = RecordDecoder()
  /// The next record to publish.
  private var readOffset: Int64
  /// Behind the last record appended.
  private var endOffset: Int64
  /// Records that the retention dropped before they were published, since the last `takeLost`.
  private var lost: Int64 = 0

  /// Opens the spool in a log of its own, which the caller has made with the size bound as its retention and
  /// `ScrapePrologue` for this topic.
  /// - Parameter position: where the last run's outbox ended.
  package init(
    log: any RecordLog, position: SourcePosition?, batchBytesMax: Int, clock: any WallClock
  ) async throws(PipelineError) {
    guard let topic = TopicName(Spool.topicName) else { preconditionFailure("\(Spool.topicName) is no topic's name") }
    partition = TopicPartition(topic: topic, partition: 0)
    self.log = log
    self.clock = clock
    builder = RoundBuilder(
      topic: topic, partitions: 1, encoding: .frame, compression: .none,
      limits: RoundBuilder.Limits(batchBytesMax: batchBytesMax, batchRecordsMax: 10_000))
    do throws(LogError) {
      let isThere = try await log.topics().contains { $0.name == topic }
      if !isThere { try await log.createTopic(topic, TopicConfiguration()) }
      let start = try await log.offset(of: .earliest, in: partition)
      endOffset = try await log.offset(of: .latest, in: partition)
      readOffset = min(max(start, Spool.offset(position) ?? start), endOffset)
    } catch { throw .log(error) }
  }

  /// Records that wait to be published, set definitions included.
  var pending: Int64 { endOffset - readOffset }

  /// Records dropped since the last call.
  func takeLost() -> Int64 {
    defer { lost = 0 }
    return lost
  }

  /// Appends entries in order; on return they are durable at the spool's level. Answers with the samples left out
  /// because no record can hold them.
  func append(_ entries: [StreamBuffer.Entry]) async throws(PipelineError) -> Int {
    var rest = entries[...]
    var tooLarge = 0
    while !rest.isEmpty {
      do throws(LogError) {
        let round: RoundBuilder.Round
        if let sets = try builder.setRound(for: rest, producer: &producer, now: clock.now) {
          round = sets
        } else {
          round = try builder.dataRound(for: rest, producer: &producer, now: clock.now)
        }
        var receipts: [Int32: AppendReceipt] = [:]
        for (request, result) in zip(round.requests, await log.append(round.requests)) {
          let receipt = try result.get()
          receipts[request.partition.partition] = receipt
          endOffset = max(endOffset, receipt.nextOffset)
        }
        builder.acknowledge(round, receipts: receipts, now: clock.now)
        tooLarge += round.samplesTooLarge
        rest = rest.dropFirst(round.entries)
      } catch { throw .log(error) }
    }
    return tooLarge
  }

  /// The oldest entries that wait, at most about `maxBytes`, each with the position behind it. Empty when nothing waits.
  func next(maxBytes: Int) async throws(PipelineError) -> [StreamBuffer.Entry] {
    while readOffset < endOffset {
      let slice: LogSlice
      do throws(LogError) {
        slice = try await log.read(partition, from: readOffset, maxBytes: maxBytes, waiting: .zero)
      } catch {
        guard case .offsetOutOfRange(_, let requested, let logStart, _) = error, requested < logStart else {
          throw .log(error)
        }
        lost += logStart - requested
        readOffset = logStart
        continue
      }
      guard !slice.batches.isEmpty else { break }
      var entries: [StreamBuffer.Entry] = []
      for batch in slice.batches { entries += try await decode(batch) }
      // With nothing but sets the position moves with what follows.
      if !entries.isEmpty { return entries }
    }
    return []
  }

  /// The index that stands for the spool in an entry's position.
  static let sourceIndex = -1

  private func decode(_ batch: RecordBatch) async throws(PipelineError) -> [StreamBuffer.Entry] {
    var entries: [StreamBuffer.Entry] = []
    let records: [Record]
    do throws(LogError) { records = try batch.records() } catch { throw .log(error) }
    for (index, record) in records.enumerated() {
      let offset = batch.baseOffset + Int64(index)
      guard offset >= readOffset, let value = record.value else { continue }
      var result = value.withUnsafeBytes { decoder.decodeScrape($0) }
      if case .unknownSet(_, let hint) = result, hint >= 0 {
        await fetchSet(at: hint)
        result = value.withUnsafeBytes { decoder.decodeScrape($0) }
      }
      switch result {
      case .content(let content):
        let item = TelemetryItem(key: record.key ?? [], content: TelemetryItem.Content(content))
        entries.append(
          StreamBuffer.Entry(
            item: item, position: (Spool.sourceIndex, Spool.position(offset + 1)),
            collectedNanoseconds: clock.monotonicNanoseconds, isLive: true))
      case .set: break
      case .unknownSet, .invalid, .several: lost += 1
      }
    }
    readOffset = batch.nextOffset
    return entries
  }

  private func fetchSet(at offset: Int64) async {
    guard let slice = try? await log.read(partition, from: offset, maxBytes: 1, waiting: .zero) else { return }
    for batch in slice.batches {
      try? batch.forEachRecord { record in
        if record.offset == offset, let value = record.value { _ = decoder.decodeScrape(value) }
      }
    }
  }

  private static func position(_ offset: Int64) -> SourcePosition {
    var writer = ByteWriter()
    writer.write(offset)
    return SourcePosition(bytes: writer.bytes)
  }

  private static func offset(_ position: SourcePosition?) -> Int64? {
    guard let position, position.bytes.count == 8 else { return nil }
    return position.bytes.withUnsafeBytes { Int64(littleEndian: $0.loadUnaligned(as: Int64.self)) }
  }
}

extension TelemetryItem.Content {
  /// What a record held, as something to publish.
  init(_ content: StoreBatch.Item.Content) {
    switch content {
    case .scrape(let scrape): self = .scrape(scrape)
    case .samples(let samples): self = .samples(samples)
    }
  }
}
