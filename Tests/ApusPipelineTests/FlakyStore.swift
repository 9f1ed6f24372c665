import ApusBroker
import ApusModel
import ApusStore
import ApusTestKit
import Synchronization

/// A store that refuses appends by seed, half of them after having taken them in.
final class FlakyStore: Store {
  private let target: any Store
  private let state: Mutex<(seed: Seed, failsOneIn: Int, failures: Int)>

  init(_ target: any Store, seed: UInt64, failsOneIn: Int) {
    self.target = target
    state = Mutex((Seed(seed), failsOneIn, 0))
  }

  var failures: Int { state.withLock { $0.failures } }

  func heal() { state.withLock { $0.failsOneIn = 0 } }

  func append(_ batch: StoreBatch) async throws(StoreError) -> AppendOutcome {
    let (fails, before) = state.withLock { state in
      let fails = state.failsOneIn > 0 && state.seed.oneIn(state.failsOneIn)
      if fails { state.failures += 1 }
      // One that always refuses takes nothing in.
      return (fails, state.failsOneIn == 1 || state.seed.oneIn(2))
    }
    if fails, before { throw .unreachable("it does not answer") }
    let outcome = try await target.append(batch)
    if fails { throw .unreachable("its answer was lost") }
    return outcome
  }

  func positions() async throws(StoreError) -> [LogPartition: StorePosition] { try await target.positions() }

  func select(_ request: SelectRequest) async throws(StoreError) -> [SeriesColumn] { try await target.select(request) }

  func series(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [Labels] {
    try await target.series(matchers, in: range)
  }

  func labelNames(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [String] {
    try await target.labelNames(matchers, in: range)
  }

  func labelValues(
    _ label: String, _ matchers: [Matcher], in range: TimeRange
  ) async throws(StoreError) -> [String] {
    try await target.labelValues(label, matchers, in: range)
  }

  func descriptors() async throws(StoreError) -> [MetricDescriptor] { try await target.descriptors() }

  func delete(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) {
    try await target.delete(matchers, in: range)
  }

  @discardableResult
  func flush() async throws(StoreError) -> StoreWork { try await target.flush() }
  @discardableResult
  func compact() async throws(StoreError) -> StoreWork { try await target.compact() }
  func snapshot(named name: SnapshotName) async throws(StoreError) -> SnapshotSummary {
    try await target.snapshot(named: name)
  }
  func statistics() async throws(StoreError) -> StoreStatistics { try await target.statistics() }
  func close() async throws(StoreError) { try await target.close() }
}

/// Counts the reads that found something.
final class CountingLog: RecordLog {
  private let target: any RecordLog
  private let count = Mutex(0)

  init(_ target: any RecordLog) { self.target = target }

  var reads: Int { count.withLock { $0 } }

  func read(
    _ partition: TopicPartition, from offset: Int64, maxBytes: Int, waiting: Duration
  ) async throws(LogError) -> LogSlice {
    let slice = try await target.read(partition, from: offset, maxBytes: maxBytes, waiting: waiting)
    if !slice.batches.isEmpty { count.withLock { $0 += 1 } }
    return slice
  }

  func append(_ requests: [AppendRequest]) async -> [Result<AppendReceipt, LogError>] { await target.append(requests) }

  func createTopic(_ name: TopicName, _ configuration: TopicConfiguration) async throws(LogError) {
    try await target.createTopic(name, configuration)
  }

  func deleteTopic(_ name: TopicName) async throws(LogError) { try await target.deleteTopic(name) }
  func topics() async throws(LogError) -> [TopicDescription] { try await target.topics() }

  func offset(of position: OffsetPosition, in partition: TopicPartition) async throws(LogError) -> Int64 {
    try await target.offset(of: position, in: partition)
  }

  func registerProducer() async throws(LogError) -> ProducerIdentity { try await target.registerProducer() }
}
