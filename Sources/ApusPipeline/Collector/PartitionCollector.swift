import ApusBroker
import ApusIO
import ApusModel
import ApusService
import ApusStore
import Logging

/// Carries one partition from the log to the store: reads, decodes, appends, in order, one batch at a time, with the
/// next read under way while the store works.
///
/// Used by one task. Memory is bounded by two reads and the window's bounds; a store that stands still stops the reading.
actor PartitionCollector {
  private let configuration: Collector.Configuration
  private let partition: TopicPartition
  private let log: any RecordLog
  private let store: any Store
  private let clock: any WallClock
  private let sleeper: Sleeper
  private let metrics: CollectorMetrics
  private let logger: Logger
  private let progress: CollectorProgress
  private var decoder = RecordDecoder()
  private var window: PartitionWindow
  private var letters: DeadLetters
  private var backoff: Backoff
  /// The offset of the next record to read.
  private var readPosition: Int64
  /// What the store has taken in.
  private var storePosition: Int64
  private var lastCoverage: UInt64 = 0

  init(
    configuration: Collector.Configuration, partition: TopicPartition, start: Int64, log: any RecordLog,
    store: any Store, clock: any WallClock, sleeper: Sleeper, metrics: CollectorMetrics, logger: Logger,
    progress: CollectorProgress
  ) {
    self.configuration = configuration
    self.partition = partition
    self.log = log
    self.store = store
    self.clock = clock
    self.sleeper = sleeper
    self.metrics = metrics
    self.logger = logger
    self.progress = progress
    readPosition = start
    storePosition = start
    window = PartitionWindow(
      nextOffset: start,
      limits: PartitionWindow.Limits(
        recordsMax: configuration.heldRecordsMax, bytesMax: configuration.heldBytesMax,
        parkedAgeMaxMilliseconds: configuration.parkedAgeMaxMilliseconds))
    letters = DeadLetters(source: partition, collector: configuration.instanceID)
    backoff = Backoff(
      initial: configuration.backoffInitial, maximum: configuration.backoffMaximum,
      seed: configuration.seed &+ UInt64(partition.partition))
  }

  /// Runs until the task is cancelled, or the store or the log refuses for good.
  func run() async throws(PipelineError) {
    progress.note(partition, appended: storePosition)
    var next = read()
    defer { next.cancel() }
    while !Task.isCancelled {
      let slice: LogSlice
      switch await withTaskCancellationHandler(operation: { await next.value }, onCancel: { [next] in next.cancel() }) {
      case .success(let found):
        slice = found
        backoff.reset()
      case .failure(let error):
        if Task.isCancelled { return }
        try await handle(error)
        next = read()
        continue
      }
      let before = readPosition
      decode(slice)
      if readPosition > before { next = read() }
      await resolve()
      try await sendDeadLetters()
      try await flush()
      noteBacklog(slice)
      await reportCoverage()
      if readPosition == before { next = read() }
    }
  }

  private func read() -> Task<Result<LogSlice, LogError>, Never> {
    Task { [log, partition, readPosition, configuration] in
      do throws(LogError) {
        return .success(
          try await log.read(
            partition, from: readPosition, maxBytes: configuration.readBytesMax, waiting: configuration.readWait))
      } catch { return .failure(error) }
    }
  }

  /// Puts the records of a read into the window.
  private func decode(_ slice: LogSlice) {
    let now = clock.now
    for batch in slice.batches {
      metrics.bytesReceived.add(UInt64(batch.bytes.count))
      let from = readPosition
      do {
        try batch.forEachRecord { record in
          guard record.offset >= from else { return }
          metrics.messagesReceived.add()
          take(record, now: now)
        }
      } catch {
        // A valid batch is walked over without an error, so this one was changed behind the log's checks.
        logger.error("a record batch cannot be read", metadata: ["offset": "\(batch.baseOffset)", "why": "\(error)"])
        metrics.messagesInvalid.add(UInt64(batch.recordCount))
      }
      readPosition = max(readPosition, batch.nextOffset)
    }
    window.advance(to: readPosition)
  }

  private func take(_ record: borrowing RecordView, now: Int64) {
    let result = decoder.decode(
      record.value, contentType: record.header("content-type"), key: record.key, timestamp: record.timestamp)
    switch result {
    case .set: metrics.setsSeen.add()
    case .content(let content): window.add(content, offset: record.offset)
    case .several(let value):
      for content in value.contents { window.add(content, offset: record.offset) }
      if !value.descriptors.isEmpty { window.add(value.descriptors, offset: record.offset) }
      if let problem = value.problem { reject(record.copy(), offset: record.offset, reason: problem) }
    case .unknownSet(let id, let hint):
      metrics.recordsParked.add()
      window.park(
        PartitionWindow.Parked(
          offset: record.offset, needs: id, hint: hint < record.offset ? hint : -1,
          value: record.value.map { [UInt8]($0) } ?? [], key: record.key.map { [UInt8]($0) }, since: now))
    case .invalid(let reason): reject(record.copy(), offset: record.offset, reason: reason)
    }
  }

  private func reject(_ record: Record, offset: Int64, reason: String) {
    metrics.messagesInvalid.add()
    if progress.mayReport(at: clock.monotonicNanoseconds) {
      logger.warning(
        "a record cannot be used; it is kept with the dead letters",
        metadata: ["partition": "\(partition)", "offset": "\(offset)", "why": "\(reason)"])
    }
    letters.add(DeadLetters.Letter(record: record, offset: offset, reason: reason))
  }

  /// Fetches the sets that parked records name, and gives up those that have waited too long.
  private func resolve() async {
    retryParked()
    while let hint = window.nextHint() {
      if !decoder.knows(hint.id) { await fetchSet(at: hint.offset) }
      retryParked()
    }
    for parked in window.giveUp(now: clock.now) {
      reject(parked.record, offset: parked.offset, reason: "no copy of series set \(parked.needs) came")
    }
    metrics.parked.set(Double(window.parkedCount))
  }

  private func retryParked() {
    let invalid = window.retry { parked in
      switch parked.value.withUnsafeBytes({ decoder.decodeScrape($0) }) {
      case .set: .nothing
      case .content(let content): .content(content)
      case .unknownSet(let id, let hint): .needs(id, hint: hint < parked.offset ? hint : -1)
      case .invalid, .several: .invalid
      }
    }
    for parked in invalid {
      reject(parked.record, offset: parked.offset, reason: "the record does not fit its series set")
    }
  }

  /// Sets that build on one another, at most; a chain is cut at 8 where sets are made.
  private static let chainMax = 16

  /// Reads the one record at an offset for the set that it defines, and before it the sets that it builds on. Where one
  /// is gone, nothing happens.
  private func fetchSet(at offset: Int64) async {
    var chain = [offset]
    while let wanted = chain.last, chain.count <= PartitionCollector.chainMax, !Task.isCancelled {
      let slice: LogSlice
      do throws(LogError) {
        slice = try await log.read(partition, from: wanted, maxBytes: 1, waiting: .zero)
      } catch {
        switch PublishVerdict(error) {
        case .retry, .wait: await pause(error)
        case .drop, .register, .stop: return
        }
        continue
      }
      switch decodeSet(at: wanted, in: slice) {
      case .set:
        metrics.setsFetched.add()
        chain.removeLast()
      case .unknownSet(_, let base) where base >= 0 && base < wanted: chain.append(base)
      default: return
      }
    }
  }

  private func decodeSet(at offset: Int64, in slice: LogSlice) -> RecordDecoder.Result? {
    var result: RecordDecoder.Result?
    for batch in slice.batches {
      // What cannot be walked over has no set for us; the record that asked stays parked.
      try? batch.forEachRecord { record in
        if record.offset == offset, let value = record.value { result = decoder.decodeScrape(value) }
      }
    }
    return result
  }

  private func sendDeadLetters() async throws(PipelineError) {
    guard configuration.writesDeadLetters, letters.hasTopic else {
      letters.removeFirst(letters.waiting.count)
      return
    }
    while !letters.waiting.isEmpty, !Task.isCancelled {
      let request: AppendRequest
      let count: Int
      do throws(LogError) {
        guard let next = try letters.nextRequest(now: clock.now) else { return }
        (request, count) = next
      } catch { throw .log(error) }
      switch await log.append([request])[0] {
      case .success:
        metrics.deadLetters.add(UInt64(count))
        letters.removeFirst(count)
      case .failure(let error):
        switch PublishVerdict(error) {
        case .retry, .wait: await pause(error)
        case .drop, .register, .stop:
          metrics.deadLettersFailed.add(UInt64(count))
          logger.error("dead letters cannot be kept", metadata: ["records": "\(count)", "why": "\(error)"])
          letters.removeFirst(count)
        }
      }
    }
  }

  /// Hands what is ready to the store, again and again until it takes it.
  private func flush() async throws(PipelineError) {
    guard let (items, nextOffset) = window.takeReady(behind: storePosition) else { return }
    let batch = StoreBatch(
      partition: LogPartition(topic: partition.topic.text, partition: partition.partition), items: items,
      nextOffset: nextOffset)
    while !Task.isCancelled {
      let started = clock.monotonicNanoseconds
      do throws(StoreError) {
        let outcome = try await store.append(batch)
        metrics.flushLatency.observe(Double(clock.monotonicNanoseconds &- started) / 1e9)
        metrics.messagesFlushed.add(UInt64(items.count))
        metrics.samplesFlushed.add(UInt64(outcome.samplesAccepted))
        metrics.samplesOverSeriesLimit.add(UInt64(outcome.samplesOverSeriesLimit))
        metrics.samplesTooOld.add(UInt64(outcome.samplesTooOld))
        metrics.recordsSkipped.add(UInt64(outcome.recordsSkipped))
        storePosition = nextOffset
        progress.note(partition, appended: nextOffset, refusals: outcome.refusals)
        backoff.reset()
        return
      } catch {
        metrics.flushErrors.add()
        if error.isFinal { throw .store(error) }
        progress.note(trouble: error.description)
        if progress.mayReport(at: clock.monotonicNanoseconds) {
          logger.warning("the store cannot take a batch now; trying again", metadata: ["why": "\(error)"])
        }
        await sleeper.sleep(backoff.next())
      }
    }
  }

  /// Decides about a failed read.
  private func handle(_ error: LogError) async throws(PipelineError) {
    metrics.readErrors.add()
    guard case .offsetOutOfRange(_, let requested, let logStart, let highWatermark) = error else {
      if PublishVerdict(error) == .stop { throw .log(error) }
      return await pause(error)
    }
    if requested < logStart {
      let lost = logStart - requested
      metrics.recordsLost.add(UInt64(lost))
      logger.error(
        "records were dropped from the log before they were read; going on at its start",
        metadata: ["partition": "\(partition)", "records": "\(lost)", "from": "\(requested)", "to": "\(logStart)"])
      readPosition = logStart
      window.advance(to: logStart)
      return
    }
    metrics.positionsAhead.add()
    logger.error(
      "the log ends before the position that the store has reached; waiting for it to catch up (was it replaced?)",
      metadata: ["partition": "\(partition)", "position": "\(requested)", "end": "\(highWatermark)"])
    await sleeper.sleep(configuration.backoffMaximum)
  }

  private func pause(_ error: LogError) async {
    if progress.mayReport(at: clock.monotonicNanoseconds) {
      logger.warning(
        "the log cannot be read now; trying again", metadata: ["partition": "\(partition)", "why": "\(error)"])
    }
    await sleeper.sleep(backoff.next())
  }

  private func noteBacklog(_ slice: LogSlice) {
    progress.note(partition, backlog: max(0, slice.highWatermark - storePosition))
    metrics.backlog.set(Double(progress.backlog))
  }

  /// Tells how far the store's files cover the log, at most once in the configured interval.
  private func reportCoverage() async {
    let now = clock.monotonicNanoseconds
    guard now &- lastCoverage >= UInt64(max(0, configuration.coverageInterval.wholeNanoseconds)) else { return }
    lastCoverage = now
    do throws(StoreError) {
      let positions = try await store.positions()
      let name = LogPartition(topic: partition.topic.text, partition: partition.partition)
      if let position = positions[name] { await progress.report(partition, durable: position.durable) }
    } catch {
      // The next round asks again; until then the log keeps more than it has to.
      metrics.flushErrors.add()
    }
  }
}

extension PartitionWindow.Parked {
  /// The record as it came, as far as it was kept.
  fileprivate var record: Record {
    Record(
      timestamp: since, key: key, value: value,
      headers: [RecordHeader(name: "content-type", value: Array("application/vnd.apus.scrape".utf8))])
  }
}

extension StoreError {
  /// No later try will have another answer.
  fileprivate var isFinal: Bool {
    switch self {
    case .closed, .unsupportedVersion, .invalidConfiguration, .gap: true
    case .disk, .corrupt, .tooManySamples, .headFull, .snapshotExists, .unreachable, .refused: false
    }
  }
}
