import ApusIO
import Synchronization

/// The durable log inside this process.
///
/// One thread owns everything that is written (`LogCore`): it takes what waits, appends it in one turn, syncs once, and
/// answers all of it. Readers go past it: at the end of a partition they are served from memory, further back a few
/// threads read the segments. Nothing blocks a thread of the concurrency pool.
///
/// ```swift
/// let log = try EmbeddedLog(disk: PosixDisk(root: "/var/lib/apus"), clock: SystemClock())
/// let receipts = await log.append([AppendRequest(partition: partition, batch: batch)])
/// try await log.close()
/// ```
///
/// It must be closed: until then its threads keep it alive and its folder locked.
package final class EmbeddedLog: RecordLog {
  package let configuration: Configuration
  private let clock: any WallClock
  private let core: Mutex<LogCore>
  private let reader: LogReader
  private let queue: AppendQueue
  private let readers: ReaderPool
  private let published = Mutex(Published())
  private let reads = Mutex(ReadCounts())

  /// What the writer thread shows of itself after each turn.
  private struct Published {
    var totals = LogStatistics.Totals()
    var recovery = RecoveryReport()
    var writeProblem: String?
    var closing: CheckedContinuation<Result<Void, LogError>, Never>?
    /// The outcome of closing, once there is one.
    var closed: Result<Void, LogError>?
  }

  private struct ReadCounts {
    var messages: Int64 = 0
    var bytes: Int64 = 0
    var longPolls = 0
    var lastWaiter: UInt64 = 0
  }

  /// How often the writer looks at what is due by the clock when nothing else wakes it.
  private static let tick = Duration.milliseconds(500)

  /// Opens the log below the disk's root, recovers what is there (this blocks) and starts its threads.
  ///
  /// Throws `LogError.disk` with kind `busy` when another process has the folder.
  package init(
    disk: any Disk, clock: any WallClock, configuration: Configuration = Configuration()
  ) throws(LogError) {
    let core = try LogCore(disk: disk, clock: clock, configuration: configuration)
    self.configuration = configuration
    self.clock = clock
    reader = core.reader
    let first = Published(totals: core.totals, recovery: core.recovery)
    published.withLock { $0 = first }
    self.core = Mutex(core)
    queue = AppendQueue(bytesMax: configuration.queueBytesMax, waitingMax: configuration.waitingAppendsMax)
    readers = ReaderPool(threads: configuration.readThreads, limit: configuration.readsQueuedMax)
    WorkerThread.start { [self] in write() }
  }

  // MARK: RecordLog

  package func createTopic(_ name: TopicName, _ configuration: TopicConfiguration) async throws(LogError) {
    try await perform { core throws(LogError) in try core.createTopic(name, configuration) }
  }

  package func deleteTopic(_ name: TopicName) async throws(LogError) {
    try await perform { core throws(LogError) in try core.deleteTopic(name) }
  }

  package func topics() async throws(LogError) -> [TopicDescription] { reader.descriptions() }

  /// As the protocol says. When more waits than the queue's bound allows, it waits for room, up to
  /// `Configuration.backpressureWait` or until the task is cancelled; then each request is refused with
  /// `LogError.backpressure`. Once queued, a cancelled call still waits for its outcome.
  package func append(_ requests: [AppendRequest]) async -> [Result<AppendReceipt, LogError>] {
    guard !requests.isEmpty else { return [] }
    let bytes = requests.reduce(0) { $0 + $1.batch.bytes.count }
    let waiter = Mutex<(id: UInt64, timer: Task<Void, Never>)?>(nil)
    let results = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let submission = AppendQueue.Submission(requests: requests, bytes: bytes, continuation: continuation)
        switch queue.submit(submission) {
        case .queued: break
        case .refused(let error): submission.refuse(error)
        case .waits(let id):
          let timer = Task { [queue, wait = configuration.backpressureWait] in
            try? await Task.sleep(for: wait)
            queue.giveUp(id)
          }
          waiter.withLock { $0 = (id, timer) }
          if Task.isCancelled { queue.giveUp(id) }
        }
      }
    } onCancel: {
      if let id = waiter.withLock({ $0?.id }) { queue.giveUp(id) }
    }
    waiter.withLock { $0?.timer.cancel() }
    return results
  }

  /// As the protocol says; a cancelled task is answered at once, with what there is.
  package func read(
    _ partition: TopicPartition, from offset: Int64, maxBytes: Int, waiting: Duration
  ) async throws(LogError) -> LogSlice {
    let view = try reader.view(partition)
    let maxBytes = reader.bounded(maxBytes)
    var mayWait = waiting > .zero
    while true {
      switch view.plan(from: offset, maxBytes: maxBytes) {
      case .answer(let slice): return counted(slice)
      case .refused(let error): throw error
      case .nothingYet(let slice):
        guard mayWait, !Task.isCancelled else { return slice }
        mayWait = false
        await waitForRecords(view, at: offset, atMost: waiting)
      case .disk(let segments, let logStart, let highWatermark):
        let slice = try await onReaderThread { [reader] () throws(LogError) in
          try reader.read(
            view, segments, from: offset, maxBytes: maxBytes, logStart: logStart, highWatermark: highWatermark)
        }
        return counted(slice)
      }
    }
  }

  package func offset(
    of position: OffsetPosition, in partition: TopicPartition
  ) async throws(LogError) -> Int64 {
    guard case .timestamp = position else { return try reader.offset(of: position, in: partition) }
    return try await onReaderThread { [reader] () throws(LogError) in
      try reader.offset(of: position, in: partition)
    }
  }

  package func registerProducer() async throws(LogError) -> ProducerIdentity {
    try await perform { core throws(LogError) in try core.registerProducer() }
  }

  // MARK: Beyond the protocol

  /// Says that the store holds everything of the partition below `offset` in durable files, so that retention may drop
  /// it. Of a topic in `Configuration.coverageTopics` nothing else is ever dropped. Takes effect soon; does not wait.
  package func setCoveredOffset(_ offset: Int64, for partition: TopicPartition) {
    _ = queue.control { $0.setCoveredOffset(offset, for: partition) }
  }

  /// The log in numbers. Cheap: a few short locks and one pass over the partitions.
  package func statistics() -> LogStatistics {
    var statistics = LogStatistics()
    statistics.topics = reader.descriptions()
    published.withLock { published in
      statistics.totals = published.totals
      statistics.recovery = published.recovery
      statistics.writeProblem = published.writeProblem
    }
    reads.withLock { reads in
      statistics.messagesRead = reads.messages
      statistics.bytesRead = reads.bytes
      statistics.longPolls = reads.longPolls
    }
    statistics.corruptReads = reader.corruptReads
    statistics.backpressureEvents = queue.backpressureEvents
    statistics.queuedBytes = queue.queuedBytes
    statistics.queueBytesMax = queue.bytesMax
    statistics.openFiles = reader.files.count
    return statistics
  }

  /// Does all that waits, syncs, writes the checkpoint and lets go of the folder. Calls that come later are refused with
  /// `LogError.shuttingDown`; a second `close` has the outcome of the first.
  package func close() async throws(LogError) {
    let outcome = await withCheckedContinuation { continuation in
      let known = published.withLock { published -> Result<Void, LogError>? in
        if published.closed == nil && published.closing == nil {
          published.closing = continuation
          return nil
        }
        return published.closed ?? .failure(.shuttingDown)
      }
      if let known { continuation.resume(returning: known) } else { queue.close() }
    }
    try outcome.get()
  }

  // MARK: Waiting

  private func waitForRecords(_ view: PartitionView, at offset: Int64, atMost limit: Duration) async {
    let id = reads.withLock { reads -> UInt64? in
      guard reads.longPolls < configuration.longPollsMax else { return nil }
      reads.longPolls += 1
      reads.lastWaiter += 1
      return reads.lastWaiter
    }
    guard let id else { return }
    let wake: @Sendable () -> Void = {
      view.state.withLock { $0.waiters.removeValue(forKey: id) }?.resume()
    }
    let timer = Task {
      try? await Task.sleep(for: limit)
      wake()
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        // Under one lock with the look at the watermark, so that no append slips in between.
        let isWaiting = view.state.withLock { state in
          guard state.highWatermark == offset, !state.isDeleted, !queue.isClosed else { return false }
          state.waiters[id] = continuation
          return true
        }
        if !isWaiting { continuation.resume() } else if Task.isCancelled { wake() }
      }
    } onCancel: {
      wake()
    }
    timer.cancel()
    reads.withLock { $0.longPolls -= 1 }
  }

  private func counted(_ slice: LogSlice) -> LogSlice {
    var messages: Int64 = 0
    var bytes: Int64 = 0
    for batch in slice.batches {
      messages += Int64(batch.recordCount)
      bytes += Int64(batch.bytes.count)
    }
    reads.withLock { reads in
      reads.messages += messages
      reads.bytes += bytes
    }
    return slice
  }

  private func onReaderThread<Value: Sendable>(
    _ body: @escaping @Sendable () throws(LogError) -> Value
  ) async throws(LogError) -> Value {
    let outcome: Result<Value, LogError> = await withCheckedContinuation { continuation in
      let isTaken = readers.submit {
        do throws(LogError) { continuation.resume(returning: .success(try body())) } catch {
          continuation.resume(returning: .failure(error))
        }
      }
      if !isTaken { continuation.resume(returning: .failure(refusal)) }
    }
    if case .failure(.corrupt(let partition, let file, _, _)) = outcome { reportCorruption(partition, file) }
    return try outcome.get()
  }

  /// Why the reader threads took nothing.
  private var refusal: LogError {
    let isClosed = published.withLock { $0.closed != nil || $0.closing != nil }
    return isClosed
      ? .shuttingDown : .backpressure(queuedBytes: queue.queuedBytes, limit: queue.bytesMax)
  }

  /// The writer looks into the segment and takes it out of service; readers go on behind the gap.
  private func reportCorruption(_ partition: TopicPartition, _ file: String) {
    let name = file.split(separator: "/").last.map { String($0) } ?? file
    guard let base = SegmentPath.baseOffset(ofName: name, suffix: "log") else { return }
    _ = queue.control { $0.repair(partition, segment: base) }
  }

  // MARK: The writer thread

  private func perform<Value: Sendable>(
    _ body: @escaping @Sendable (LogCore) throws(LogError) -> Value
  ) async throws(LogError) -> Value {
    let outcome: Result<Value, LogError> = await withCheckedContinuation { continuation in
      let isTaken = queue.control { core in
        do throws(LogError) { continuation.resume(returning: .success(try body(core))) } catch {
          continuation.resume(returning: .failure(error))
        }
      }
      if !isTaken { continuation.resume(returning: .failure(.shuttingDown)) }
    }
    return try outcome.get()
  }

  private func write() {
    var limit = EmbeddedLog.tick
    if case .interval(let interval) = configuration.durability { limit = min(limit, interval) }
    var lastMaintenance = clock.monotonicNanoseconds
    while true {
      switch queue.take(bytes: configuration.turnBytesMax, atMost: limit) {
      case .closed:
        finish()
        return
      case .nothing:
        core.withLock { $0.maintain() }
        lastMaintenance = clock.monotonicNanoseconds
      case .commands(let commands):
        run(commands)
        let now = clock.monotonicNanoseconds
        if Duration.nanoseconds(Int64(clamping: now &- lastMaintenance)) >= min(limit, .milliseconds(100)) {
          core.withLock { $0.maintain() }
          lastMaintenance = now
        }
      }
      publish()
    }
  }

  /// Appends between two controls make one turn.
  private func run(_ commands: [AppendQueue.Command]) {
    var submissions: [AppendQueue.Submission] = []
    for command in commands {
      switch command {
      case .append(let submission): submissions.append(submission)
      case .control(let body):
        turn(submissions)
        submissions.removeAll(keepingCapacity: true)
        core.withLock { body($0) }
      }
    }
    turn(submissions)
  }

  private func turn(_ submissions: [AppendQueue.Submission]) {
    guard let first = submissions.first else { return }
    var requests = first.requests
    for submission in submissions.dropFirst() { requests += submission.requests }
    let results = core.withLock { $0.append(requests) }
    var position = 0
    var bytes = 0
    for submission in submissions {
      bytes += submission.bytes
      let end = position + submission.requests.count
      submission.continuation.resume(returning: submissions.count == 1 ? results : Array(results[position..<end]))
      position = end
    }
    queue.release(bytes)
  }

  private func publish() {
    let (totals, recovery, problem) = core.withLock { ($0.totals, $0.recovery, $0.writeProblem) }
    published.withLock { published in
      published.totals = totals
      published.recovery = recovery
      published.writeProblem = problem.map(\.description)
    }
  }

  private func finish() {
    // Whoever begins to wait from now on sees that the queue is closed.
    for topic in reader.topics.values { for view in topic.partitions { view.wakeAll() } }
    readers.stop()
    let outcome = core.withLock { core -> Result<Void, LogError> in
      do throws(LogError) { return .success(try core.close()) } catch { return .failure(error) }
    }
    publish()
    let continuation = published.withLock { published in
      published.closed = outcome
      defer { published.closing = nil }
      return published.closing
    }
    continuation?.resume(returning: outcome)
  }
}
