import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusPipeline
import ApusService
import ApusStore
import ApusTestKit
import Logging
import Synchronization

/// The whole pipeline on one simulated disk, driven through a schedule of faults that one seed decides: power cuts in
/// the middle of any write, requests and answers lost on the way, processes that end and begin again. At the end the
/// power stays on, everything drains, and the topic and the store are compared with what the source said. The threads
/// are real, so a seed decides which faults come, but not what each of them meets.
final class PipelineSimulation: Sendable {
  struct Outcome: Sendable {
    var expected: [String]
    var stored: [String]
    /// Scrapes in the topic, by key and timestamp.
    var published: [String]
    var powerCuts: Int
    var lostAnswers: Int
  }

  private let seed: UInt64
  private let disk: SimulatedDisk
  private let clock = ManualClock()
  private let topic: TopicName
  private let batches: [SourceBatch]
  private static let storeDirectory = "store"

  init(seed: UInt64) {
    guard let topic = TopicName("gpu-telemetry") else { preconditionFailure("a valid name") }
    self.topic = topic
    self.seed = seed
    disk = SimulatedDisk(seed: seed)
    var random = Seed(seed &* 31 &+ 7)
    let hosts = 1 + random.below(4)
    let sets = (0..<hosts).map { host in
      SeriesSet(series: (0..<3).map { Labels([("__name__", "m\($0)"), ("Hostname", "h\(host)"), ("gpu", "0")]) })
    }
    batches = (0..<(20 + random.below(60))).map { second in
      let items = sets.indices.map { host in
        TelemetryItem(
          key: Array("h\(host)".utf8),
          content: .scrape(
            Scrape(
              set: sets[host], timestamp: Timestamp(milliseconds: 1_000_000 + Int64(second) * 1000),
              values: (0..<3).map { Double(second * 100 + host * 10 + $0) })),
          position: SourcePosition(bytes: [UInt8(second), UInt8(host + 1)]))
      }
      return SourceBatch(
        items: items, rows: hosts * 3, position: SourcePosition(bytes: [UInt8(second + 1), 0]))
    }
  }

  func run() async throws -> Outcome {
    var random = Seed(seed)
    var powerCuts = 0
    var lostAnswers = 0
    for _ in 0..<(1 + random.below(4)) {
      let end: End = random.oneIn(2) ? .powerCut : .order
      if end == .powerCut { disk.crash(afterOperations: 1 + random.below(200)) }
      lostAnswers += try await life(&random, partitions: Int32(1 + random.below(2)), end: end)
      if disk.isCrashed { powerCuts += 1 }
      disk.restart()
    }
    lostAnswers += try await life(&random, partitions: 1, end: .drained)
    return try await outcome(powerCuts: powerCuts, lostAnswers: lostAnswers)
  }

  /// How the processes' lives end.
  private enum End {
    /// The power goes in the middle of a write, unless there is nothing left to write before that.
    case powerCut
    /// They are told to, at a random moment.
    case order
    /// When everything is in the store.
    case drained
  }

  /// One life of all processes: they begin together and end together.
  private func life(_ random: inout Seed, partitions: Int32, end: End) async throws -> Int {
    let log: EmbeddedLog
    let store: EmbeddedStore
    do {
      try disk.createDirectory("streamer")
      log = try openLog()
      store = try openStore()
    } catch {
      // The power went while they opened.
      guard disk.isCrashed else { throw error }
      return 0
    }
    let link = SimulatedLink(log, seed: random.next(), lossOneIn: end == .drained ? 0 : 2 + random.below(8))
    let streamer = try streamer(link, partitions: partitions, seed: random.next())
    let collector = try collector(end == .drained ? log : link, store)
    let isPublished = Mutex(false)
    let streaming = Task {
      try? await streamer.run()
      isPublished.withLock { $0 = true }
    }
    let collecting = Task { try? await collector.run() }
    switch end {
    case .drained:
      await streaming.value
      for description in try await log.topics() where description.name == topic {
        for partition in description.partitions {
          _ = await collector.waitUntil(
            TopicPartition(topic: topic, partition: partition.index), partition.highWatermark)
        }
      }
    case .powerCut:
      while !disk.isCrashed && !isPublished.withLock({ $0 }) {
        if random.oneIn(20) { _ = try? await store.flush() }
        try await Task.sleep(for: .microseconds(100))
      }
    case .order:
      for _ in 0..<random.below(300) {
        if random.oneIn(60) { _ = try? await store.flush() }
        await Task.yield()
      }
    }
    streaming.cancel()
    collecting.cancel()
    _ = await (streaming.value, collecting.value)
    try? await store.close()
    try? await log.close()
    return link.lostAnswers
  }

  private func openLog() throws -> EmbeddedLog {
    var configuration = EmbeddedLog.Configuration()
    configuration.segmentBytes = 8192
    configuration.retentionBytes = nil
    configuration.retentionMilliseconds = nil
    configuration.readThreads = 1
    configuration.prologue = { _ in ScrapePrologue() }
    return try EmbeddedLog(disk: disk, clock: clock, configuration: configuration)
  }

  private func openStore() throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = false
    return try EmbeddedStore(
      disk: disk, directory: PipelineSimulation.storeDirectory, clock: clock, configuration: configuration)
  }

  private static let sleeper = Sleeper { duration in
    if duration > .milliseconds(1) { try? await Task.sleep(for: .microseconds(200)) } else { await Task.yield() }
  }

  private func streamer(_ log: any RecordLog, partitions: Int32, seed: UInt64) throws -> Streamer {
    var configuration = Streamer.Configuration(topic: topic)
    configuration.flushInterval = .zero
    configuration.partitions = partitions
    configuration.batchRecordsMax = 5
    configuration.seed = seed
    return try Streamer(
      configuration, sources: [ReplayedBatches(batches)], log: log, registry: MetricsRegistry(),
      logger: PipelineSimulation.logger, outbox: Outbox(disk: disk, path: "streamer/outbox"), clock: clock,
      sleeper: PipelineSimulation.sleeper)
  }

  private func collector(_ log: any RecordLog, _ store: any Store) throws -> Collector {
    var configuration = Collector.Configuration(topic: topic)
    configuration.readBytesMax = 1024
    configuration.readWait = .milliseconds(2)
    return try Collector(
      configuration, log: log, store: store, registry: MetricsRegistry(), logger: PipelineSimulation.logger,
      clock: clock, sleeper: PipelineSimulation.sleeper)
  }

  private static let logger = Logger(label: "simulation") { _ in SwiftLogNoOpLogHandler() }

  private func outcome(powerCuts: Int, lostAnswers: Int) async throws -> Outcome {
    let log = try openLog()
    let store = try openStore()
    var outcome = Outcome(expected: [], stored: [], published: [], powerCuts: powerCuts, lostAnswers: lostAnswers)
    outcome.expected = batches.flatMap { $0.items }.flatMap { item -> [String] in
      guard case .scrape(let scrape) = item.content else { return [] }
      return scrape.set.series.indices.map {
        "\(scrape.set.series[$0]) \(scrape.timestamp.milliseconds) \(scrape.values[$0])"
      }
    }.sorted()
    // What the store's files do not cover comes from the log again.
    let collector = try collector(log, store)
    let collecting = Task { try? await collector.run() }
    for description in try await log.topics() where description.name == topic {
      for partition in description.partitions {
        let name = TopicPartition(topic: topic, partition: partition.index)
        _ = await collector.waitUntil(name, partition.highWatermark)
        outcome.published += try await scrapes(name, in: log, from: partition.logStart, to: partition.highWatermark)
      }
    }
    collecting.cancel()
    await collecting.value
    outcome.stored = try await store.select(SelectRequest([])).flatMap { column in
      zip(column.timestamps, column.values).map { "\(column.labels) \($0) \($1)" }
    }.sorted()
    outcome.published.sort()
    try await store.close()
    try await log.close()
    return outcome
  }

  private func scrapes(
    _ partition: TopicPartition, in log: any RecordLog, from start: Int64, to end: Int64
  ) async throws -> [String] {
    var names: [String] = []
    var offset = start
    while offset < end {
      let slice = try await log.read(partition, from: offset, maxBytes: 1 << 20, waiting: .zero)
      for batch in slice.batches {
        for record in try batch.records() {
          guard let value = record.value, let key = record.key,
            value.withUnsafeBytes({ ScrapeRecord.peek($0)?.kind }) == .scrape
          else { continue }
          let time = value[28..<36].reversed().reduce(Int64(0)) { $0 << 8 | Int64($1) }
          names.append("\(String(decoding: key, as: UTF8.self)) \(time)")
        }
        offset = batch.nextOffset
      }
    }
    return names
  }
}

/// A list of batches as a file: it goes on behind the batch whose position it is given.
final class ReplayedBatches: Source {
  let name = "batches"
  let isLive = false
  private let state: Mutex<(batches: [SourceBatch], next: Int)>

  init(_ batches: [SourceBatch]) { state = Mutex((batches, 0)) }

  func next() async throws(PipelineError) -> SourceBatch? {
    await Task.yield()
    if Task.isCancelled { return nil }
    return state.withLock { state in
      guard state.next < state.batches.count else { return nil }
      defer { state.next += 1 }
      return state.batches[state.next]
    }
  }

  func resume(from saved: SourcePosition) async throws(PipelineError) {
    // The number of the batch, and how many of its items were published.
    state.withLock { state in
      state.next = Int(saved.bytes[0])
      if saved.bytes[1] > 0 { state.batches[state.next].items.removeFirst(Int(saved.bytes[1])) }
    }
  }
}
