import ApusBroker
import ApusIO
import ApusModel
import ApusService
import Logging
import Synchronization

/// Reads sources and publishes what they say: one loop a source collects, one loop publishes, and a bounded buffer
/// stands between them.
///
/// A file source waits when the log is away, and its position is kept in the outbox, so that each row is in the topic
/// exactly once. A live source goes on: what cannot be sent waits in the buffer, then in the spool where there is one;
/// the oldest is dropped, and counted, when that is full.
///
/// ```swift
/// let streamer = try Streamer(configuration, sources: [source], log: log, registry: registry, logger: logger)
/// try await streamer.run()   // returns at the end of the files, or after `stop()`
/// ```
package final class Streamer: Sendable {
  private let configuration: Configuration
  private let sources: [any Source]
  private let log: any RecordLog
  private let outbox: Outbox?
  private let makeSpool: (@Sendable (SourcePosition?) async throws(PipelineError) -> Spool)?
  private let clock: any WallClock
  private let sleeper: Sleeper
  private let metrics: StreamerMetrics
  private let logger: Logger
  private let queue: StreamQueue
  private let stopping = Mutex(false)
  private let stopSignal = Signal()

  /// - Parameters:
  ///   - outbox: where positions are kept. Needed by file sources that are to go on after a restart, and by a spool.
  ///   - spool: opens the spool, given the position at which the last run ended.
  package init(
    _ configuration: Configuration, sources: [any Source], log: any RecordLog, registry: MetricsRegistry,
    logger: Logger, outbox: Outbox? = nil,
    spool: (@Sendable (SourcePosition?) async throws(PipelineError) -> Spool)? = nil,
    clock: any WallClock = SystemClock(), sleeper: Sleeper = .system
  ) throws(PipelineError) {
    try configuration.validate()
    guard !sources.isEmpty else { throw .invalidConfiguration(setting: "the streamer", reason: "has no source") }
    guard Set(sources.map { $0.name }).count == sources.count else {
      throw .invalidConfiguration(setting: "the sources", reason: "must differ; the same one is given twice")
    }
    guard spool == nil || outbox != nil else {
      throw .invalidConfiguration(setting: "--spool", reason: "needs a position file beside it")
    }
    guard spool == nil || sources.allSatisfy({ $0.isLive }) else {
      throw .invalidConfiguration(
        setting: "--spool",
        reason: "is for live sources; files wait by themselves, so give them a streamer of their own")
    }
    self.configuration = configuration
    self.sources = sources
    self.log = log
    self.outbox = outbox
    makeSpool = spool
    self.clock = clock
    self.sleeper = sleeper
    self.logger = logger
    metrics = StreamerMetrics(registry)
    queue = StreamQueue(
      limits: StreamBuffer.Limits(
        samplesMax: configuration.bufferSamplesMax, bytesMax: configuration.bufferBytesMax),
      trigger: StreamQueue.Trigger(
        bytes: configuration.batchBytesMax, records: configuration.batchRecordsMax,
        flushInterval: configuration.flushInterval),
      clock: clock, sleeper: sleeper)
  }

  /// Items collected and not taken for publishing yet.
  package var pendingItems: Int { queue.level.items }
  /// Bytes that they take.
  package var pendingBytes: Int { queue.level.bytes }

  /// Stops collecting, publishes what there is for as long as the grace period lasts, then ends `run`.
  package func stop() {
    stopping.withLock { $0 = true }
    stopSignal.raise()
  }

  private var isStopping: Bool { stopping.withLock { $0 } }

  /// Streams until every source has ended and all is published, or until `stop`. Cancelling the task ends it at once.
  package func run() async throws(PipelineError) {
    let state = try outbox?.load() ?? Outbox.State()
    for source in sources {
      if let position = state.positions[source.name] { try await source.resume(from: position) }
    }
    let spool = try await makeSpool?(state.positions[Spool.positionName])
    if let spool, await spool.pending > 0 { queue.beginSpooling() }
    let publisher = Publisher(
      configuration: configuration, log: log, outbox: outbox, state: state, clock: clock, sleeper: sleeper,
      metrics: metrics, logger: logger, sourceNames: sources.map { $0.name })
    let publishing = Task { [self] in
      await Streamer.outcome { () async throws(PipelineError) in try await publish(publisher, spool) }
    }
    let collecting = Task { [self] in
      await Streamer.outcome { () async throws(PipelineError) in try await collect(spool) }
    }
    let stopWatch = Task { [self] in await watchForStop(collecting, publishing) }
    let result = await withTaskCancellationHandler {
      let published = await publishing.value
      collecting.cancel()
      let collected = await collecting.value
      stopWatch.cancel()
      if case .failure = published { return published }
      return collected
    } onCancel: {
      publishing.cancel()
      collecting.cancel()
      stopWatch.cancel()
    }
    // In a task of its own, because this one may be cancelled.
    await Task { [self] in await keepRest(publisher, spool) }.value
    if case .failure(.stopped) = result {
      logger.warning("stopped before everything was published", metadata: ["instance": "\(configuration.instanceID)"])
      return
    }
    try result.get()
  }

  private static func outcome(
    _ body: () async throws(PipelineError) -> Void
  ) async -> Result<Void, PipelineError> {
    do throws(PipelineError) { return .success(try await body()) } catch { return .failure(error) }
  }

  /// Ends the collecting when told to, and the publishing when the grace period is over.
  private func watchForStop(
    _ collecting: Task<Result<Void, PipelineError>, Never>, _ publishing: Task<Result<Void, PipelineError>, Never>
  ) async {
    while !isStopping {
      let epoch = stopSignal.epoch
      if isStopping { break }
      await stopSignal.wait(after: epoch)
      if Task.isCancelled { return }
    }
    collecting.cancel()
    await sleeper.sleep(configuration.gracePeriod)
    if !Task.isCancelled { publishing.cancel() }
  }

  // MARK: Collecting

  /// Reads all sources side by side, then closes the queue.
  private func collect(_ spool: Spool?) async throws(PipelineError) {
    defer { queue.close() }
    let failure = await withTaskGroup(of: PipelineError?.self) { group in
      for index in sources.indices {
        group.addTask { [self] in
          do throws(PipelineError) {
            try await collect(from: index, spool)
            return nil
          } catch { return error }
        }
      }
      var first: PipelineError?
      for await error in group {
        guard let error, first == nil else { continue }
        first = error
        group.cancelAll()
      }
      return first
    }
    if let failure { throw failure }
  }

  private func collect(from index: Int, _ spool: Spool?) async throws(PipelineError) {
    let source = sources[index]
    // Only a columnar record can carry a marker: in text and JSON it would be a NaN among others.
    var staleness = configuration.encoding == .frame ? RoundStaleness() : nil
    while !Task.isCancelled {
      let batch: SourceBatch?
      do throws(PipelineError) { batch = try await source.next() } catch {
        if case .stopped = error { return }
        metrics.sourceErrors.add()
        throw error
      }
      guard var batch else { return }
      if let markers = staleness?.mark(&batch) { metrics.staleMarkers.add(UInt64(markers)) }
      metrics.rowsIngested.add(UInt64(batch.rows))
      metrics.rowsInvalid.add(UInt64(batch.rowsInvalid))
      metrics.rowsWithoutGPU.add(UInt64(batch.rowsWithoutGPU))
      if source.isLive {
        let dropped = queue.putLive(batch, source: index)
        if dropped > 0 {
          metrics.droppedBufferFull.add(UInt64(dropped))
          metrics.backpressure.add()
        }
        if let spool, queue.wantsSpilling { await spill(into: spool) }
      } else {
        guard let waited = await queue.put(batch, source: index) else { return }
        if waited { metrics.backpressure.add() }
      }
      metrics.batchPending.set(Double(queue.level.items))
    }
  }

  /// Moves what waits to the spool, oldest first, until the buffer is empty; the publishing loop reads there from now on.
  private func spill(into spool: Spool) async {
    guard queue.beginSpilling() else { return }
    defer { queue.endSpilling() }
    while queue.wantsSpilling {
      let entries = queue.takeForSpooling()
      do throws(PipelineError) {
        metrics.droppedTooLarge.add(UInt64(try await spool.append(entries)))
      } catch {
        queue.putBack(entries)
        metrics.spoolErrors.add()
        logger.error("the spool cannot take anything", metadata: ["why": "\(error)"])
        return
      }
    }
    metrics.spoolRecords.set(Double(await spool.pending))
  }

  // MARK: Publishing

  /// Publishes what the spool has, then what the queue has, until the queue is closed and empty.
  private func publish(_ publisher: Publisher, _ spool: Spool?) async throws(PipelineError) {
    try await publisher.start()
    while true {
      if Task.isCancelled { throw .stopped }
      if let spool, queue.isSpooling {
        try await publishSpooled(publisher, spool)
        continue
      }
      guard let entries = await queue.next() else { break }
      if entries.isEmpty { continue }
      try await publisher.publish(entries)
      metrics.batchPending.set(Double(queue.level.items))
    }
    if Task.isCancelled { throw .stopped }
    try await publisher.finish()
  }

  private func publishSpooled(_ publisher: Publisher, _ spool: Spool) async throws(PipelineError) {
    let epoch = queue.epoch
    let entries = try await spool.next(maxBytes: configuration.batchBytesMax)
    metrics.droppedSpoolFull.add(UInt64(await spool.takeLost()))
    metrics.spoolRecords.set(Double(await spool.pending))
    if entries.isEmpty {
      // Nothing is left; unless somebody is filling it right now, the buffer comes next.
      if !queue.endSpooling() { await queue.waitForNews(after: epoch) }
      return
    }
    try await publisher.publish(entries)
  }

  /// What could not be published when the time was over: into the spool where there is one, else it is counted. The
  /// rows of files are read again next time.
  private func keepRest(_ publisher: Publisher, _ spool: Spool?) async {
    var rest = await publisher.takeUnsent().filter { $0.isLive && $0.position == nil }
    while true {
      let more = queue.takeForSpooling()
      if more.isEmpty { break }
      rest += more.filter { $0.isLive }
    }
    guard !rest.isEmpty else { return }
    let samples = rest.reduce(0) { $0 + ($1.item?.sampleCount ?? 0) }
    if let spool {
      do throws(PipelineError) {
        _ = try await spool.append(rest)
        logger.notice("what was not published is kept in the spool", metadata: ["samples": "\(samples)"])
        return
      } catch {
        metrics.spoolErrors.add()
        logger.error("the spool cannot take anything", metadata: ["why": "\(error)"])
      }
    }
    metrics.droppedShutdown.add(UInt64(samples))
    logger.error("samples dropped: the log could not be reached before the end", metadata: ["samples": "\(samples)"])
  }
}
