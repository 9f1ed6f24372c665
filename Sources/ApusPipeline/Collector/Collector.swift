import ApusBroker
import ApusIO
import ApusModel
import ApusService
import ApusStore
import Logging

/// Subscribes to every partition of a topic and brings what it reads into a store, each record exactly once: the store
/// keeps the position with the data.
///
/// ```swift
/// let collector = try Collector(configuration, log: log, store: store, registry: registry, logger: logger)
/// try await collector.run()   // until the task is cancelled
/// ```
package final class Collector: Sendable {
  private let configuration: Configuration
  private let log: any RecordLog
  private let store: any Store
  private let clock: any WallClock
  private let sleeper: Sleeper
  private let metrics: CollectorMetrics
  private let logger: Logger
  private let progress: CollectorProgress

  /// - Parameter onCoverage: told the durable position of a partition whenever it has moved, so that the log may drop
  ///   what is below.
  package init(
    _ configuration: Configuration, log: any RecordLog, store: any Store, registry: MetricsRegistry, logger: Logger,
    clock: any WallClock = SystemClock(), sleeper: Sleeper = .system,
    onCoverage: @escaping @Sendable (TopicPartition, Int64) async -> Void = { _, _ in }
  ) throws(PipelineError) {
    try configuration.validate()
    self.configuration = configuration
    self.log = log
    self.store = store
    self.clock = clock
    self.sleeper = sleeper
    self.logger = logger
    metrics = CollectorMetrics(registry)
    progress = CollectorProgress(onCoverage: onCoverage)
  }

  /// What the store has taken in, by partition: the offset behind the last record.
  package var positions: [TopicPartition: Int64] { progress.positions }

  /// Returns when everything before the offset can be queried, false when the calling task is cancelled before: for a
  /// reader in the same process who has just written.
  package func waitUntil(_ partition: TopicPartition, _ offset: Int64) async -> Bool {
    await progress.wait(partition, until: offset)
  }

  /// What the store has refused of records that it has taken in lately.
  package func refusals(_ partition: TopicPartition, _ offsets: Range<Int64>) -> [AppendOutcome.Refusal] {
    progress.refusals(partition, offsets)
  }

  /// Why the store does not take anything in at present; nil when it does.
  package var trouble: String? { progress.trouble }

  /// Collects until the task is cancelled, which is the way to stop it: a batch that the store is taking in is finished
  /// first. Throws when the store or the log refuses for good.
  package func run() async throws(PipelineError) {
    let result: Result<Void, PipelineError> = await withTaskGroup(of: PipelineError?.self) { group in
      var known: Set<TopicPartition> = []
      var failure: PipelineError?
      group.addTask { [self] in
        await waitForNews()
        return nil
      }
      do throws(PipelineError) { try await startNew(&known, in: &group) } catch {
        failure = error
        group.cancelAll()
      }
      while let outcome = await group.next() {
        if Task.isCancelled || failure != nil { group.cancelAll() }
        if let outcome {
          if failure == nil { failure = outcome }
          group.cancelAll()
          continue
        }
        if Task.isCancelled || failure != nil { continue }
        // The timer has ended: look for partitions that are new.
        do throws(PipelineError) { try await startNew(&known, in: &group) } catch {
          failure = error
          group.cancelAll()
          continue
        }
        group.addTask { [self] in
          await waitForNews()
          return nil
        }
      }
      return failure.map { .failure($0) } ?? .success(())
    }
    try result.get()
  }

  private func waitForNews() async { await sleeper.sleep(configuration.refreshInterval) }

  /// Starts a task for each partition that has none; waits for the topic where it is not there yet.
  private func startNew(
    _ known: inout Set<TopicPartition>, in group: inout TaskGroup<PipelineError?>
  ) async throws(PipelineError) {
    guard let partitions = try await partitions(isFirst: known.isEmpty) else { return }
    let fresh = partitions.filter { !known.contains($0) }
    guard !fresh.isEmpty else { return }
    let stored = try await storePositions()
    for partition in fresh {
      guard let start = try await startOffset(of: partition, stored) else { return }
      known.insert(partition)
      let collector = PartitionCollector(
        configuration: configuration, partition: partition, start: start, log: log, store: store, clock: clock,
        sleeper: sleeper, metrics: metrics, logger: logger, progress: progress)
      group.addTask {
        do throws(PipelineError) {
          try await collector.run()
          return nil
        } catch { return error }
      }
    }
  }

  /// The topic's partitions. At first it waits for them; later a log that does not answer is asked again next time.
  private func partitions(isFirst: Bool) async throws(PipelineError) -> [TopicPartition]? {
    var backoff = Backoff(
      initial: configuration.backoffInitial, maximum: configuration.backoffMaximum, seed: configuration.seed)
    while !Task.isCancelled {
      do throws(LogError) {
        if let topic = try await log.topics().first(where: { $0.name == configuration.topic }) {
          return topic.partitions.map { TopicPartition(topic: configuration.topic, partition: $0.index) }
        }
      } catch {
        if PublishVerdict(error) == .stop { throw .log(error) }
        metrics.readErrors.add()
        if progress.mayReport(at: clock.monotonicNanoseconds) {
          logger.warning("the log cannot be reached; trying again", metadata: ["why": "\(error)"])
        }
      }
      if !isFirst { return nil }
      await sleeper.sleep(backoff.next())
    }
    return nil
  }

  private func storePositions() async throws(PipelineError) -> [LogPartition: StorePosition] {
    var backoff = Backoff(
      initial: configuration.backoffInitial, maximum: configuration.backoffMaximum, seed: configuration.seed)
    while !Task.isCancelled {
      do throws(StoreError) { return try await store.positions() } catch {
        if case .closed = error { throw .store(error) }
        metrics.flushErrors.add()
        if progress.mayReport(at: clock.monotonicNanoseconds) {
          logger.warning("the store does not tell its positions; trying again", metadata: ["why": "\(error)"])
        }
        await sleeper.sleep(backoff.next())
      }
    }
    return [:]
  }

  /// Nil when the task was cancelled.
  private func startOffset(
    of partition: TopicPartition, _ stored: [LogPartition: StorePosition]
  ) async throws(PipelineError) -> Int64? {
    let name = LogPartition(topic: partition.topic.text, partition: partition.partition)
    let position = stored[name]?.appended
    var backoff = Backoff(
      initial: configuration.backoffInitial, maximum: configuration.backoffMaximum, seed: configuration.seed)
    var failure: PipelineError?
    while !Task.isCancelled && failure == nil {
      do throws(LogError) {
        if let position {
          // Offsets of another log mean nothing here, and once it has grown as far, its records up to there would have
          // been passed over.
          let end = try await log.offset(of: .latest, in: partition)
          if end < position {
            failure = .positionAhead(partition: "\(partition)", position: position, end: end)
            metrics.positionsAhead.add()
            continue
          }
          return position
        }
        switch configuration.start {
        case .offset(let offset): return offset
        case .earliest: return try await log.offset(of: .earliest, in: partition)
        case .latest: return try await log.offset(of: .latest, in: partition)
        }
      } catch {
        if PublishVerdict(error) == .stop { throw .log(error) }
        metrics.readErrors.add()
        await sleeper.sleep(backoff.next())
      }
    }
    if let failure { throw failure }
    return nil
  }
}
