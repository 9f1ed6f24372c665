import ApusBroker
import ApusIO
import ApusModel
import Logging

/// Appends the items of one turn to the log: the sets that are missing first, then batches of everything. Used by one
/// turn at a time.
///
/// Nothing is repeated here: what cannot be appended is told, and the sender repeats its request. It has no producer's
/// identity, so a repeat that had been appended after all is in the log twice; the store keeps one sample an instant.
actor IngestPublisher {
  /// What became of one item.
  enum Result: Sendable {
    case durable(TopicPartition, Range<Int64>)
    case tooLarge
    case failed(LogError)
  }

  private let configuration: Ingester.Configuration
  private let log: any RecordLog
  private let clock: any WallClock
  private let logger: Logger
  private var builder: RoundBuilder?
  private var producer = ProducerState()

  init(_ configuration: Ingester.Configuration, log: any RecordLog, clock: any WallClock, logger: Logger) {
    self.configuration = configuration
    self.log = log
    self.clock = clock
    self.logger = logger
  }

  /// One result for each item, in order.
  func publish(_ items: [TelemetryItem]) async -> [Result] {
    let entries = items.map {
      StreamBuffer.Entry(item: $0, position: nil, collectedNanoseconds: 0, isLive: true)
    }
    var results: [Result] = []
    results.reserveCapacity(items.count)
    do throws(LogError) {
      if builder == nil { builder = try await makeBuilder() }
      var unsent = entries[...]
      while !unsent.isEmpty { try await publishRound(&unsent, into: &results) }
    } catch {
      // The log may be another one by the next time, with less than it had.
      builder = nil
      logger.warning("the log does not take what a way in has brought", metadata: ["why": "\(error)"])
      results += repeatElement(.failed(error), count: items.count - results.count)
    }
    return results
  }

  private func publishRound(
    _ unsent: inout ArraySlice<StreamBuffer.Entry>, into results: inout [Result]
  ) async throws(LogError) {
    guard var rounds = builder else { preconditionFailure("a round without a builder") }
    // Held by nobody else while it changes, or each change would copy it.
    builder = nil
    defer { builder = rounds }
    if let sets = try rounds.setRound(for: unsent, producer: &producer, now: clock.now) {
      rounds.acknowledge(sets, receipts: try await append(sets), now: clock.now)
    }
    let round = try rounds.dataRound(for: unsent, producer: &producer, now: clock.now)
    let receipts = try await append(round)
    rounds.acknowledge(round, receipts: receipts, now: clock.now)
    for place in round.places {
      guard !place.records.isEmpty, let receipt = receipts[place.partition] else {
        results.append(.tooLarge)
        continue
      }
      let first = receipt.baseOffset + Int64(place.records.lowerBound)
      results.append(
        .durable(
          TopicPartition(topic: configuration.topic, partition: place.partition),
          first..<first + Int64(place.records.count)))
    }
    unsent = unsent.dropFirst(round.entries)
  }

  /// All of a round's batches, or the first error.
  private func append(_ round: RoundBuilder.Round) async throws(LogError) -> [Int32: AppendReceipt] {
    var receipts: [Int32: AppendReceipt] = [:]
    for (request, result) in zip(round.requests, await log.append(round.requests)) {
      receipts[request.partition.partition] = try result.get()
    }
    return receipts
  }

  private func makeBuilder() async throws(LogError) -> RoundBuilder {
    RoundBuilder(
      topic: configuration.topic, partitions: try await findTopic(), encoding: .frame, compression: .none,
      limits: RoundBuilder.Limits(
        batchBytesMax: configuration.batchBytesMax, batchRecordsMax: configuration.batchRecordsMax))
  }

  private func findTopic() async throws(LogError) -> Int32 {
    for _ in 0..<2 {
      if let topic = try await log.topics().first(where: { $0.name == configuration.topic }) {
        return Int32(topic.partitions.count)
      }
      do throws(LogError) {
        try await log.createTopic(configuration.topic, TopicConfiguration(partitions: configuration.partitions))
      } catch {
        // Somebody else may have made it in between.
        guard case .topicExists = error else { throw error }
      }
    }
    throw .unknownTopic(configuration.topic.text)
  }
}
