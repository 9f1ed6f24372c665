import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusService
import ApusStore
import ApusTestKit
import Logging
import Synchronization
import Testing

@testable import ApusPipeline

/// A log, a store and what lies between them, in one process on a simulated disk.
final class PipelineBench: Sendable {
  static let topicName = "gpu-telemetry"

  let disk: SimulatedDisk
  let clock = ManualClock()
  let topic: TopicName
  let registry = MetricsRegistry()

  init(seed: UInt64 = 1) throws {
    disk = SimulatedDisk(seed: seed)
    topic = try #require(TopicName(PipelineBench.topicName))
  }

  /// Waits a moment of real time whatever it is asked for, so that back-offs and intervals cost nothing.
  static let sleeper = Sleeper { duration in
    if duration > .milliseconds(1) { try? await Task.sleep(for: .microseconds(200)) } else { await Task.yield() }
  }

  static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

  func openLog(_ change: (inout EmbeddedLog.Configuration) -> Void = { _ in }) throws -> EmbeddedLog {
    var configuration = EmbeddedLog.Configuration()
    configuration.retentionMilliseconds = nil
    configuration.retentionBytes = nil
    change(&configuration)
    return try EmbeddedLog(disk: disk, clock: clock, configuration: configuration)
  }

  func memoryStore() throws -> MemoryStore { try MemoryStore(clock: clock) }

  func streamer(
    _ sources: [any Source], _ log: any RecordLog, outbox: Outbox? = nil, registry: MetricsRegistry? = nil,
    sleeper: Sleeper = sleeper, _ change: (inout Streamer.Configuration) -> Void = { _ in },
    spool: (@Sendable (SourcePosition?) async throws(PipelineError) -> Spool)? = nil
  ) throws -> Streamer {
    var configuration = Streamer.Configuration(topic: topic)
    configuration.flushInterval = .zero
    change(&configuration)
    return try Streamer(
      configuration, sources: sources, log: log, registry: registry ?? self.registry, logger: PipelineBench.logger,
      outbox: outbox, spool: spool, clock: clock, sleeper: sleeper)
  }

  func collector(
    _ log: any RecordLog, _ store: any Store, registry: MetricsRegistry? = nil,
    _ change: (inout Collector.Configuration) -> Void = { _ in },
    onCoverage: @escaping @Sendable (TopicPartition, Int64) async -> Void = { _, _ in }
  ) throws -> Collector {
    var configuration = Collector.Configuration(topic: topic)
    configuration.readWait = .milliseconds(5)
    configuration.coverageInterval = .zero
    change(&configuration)
    return try Collector(
      configuration, log: log, store: store, registry: registry ?? self.registry, logger: PipelineBench.logger,
      clock: clock, sleeper: PipelineBench.sleeper, onCoverage: onCoverage)
  }

  /// Returns when the condition holds. It is asked every millisecond, so that those it waits for get the processor.
  static func until(_ condition: () async throws -> Bool) async throws {
    while try await !condition() { try await Task.sleep(for: .milliseconds(1)) }
  }

  /// Runs a collector until it has everything that is in the log now, then stops it.
  func drain(
    _ log: any RecordLog, _ store: any Store, registry: MetricsRegistry? = nil,
    _ change: (inout Collector.Configuration) -> Void = { _ in }
  ) async throws {
    let collector = try collector(log, store, registry: registry, change)
    let running = Task { try await collector.run() }
    for description in try await log.topics() where description.name == topic {
      for partition in description.partitions {
        let name = TopicPartition(topic: topic, partition: partition.index)
        #expect(await collector.waitUntil(name, partition.highWatermark))
      }
    }
    running.cancel()
    try await running.value
  }

  /// All records of a topic, in order of partition and offset.
  static func records(of topic: TopicName, in log: any RecordLog) async throws -> [Record] {
    var records: [Record] = []
    for description in try await log.topics() where description.name == topic {
      for partition in description.partitions {
        let name = TopicPartition(topic: topic, partition: partition.index)
        var offset = partition.logStart
        while offset < partition.highWatermark {
          let slice = try await log.read(name, from: offset, maxBytes: 1 << 20, waiting: .zero)
          for batch in slice.batches {
            records += try batch.records()
            offset = batch.nextOffset
          }
        }
      }
    }
    return records
  }

  /// The value of a series of `/metrics`, as in `name{label="x"}`.
  static func metric(_ name: String, _ registry: MetricsRegistry) -> Double? {
    let page = String(decoding: registry.render(), as: UTF8.self)
    for line in page.split(separator: "\n") where line.hasPrefix(name + " ") {
      return Double(line.dropFirst(name.count + 1))
    }
    return nil
  }
}

/// A fixed list of batches as a source.
final class ListSource: Source {
  let name: String
  let isLive: Bool
  private let state: Mutex<(batches: [SourceBatch], next: Int)>

  init(_ batches: [SourceBatch], name: String = "list", isLive: Bool = false) {
    self.name = name
    self.isLive = isLive
    state = Mutex((batches, 0))
  }

  func next() async throws(PipelineError) -> SourceBatch? {
    if Task.isCancelled { return nil }
    return state.withLock { state in
      guard state.next < state.batches.count else { return nil }
      defer { state.next += 1 }
      return state.batches[state.next]
    }
  }

  func resume(from position: SourcePosition) async throws(PipelineError) {
    // The number of the batch, and how many of its items were published.
    state.withLock { state in
      state.next = Int(position.bytes[0]) | Int(position.bytes[1]) << 8
      if position.bytes.count > 2 { state.batches[state.next].items.removeFirst(Int(position.bytes[2])) }
    }
  }
}

/// Small scrapes of made-up hosts, so that every sample can be checked one by one.
enum TinyFleet {
  static func set(host: Int, series: Int = 3, generation: Int = 0) -> SeriesSet {
    SeriesSet(
      series: (0..<series).map {
        Labels([("__name__", "m\($0)"), ("Hostname", "h\(host)"), ("gpu", "0"), ("generation", "\(generation)")])
      })
  }

  static func scrape(_ set: SeriesSet, second: Int, value: Double) -> Scrape {
    Scrape(
      set: set, timestamp: Timestamp(milliseconds: 1_000_000 + Int64(second) * 1000),
      values: set.series.indices.map { value + Double($0) / 10 })
  }

  /// One batch a second with a scrape of each host; values are all different.
  static func batches(hosts: Int, seconds: Int, series: Int = 3) -> [SourceBatch] {
    let sets = (0..<hosts).map { set(host: $0, series: series) }
    return (0..<seconds).map { second in
      let items = sets.indices.map { host in
        TelemetryItem(
          key: Array("h\(host)".utf8),
          content: .scrape(scrape(sets[host], second: second, value: Double(second * hosts + host))),
          position: SourcePosition(bytes: [UInt8(second & 0xff), UInt8(second >> 8), UInt8(host + 1)]))
      }
      let next = second + 1
      return SourceBatch(
        items: items, rows: hosts * series,
        position: SourcePosition(bytes: [UInt8(next & 0xff), UInt8(next >> 8)]))
    }
  }

  /// Every sample as text, ascending: what the store must hold when it has these batches exactly once.
  static func lines(_ batches: [SourceBatch]) -> [String] {
    var lines: [String] = []
    for batch in batches {
      for item in batch.items {
        switch item.content {
        case .scrape(let scrape):
          for index in scrape.set.series.indices where scrape.absent?[index] != true {
            lines.append("\(scrape.set.series[index]) \(scrape.timestamp.milliseconds) \(scrape.values[index])")
          }
        case .samples(let series):
          for samples in series {
            for (time, value) in zip(samples.timestamps, samples.values) {
              lines.append("\(samples.labels) \(time) \(value)")
            }
          }
        case .encoded: preconditionFailure("no source makes records that are written already")
        }
      }
    }
    return lines.sorted()
  }

  static func lines(_ store: any Store) async throws -> [String] {
    try await store.select(SelectRequest([])).flatMap { column in
      zip(column.timestamps, column.values).map {
        "\(column.labels) \($0) \(StaleMarker.isStale($1) ? "stale" : "\($1)")"
      }
    }.sorted()
  }
}
