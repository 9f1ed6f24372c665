import ApusIO
import ApusModel
import Synchronization

/// The store that Apus brings along: columns in memory, then in immutable blocks, in one directory.
///
/// It has no log of its own: what is not in blocks yet is replayed from the log, from `positions().durable` on. Appends
/// are done on the caller's thread, which they hold for microseconds; everything that waits for the disk or takes long
/// runs on threads of the store's own (see `Configuration.hasThreads`).
package final class EmbeddedStore: Store {
  private let core: StoreCore
  /// Encodes and seals; one thread.
  private let sealer: WorkerPool?
  /// Merges blocks and applies retention; one thread.
  private let compactor: WorkerPool?
  private let readers: WorkerPool?

  /// Opens the store in `directory` of a disk, or makes it there. It can be opened once at a time.
  package init(
    disk: any Disk, directory: String, clock: any WallClock, configuration: Configuration = Configuration()
  ) throws(StoreError) {
    let core = try StoreCore(disk: disk, directory: directory, clock: clock, configuration: configuration)
    self.core = core
    guard configuration.hasThreads else {
      sealer = nil
      compactor = nil
      readers = nil
      return
    }
    sealer = WorkerPool(threads: 1, tickMilliseconds: configuration.tickMilliseconds) { core.sealTurn() }
    compactor = WorkerPool(threads: 1, tickMilliseconds: configuration.tickMilliseconds) { core.compactTurn() }
    readers = WorkerPool(threads: configuration.readerThreads)
  }

  deinit {
    core.isStopping.set()
    sealer?.stop()
    compactor?.stop()
    readers?.stop()
  }

  /// Runs a body on a pool, or here when there is none.
  private func run<Value: Sendable>(
    _ pool: WorkerPool?, _ body: @escaping @Sendable (StoreCore) throws(StoreError) -> Value
  ) async throws(StoreError) -> Value {
    let core = core
    let result: Result<Value, StoreError>
    if let pool {
      result = await pool.run { Result { () throws(StoreError) in try body(core) } } ?? .failure(.closed)
    } else {
      result = Result { () throws(StoreError) in try body(core) }
    }
    if case .failure(let error) = result { core.handle(error) }
    return try result.get()
  }

  package func append(_ batch: StoreBatch) async throws(StoreError) -> AppendOutcome {
    do throws(StoreError) {
      let (outcome, hasWork) = try core.append(batch)
      if hasWork { sealer?.wake() }
      return outcome
    } catch {
      sealer?.wake()
      throw error
    }
  }

  package func positions() async throws(StoreError) -> [LogPartition: StorePosition] {
    try core.state.withLock { state throws(StoreError) in
      if state.isClosed { throw .closed }
      return Dictionary(
        uniqueKeysWithValues: state.appended.map { partition, appended in
          (partition, StorePosition(appended: appended, durable: state.durable[partition] ?? 0))
        })
    }
  }

  package func select(_ request: SelectRequest) async throws(StoreError) -> [SeriesColumn] {
    try await run(readers) { core throws(StoreError) in try core.select(request) }
  }

  package func aggregate(_ request: AggregateRequest) async throws(StoreError) -> AggregateAnswer {
    try await run(readers) { core throws(StoreError) in try core.aggregate(request) }
  }

  package func series(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [Labels] {
    try await run(readers) { core throws(StoreError) in try core.allSeries(matchers, in: range) }
  }

  package func labelNames(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [String] {
    try await run(readers) { core throws(StoreError) in try core.allLabelNames(matchers, in: range) }
  }

  package func labelValues(
    _ label: String, _ matchers: [Matcher], in range: TimeRange
  ) async throws(StoreError) -> [String] {
    try await run(readers) { core throws(StoreError) in try core.allLabelValues(label, matchers, in: range) }
  }

  package func descriptors() async throws(StoreError) -> [MetricDescriptor] {
    try core.state.withLock { state throws(StoreError) in
      if state.isClosed { throw .closed }
      var all = state.descriptors
      for head in [state.sealingHead, state.head].compactMap({ $0 }) { all.merge(head.descriptors) { _, new in new } }
      return all.values.sorted { $0.name < $1.name }
    }
  }

  package func delete(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) {
    try await run(sealer) { core throws(StoreError) in
      try core.checkOpen()
      try core.delete(matchers, in: range)
    }
  }

  @discardableResult
  package func flush() async throws(StoreError) -> StoreWork {
    try await run(sealer) { core throws(StoreError) in
      try core.checkOpen()
      return try core.seal()
    }
  }

  @discardableResult
  package func compact() async throws(StoreError) -> StoreWork {
    try await run(compactor) { core throws(StoreError) in
      try core.checkOpen()
      try core.applyRetention(now: core.clock.now)
      let work = try core.compactAll()
      try core.rollupAll()
      // What waited for its roll-up may go now.
      try core.applyRetention(now: core.clock.now)
      return work
    }
  }

  /// Runs on a reader's thread: the compactor's may be busy with a merge for long, and the sealer's must go on sealing.
  package func snapshot(named name: SnapshotName) async throws(StoreError) -> SnapshotSummary {
    try await flush()
    return try await run(readers) { core throws(StoreError) in
      try core.checkOpen()
      return try core.snapshot(named: name)
    }
  }

  package func statistics() async throws(StoreError) -> StoreStatistics {
    try core.checkOpen()
    return core.statistics()
  }

  /// The files are let go of even when the flush fails: what it could not write is still in the log.
  package func close() async throws(StoreError) {
    var failure: StoreError?
    do throws(StoreError) {
      try await flush()
    } catch {
      if case .closed = error { throw error }
      failure = error
    }
    core.isStopping.set()
    core.state.withLock { $0.isClosed = true }
    // What the threads are still doing ends before the lock of the folder goes.
    for pool in [compactor, sealer, readers] {
      _ = await pool?.run {}
      pool?.stop()
    }
    core.releaseLock()
    if let failure { throw failure }
  }

  /// One turn of all background work, on the caller's thread. With threads of its own the store does this by itself.
  package func maintain() throws(StoreError) {
    core.encodeFrozen()
    if core.isSealDue(now: core.clock.now) { try core.seal() }
    try core.applyRetention(now: core.clock.now)
    core.measureBesideIfOld()
    if try core.compactOnce() { return }
    _ = try core.rollupOnce()
  }
}

extension StoreCore {
  func checkOpen() throws(StoreError) {
    try state.withLock { state throws(StoreError) in
      if state.isClosed { throw .closed }
    }
  }

  /// What the sealing thread does from time to time. Failures are kept for the statistics and tried again later.
  func sealTurn() {
    encodeFrozen()
    if isSealDue(now: clock.now) { _ = try? seal() }
  }

  /// What the compacting thread does from time to time.
  func compactTurn() {
    let now = clock.now
    if state.withLock({ $0.isClosed || now < $0.retryAt }) { return }
    guard (try? applyRetention(now: now)) != nil else { return }
    measureBesideIfOld()
    // What is merged is rolled up, so that it need not be done again after the merge.
    while (try? compactOnce()) == true {}
    while (try? rollupOnce()) == true {}
  }
}
