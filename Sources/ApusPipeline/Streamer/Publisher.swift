import ApusBroker
import ApusIO
import ApusService
import Logging

/// The side of the streamer that talks to the log: an idempotent producer with one send in flight.
///
/// Used by one loop. A send is repeated, byte for byte, until every batch of it is acknowledged; where an outbox is
/// given it is saved before the first try, so that the repeating outlives the process.
actor Publisher {
  private let configuration: Streamer.Configuration
  private let log: any RecordLog
  private let outbox: Outbox?
  private let clock: any WallClock
  private let sleeper: Sleeper
  private let metrics: StreamerMetrics
  private let logger: Logger
  private var builder: RoundBuilder
  /// What the outbox says, kept in memory.
  private var state: Outbox.State
  private var backoff: Backoff
  /// The last try failed because the log was not to be had.
  private var isAway = false
  private let sourceNames: [String]
  /// Of the entries that are being published, those that are in no batch yet.
  private var unsent: ArraySlice<StreamBuffer.Entry> = []
  /// Of the same, those that are in a batch that is not acknowledged.
  private var inFlight: ArraySlice<StreamBuffer.Entry> = []

  init(
    configuration: Streamer.Configuration, log: any RecordLog, outbox: Outbox?, state: Outbox.State,
    clock: any WallClock, sleeper: Sleeper, metrics: StreamerMetrics, logger: Logger,
    sourceNames: [String]
  ) {
    self.configuration = configuration
    self.log = log
    self.outbox = outbox
    self.state = state
    self.clock = clock
    self.sleeper = sleeper
    self.metrics = metrics
    self.logger = logger
    self.sourceNames = sourceNames
    backoff = Backoff(
      initial: configuration.backoffInitial, maximum: configuration.backoffMaximum, seed: configuration.seed)
    builder = Publisher.builder(configuration, partitions: configuration.partitions)
  }

  private static func builder(_ configuration: Streamer.Configuration, partitions: Int32) -> RoundBuilder {
    RoundBuilder(
      topic: configuration.topic, partitions: partitions, encoding: configuration.encoding,
      compression: configuration.compression,
      limits: RoundBuilder.Limits(
        batchBytesMax: configuration.batchBytesMax, batchRecordsMax: configuration.batchRecordsMax))
  }

  /// Finds or makes the topic, gets an identity and sends again what an earlier life of the process had in its hands.
  func start() async throws(PipelineError) {
    builder = Publisher.builder(configuration, partitions: try await findTopic())
    if !state.pending.isEmpty {
      logger.notice(
        "sending again what was not acknowledged when the last run ended",
        metadata: ["batches": "\(state.pending.count)", "file": "\(configuration.instanceID)"])
      _ = try await send(state.pending)
      state.pending = []
    }
    if state.producer.identity == nil { try await register() }
  }

  /// Publishes entries in order, and returns when the last is acknowledged. The positions that they carry count as
  /// reached by then.
  func publish(_ entries: [StreamBuffer.Entry]) async throws(PipelineError) {
    unsent = entries[...]
    while !unsent.isEmpty {
      let round: RoundBuilder.Round
      do throws(LogError) {
        if let sets = try builder.setRound(for: unsent, producer: &state.producer, now: clock.now) {
          round = sets
        } else {
          round = try builder.dataRound(for: unsent, producer: &state.producer, now: clock.now)
        }
      } catch { throw .log(error) }
      let done = unsent.prefix(round.entries)
      unsent = unsent.dropFirst(round.entries)
      inFlight = done
      for entry in done { if let (source, position) = entry.position { state.positions[name(of: source)] = position } }
      try await send(round)
      inFlight = []
      note(done, round)
    }
  }

  private func name(of source: Int) -> String {
    source == Spool.sourceIndex ? Spool.positionName : sourceNames[source]
  }

  /// What `publish` had not brought to an end when it was stopped, less what the outbox keeps.
  func takeUnsent() -> [StreamBuffer.Entry] {
    defer { (unsent, inFlight) = ([], []) }
    return outbox == nil ? Array(inFlight + unsent) : Array(unsent)
  }

  /// Saves that nothing is in flight, so that a clean end leaves a small file.
  func finish() throws(PipelineError) {
    state.pending = []
    if let outbox { try outbox.save(state) }
  }

  private func note(_ done: ArraySlice<StreamBuffer.Entry>, _ round: RoundBuilder.Round) {
    if round.samplesTooLarge > 0 {
      metrics.droppedTooLarge.add(UInt64(round.samplesTooLarge))
      logger.error(
        "samples dropped: a record of them is larger than a batch may be",
        metadata: ["samples": "\(round.samplesTooLarge)", "limit": "\(configuration.batchBytesMax)"])
    }
    let now = clock.monotonicNanoseconds
    var samples = 0
    var items = 0
    for entry in done {
      guard let item = entry.item else { continue }
      samples += item.sampleCount
      items += 1
      metrics.publishLatency.observe(Double(now &- entry.collectedNanoseconds) / 1e9)
    }
    metrics.samplesPublished.add(UInt64(samples - round.samplesTooLarge))
    metrics.itemsPublished.add(UInt64(items))
    metrics.setChanges.set(Double(builder.setChanges))
  }

  private func send(_ round: RoundBuilder.Round) async throws(PipelineError) {
    // A round without batches only moves the position, which is saved with the next send or at the end.
    guard !round.requests.isEmpty else { return }
    state.pending = round.requests
    if let outbox { try outbox.save(state) }
    let receipts = try await send(round.requests)
    state.pending = []
    builder.acknowledge(round, receipts: receipts, now: clock.now)
  }

  /// Repeats the batches until each is acknowledged.
  private func send(_ requests: [AppendRequest]) async throws(PipelineError) -> [Int32: AppendReceipt] {
    var receipts: [Int32: AppendReceipt] = [:]
    var open = requests
    while true {
      let results = await log.append(open)
      var failed: [(request: AppendRequest, error: LogError)] = []
      for (request, result) in zip(open, results) {
        switch result {
        case .success(let receipt):
          receipts[request.partition.partition] = receipt
          metrics.bytesPublished.add(UInt64(request.batch.bytes.count))
          if receipt.isDuplicate { metrics.duplicates.add() }
        case .failure(let error): failed.append((request, error))
        }
      }
      if failed.isEmpty {
        await markPresent()
        return receipts
      }
      open = try await handle(failed)
      if open.isEmpty { return receipts }
    }
  }

  /// Decides what to do about refused batches, waits where that helps, and answers with what is to be sent again.
  private func handle(
    _ failed: [(request: AppendRequest, error: LogError)]
  ) async throws(PipelineError) -> [AppendRequest] {
    metrics.publishErrors.add(UInt64(failed.count))
    var again: [AppendRequest] = []
    var mustRegister = false
    for (request, error) in failed {
      switch PublishVerdict(error) {
      case .retry: again.append(request)
      case .wait:
        metrics.backpressure.add()
        again.append(request)
      case .register:
        mustRegister = true
        again.append(request)
      case .drop:
        metrics.droppedRefused.add(UInt64(request.batch.recordCount))
        logger.error(
          "the log refuses a batch for good; its records are dropped",
          metadata: ["partition": "\(request.partition)", "records": "\(request.batch.recordCount)", "why": "\(error)"])
      case .stop: throw .log(error)
      }
    }
    guard !again.isEmpty else { return [] }
    if mustRegister {
      logger.warning(
        "the log does not know this producer's sequence any more; going on under a new identity",
        metadata: ["why": "\(failed[0].error)"])
      return try await reidentify(again)
    }
    try await markAway(failed[0].error)
    return again
  }

  /// The same records under a new identity, from sequence 0. Whether the log has them already cannot be told any more.
  private func reidentify(_ requests: [AppendRequest]) async throws(PipelineError) -> [AppendRequest] {
    builder.forgetSets()
    try await register()
    var result: [AppendRequest] = []
    for request in requests {
      do throws(LogError) {
        var copy = RecordBatchBuilder(compression: configuration.compression)
        for record in try request.batch.records() { copy.append(record) }
        let sequence = state.producer.take(request.batch.recordCount, in: request.partition.partition)
        let batch = try copy.finish(producer: state.producer.identity, baseSequence: sequence)
        result.append(AppendRequest(partition: request.partition, batch: batch))
      } catch { throw .log(error) }
    }
    state.pending = result
    if let outbox { try outbox.save(state) }
    return result
  }

  private func register() async throws(PipelineError) {
    while true {
      do throws(LogError) {
        state.producer.replace(with: try await log.registerProducer())
        metrics.producerRegistrations.add()
        await markPresent()
        return
      } catch {
        if PublishVerdict(error) == .stop { throw .log(error) }
        metrics.publishErrors.add()
        try await markAway(error)
      }
    }
  }

  private func findTopic() async throws(PipelineError) -> Int32 {
    while true {
      do throws(LogError) {
        if let topic = try await log.topics().first(where: { $0.name == configuration.topic }) {
          await markPresent()
          return Int32(topic.partitions.count)
        }
        try await log.createTopic(configuration.topic, TopicConfiguration(partitions: configuration.partitions))
      } catch {
        // Another streamer may have made it in between.
        if case .topicExists = error { continue }
        switch PublishVerdict(error) {
        case .stop, .drop: throw .log(error)
        case .retry, .wait, .register: break
        }
        metrics.publishErrors.add()
        try await markAway(error)
      }
    }
  }

  private func markPresent() async {
    backoff.reset()
    guard isAway else { return }
    isAway = false
    metrics.reconnects.add()
    // It may be another process, with less than it had acknowledged to us.
    builder.forgetSets()
    logger.notice("the log answers again")
  }

  private func markAway(_ error: LogError) async throws(PipelineError) {
    if !isAway {
      isAway = true
      logger.warning("the log cannot take anything now; trying again until it does", metadata: ["why": "\(error)"])
    }
    await sleeper.sleep(backoff.next())
    if Task.isCancelled { throw .stopped }
  }
}

/// What a producer does about a refusal.
enum PublishVerdict: Hashable {
  /// Send the same bytes again, after a pause.
  case retry
  /// As `retry`; the log is there and asks for patience.
  case wait
  /// Ask for a new identity, then send the records again.
  case register
  /// No repeating will help: give the batch up, and count it.
  case drop
  /// No repeating will help, and the streamer cannot go on.
  case stop

  init(_ error: LogError) {
    switch error {
    case .unreachable, .shuttingDown, .disk, .protocolViolation, .corrupt, .unknownTopic: self = .retry
    case .backpressure, .logFull, .diskFull: self = .wait
    case .outOfOrderSequence, .unknownProducer: self = .register
    case .invalidBatch, .messageTooLarge, .offsetOutOfRange: self = .drop
    case .fencedProducer, .unknownPartition, .topicExists, .invalidTopicName, .invalidConfiguration: self = .stop
    }
  }
}
