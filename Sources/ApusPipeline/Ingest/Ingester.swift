import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusService
import ApusStore
import Logging
import Synchronization

/// Where to learn that what lies in the log can be queried, and what the store thought of it. In one process that is the
/// collector.
package protocol Visibility: Sendable {
  /// Returns when everything before the offset can be queried; false when the task is cancelled before.
  func waitUntil(_ partition: TopicPartition, _ offset: Int64) async -> Bool

  /// What the store has refused of these records.
  func refusals(_ partition: TopicPartition, _ offsets: Range<Int64>) -> [AppendOutcome.Refusal]

  /// Why the store does not take anything in at present; nil when it does.
  var trouble: String? { get }
}

extension Collector: Visibility {}

/// Brings what requests carry into the log: many requests share one append and one sync, and each gets its answer when
/// its own records are durable and, where a collector is at hand, can be queried.
///
/// ```swift
/// let ingester = Ingester(configuration, log: log, visibility: collector, registry: registry, logger: logger)
/// let receipt = try await ingester.take(items)
/// ```
///
/// One turn is under way at a time: it takes what has come since the last one. What waits is in memory; whoever lets
/// requests in bounds them.
package final class Ingester: Sendable {
  package struct Configuration: Sendable {
    package var topic: TopicName
    /// Of the topic, where it has to be made.
    package var partitions: Int32 = 1
    /// Records of one batch, before compression; a record beyond it is split or, where it cannot be, refused.
    package var batchBytesMax = 8 << 20
    package var batchRecordsMax = 10_000
    /// How long to wait for the store once everything is durable.
    package var visibleTimeout: Duration = .seconds(30)

    package init(topic: TopicName) { self.topic = topic }
  }

  /// What became of the items of one request.
  package struct Receipt: Hashable, Sendable {
    /// Samples that are durable, those among them that the store has refused.
    package var samplesDurable = 0
    /// Samples in records that no batch can hold.
    package var samplesTooLarge = 0
    /// Of the durable ones, those of new series beyond the store's limit.
    package var samplesOverSeriesLimit = 0
    /// Of the durable ones, those older than the store keeps any.
    package var samplesTooOld = 0

    package init() {}
  }

  /// Why a request was not taken, or not wholly.
  package enum Refusal: Error, Sendable {
    case log(LogError)
    /// Everything is durable and will be there, but the store has not taken it in yet; why, where that is known.
    case notVisible(after: Duration, trouble: String?)
  }

  typealias Outcome = Result<Receipt, Refusal>

  private struct Submission {
    var items: [TelemetryItem]
    var continuation: CheckedContinuation<Outcome, Never>
  }

  private struct State {
    var waiting: [Submission] = []
    var isRunning = false
  }

  package let configuration: Configuration
  private let publisher: IngestPublisher
  private let visibility: (any Visibility)?
  private let clock: any WallClock
  private let sleeper: Sleeper
  private let visibleLatency: Histogram
  private let turns: Counter
  private let state = Mutex(State())
  private let lag: VisibleLag

  /// - Parameter visibility: nil where the store is another process's; then answers come once all is durable.
  package init(
    _ configuration: Configuration, log: any RecordLog, visibility: (any Visibility)?, registry: MetricsRegistry,
    logger: Logger, clock: any WallClock = SystemClock(), sleeper: Sleeper = .system
  ) {
    self.configuration = configuration
    self.visibility = visibility
    self.clock = clock
    self.sleeper = sleeper
    publisher = IngestPublisher(configuration, log: log, clock: clock, logger: logger)
    visibleLatency = registry.histogram(
      "gpu_telemetry_ingest_visible_latency_seconds",
      help: "From durable in the log to visible to queries, for what the ways in have taken.")
    turns = registry.counter("gpu_telemetry_ingest_turns_total", help: "Appends to the log, each of many requests.")
    lag = VisibleLag(latency: visibleLatency, registry: registry, clock: clock)
  }

  /// Publishes items and returns when their records are durable and, where that can be told, visible to queries.
  package func take(_ items: [TelemetryItem]) async throws(Refusal) -> Receipt {
    if items.isEmpty { return Receipt() }
    let outcome = await withCheckedContinuation { continuation in
      let mustStart = state.withLock { state in
        state.waiting.append(Submission(items: items, continuation: continuation))
        defer { state.isRunning = true }
        return !state.isRunning
      }
      if mustStart { Task { await run() } }
    }
    return try outcome.get()
  }

  /// Says how far a store in another process has come; called from time to time. Positions are by partition.
  package func note(visible positions: [LogPartition: StorePosition]) { lag.note(visible: positions) }

  /// One turn after another until nothing waits.
  private func run() async {
    while true {
      let taken = state.withLock { state in
        let taken = state.waiting
        state.waiting = []
        state.isRunning = !taken.isEmpty
        return taken
      }
      if taken.isEmpty { return }
      turns.add()
      let results = await publisher.publish(taken.flatMap(\.items))
      settle(taken, results)
    }
  }

  /// Answers the requests of a turn, at once or when they are visible.
  private func settle(_ taken: [Submission], _ results: [IngestPublisher.Result]) {
    var settled: [Settled] = []
    settled.reserveCapacity(taken.count)
    var ends: [TopicPartition: Int64] = [:]
    var next = 0
    for submission in taken {
      var entry = Settled(continuation: submission.continuation, outcome: .success(Receipt()))
      var receipt = Receipt()
      for item in submission.items {
        switch results[next] {
        case .durable(let partition, let offsets):
          receipt.samplesDurable += item.sampleCount
          entry.ranges.append((partition, offsets))
          if ends[partition, default: -1] < offsets.upperBound { ends[partition] = offsets.upperBound }
        case .tooLarge: receipt.samplesTooLarge += item.sampleCount
        case .failed(let error): entry.failure = error
        }
        next += 1
      }
      entry.outcome = entry.failure.map { .failure(.log($0)) } ?? .success(receipt)
      settled.append(entry)
    }
    let durableAt = clock.monotonicNanoseconds
    guard let visibility else {
      lag.note(durable: ends, at: durableAt)
      for entry in settled { entry.continuation.resume(returning: entry.outcome) }
      return
    }
    if ends.isEmpty {
      for entry in settled { entry.continuation.resume(returning: entry.outcome) }
      return
    }
    let entries = settled
    let ended = ends
    Task { await answer(entries, ended, visibility, durableAt) }
  }

  /// A request whose records have been appended or refused.
  private struct Settled: Sendable {
    var continuation: CheckedContinuation<Outcome, Never>
    var outcome: Outcome
    var failure: LogError?
    var ranges: [(partition: TopicPartition, offsets: Range<Int64>)] = []
  }

  private func answer(
    _ settled: [Settled], _ ends: [TopicPartition: Int64], _ visibility: any Visibility, _ durableAt: UInt64
  ) async {
    let waiting = Task {
      for (partition, end) in ends where !(await visibility.waitUntil(partition, end)) { return false }
      return true
    }
    let timer = Task { [sleeper, configuration] in
      await sleeper.sleep(configuration.visibleTimeout)
      if !Task.isCancelled { waiting.cancel() }
    }
    let isVisible = await waiting.value
    timer.cancel()
    if isVisible { visibleLatency.observe(Double(clock.monotonicNanoseconds &- durableAt) / 1e9) }
    let trouble = isVisible ? nil : visibility.trouble
    for entry in settled {
      guard case .success(var receipt) = entry.outcome else {
        entry.continuation.resume(returning: entry.outcome)
        continue
      }
      guard isVisible else {
        entry.continuation.resume(
          returning: .failure(.notVisible(after: configuration.visibleTimeout, trouble: trouble)))
        continue
      }
      for (partition, offsets) in entry.ranges {
        for refusal in visibility.refusals(partition, offsets) {
          receipt.samplesOverSeriesLimit += refusal.samplesOverSeriesLimit
          receipt.samplesTooOld += refusal.samplesTooOld
        }
      }
      entry.continuation.resume(returning: .success(receipt))
    }
  }
}

extension Ingester.Refusal: CustomStringConvertible {
  package var description: String {
    switch self {
    case .log(let error): error.description
    case .notVisible(let limit, let trouble):
      "everything is durable, but the store has not taken it in within \(DurationText.format(limit))"
        + (trouble.map { ": \($0)" } ?? "")
    }
  }
}
