// Goal: what a live source says while the log is away is published later, in order and once, over restarts; a spool
// that is full drops its oldest with a count.
// Method: a link that is down, a spool on the simulated disk, and the store's content afterwards.
import ApusBroker
import ApusIO
import ApusModel
import ApusService
import ApusTestKit
import Testing

@testable import ApusPipeline

@Suite struct SpoolTests {
  static func live(_ batches: [SourceBatch]) -> ListSource {
    ListSource(batches.map { SourceBatch(items: $0.items, rows: $0.rows) }, isLive: true)
  }

  static func spoolLog(_ bench: PipelineBench, bytes: Int64? = nil) throws -> EmbeddedLog {
    var configuration = EmbeddedLog.Configuration()
    configuration.directory = "spool"
    configuration.retentionMilliseconds = nil
    configuration.retentionBytes = bytes
    configuration.segmentBytes = 8192
    configuration.retentionCheckIntervalMilliseconds = 1
    configuration.prologue = { _ in ScrapePrologue() }
    return try EmbeddedLog(disk: bench.disk, clock: bench.clock, configuration: configuration)
  }

  static func stream(
    _ bench: PipelineBench, _ source: ListSource, _ link: any RecordLog, _ spoolLog: EmbeddedLog, _ outbox: Outbox,
    _ registry: MetricsRegistry
  ) throws -> Streamer {
    let clock = bench.clock
    return try bench.streamer(
      [source], link, outbox: outbox, registry: registry,
      {
        $0.bufferSamplesMax = 60
        $0.batchBytesMax = 4096
        $0.batchRecordsMax = 8
        $0.gracePeriod = .milliseconds(1)
      },
      spool: { position async throws(PipelineError) in
        try await Spool(log: spoolLog, position: position, batchBytesMax: 4096, clock: clock)
      })
  }

  @Test func anAbsenceIsMadeUpForInOrder() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let link = LossyLink(log, seed: 1, lossOneIn: 1_000_000)
    link.isDown = true
    let batches = TinyFleet.batches(hosts: 3, seconds: 200)
    let spoolLog = try Self.spoolLog(bench)
    let outbox = Outbox(disk: bench.disk, path: "outbox")
    let streamer = try Self.stream(bench, Self.live(batches), link, spoolLog, outbox, bench.registry)
    let running = Task { try await streamer.run() }
    try await PipelineBench.until {
      PipelineBench.metric("gpu_telemetry_streamer_rows_ingested_total", bench.registry) == 1800
    }
    #expect(streamer.pendingItems <= 25)
    link.isDown = false
    try await running.value
    try await bench.drain(log, store)
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    #expect(
      PipelineBench.metric("gpu_telemetry_streamer_dropped_samples_total{reason=\"buffer_full\"}", bench.registry) == 0)
    var last: [[UInt8]: [UInt8]] = [:]
    for record in try await PipelineBench.records(of: bench.topic, in: log) {
      guard let key = record.key, let value = record.value, value[0] == 2 else { continue }
      let time = Array(value[28..<36].reversed())
      if let before = last[key] { #expect(before.lexicographicallyPrecedes(time)) }
      last[key] = time
    }
    try await spoolLog.close()
    try await log.close()
  }

  @Test func aSpoolOutlivesTheProcess() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let batches = TinyFleet.batches(hosts: 2, seconds: 120)
    let outbox = Outbox(disk: bench.disk, path: "outbox")
    var seed = Seed(9)
    // Each life has a part of the samples, and ends while the log is away or half drained.
    for part in 0..<6 {
      let link = LossyLink(log, seed: seed.next(), lossOneIn: 4)
      link.isDown = part % 2 == 0
      let spoolLog = try Self.spoolLog(bench)
      let registry = MetricsRegistry()
      let slice = Array(batches[part * 20..<(part + 1) * 20])
      let streamer = try Self.stream(bench, Self.live(slice), link, spoolLog, outbox, registry)
      let running = Task { try await streamer.run() }
      try await PipelineBench.until {
        PipelineBench.metric("gpu_telemetry_streamer_rows_ingested_total", registry) == 120
      }
      streamer.stop()
      try await running.value
      try await spoolLog.close()
    }
    let spoolLog = try Self.spoolLog(bench)
    let rest = try Self.stream(bench, Self.live([]), log, spoolLog, outbox, MetricsRegistry())
    try await rest.run()
    try await bench.drain(log, store)
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    #expect(PipelineBench.metric("gpu_telemetry_collector_samples_flushed_total", bench.registry) == 720)
    try await spoolLog.close()
    try await log.close()
  }

  @Test func aFullSpoolDropsItsOldestWithACount() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let link = LossyLink(log, seed: 1, lossOneIn: 1_000_000)
    link.isDown = true
    let batches = TinyFleet.batches(hosts: 2, seconds: 1500)
    let spoolLog = try Self.spoolLog(bench, bytes: 32 << 10)
    let outbox = Outbox(disk: bench.disk, path: "outbox")
    let streamer = try Self.stream(bench, Self.live(batches), link, spoolLog, outbox, bench.registry)
    let running = Task { try await streamer.run() }
    try await PipelineBench.until {
      PipelineBench.metric("gpu_telemetry_streamer_rows_ingested_total", bench.registry) == 9000
    }
    let spooled = TopicPartition(topic: try #require(TopicName(Spool.topicName)), partition: 0)
    while try await spoolLog.offset(of: .earliest, in: spooled) == 0 { bench.clock.advance(milliseconds: 1000) }
    link.isDown = false
    try await running.value
    try await bench.drain(log, store)
    let found = Set(try await TinyFleet.lines(store))
    #expect(found.isSubset(of: TinyFleet.lines(batches)))
    #expect(found.isSuperset(of: TinyFleet.lines(Array(batches.suffix(50)))))
    let lost = try #require(
      PipelineBench.metric("gpu_telemetry_streamer_dropped_records_total{reason=\"spool_full\"}", bench.registry))
    #expect(lost > 0 && found.count < 9000)
    try await spoolLog.close()
    try await log.close()
  }

  @Test func aSpoolIsForLiveSources() throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let outbox = Outbox(disk: bench.disk, path: "outbox")
    let clock = bench.clock
    #expect(throws: PipelineError.self) {
      try bench.streamer(
        [ListSource([])], log, outbox: outbox, { _ in },
        spool: { position async throws(PipelineError) in
          try await Spool(log: log, position: position, batchBytesMax: 4096, clock: clock)
        })
    }
  }
}
