// Goal: what a source says is in the topic and in the store exactly once, in every encoding, over lost answers, restarts
// and a log that is away.
// Method: a real streamer, log and collector in one process on a simulated disk; a link between streamer and log that
// loses requests and answers by a plan; the store's content is compared sample by sample.
import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusService
import ApusStore
import ApusTestKit
import Testing

@testable import ApusPipeline

@Suite struct StreamerTests {
  @Test(arguments: Encoding.allCases, [Int32(1), 3])
  func everySampleArrivesOnce(encoding: Encoding, partitions: Int32) async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let batches = TinyFleet.batches(hosts: 5, seconds: 40)
    let streamer = try bench.streamer([ListSource(batches)], log) {
      $0.encoding = encoding
      $0.partitions = partitions
    }
    try await streamer.run()
    try await bench.drain(log, store)
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    #expect(PipelineBench.metric("gpu_telemetry_streamer_items_published_total", bench.registry) == 200)
    #expect(PipelineBench.metric("gpu_telemetry_streamer_rows_ingested_total", bench.registry) == 600)
    #expect(PipelineBench.metric("gpu_telemetry_collector_messages_dropped_invalid_total", bench.registry) == 0)
    try await log.close()
  }

  @Test func simulatedFleetArrivesWhole() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let shape = try #require(FleetShape(nodes: 3, gpusPerNode: 4))
    let simulation = Simulation(
      shape, seed: 3, scenario: try Scenario(parsing: "at 20s lost node-1/2\nat 30s for 40s stop node-2"),
      start: SimulatorTests.start, intervalMilliseconds: 10_000)
    var copy = simulation
    let expected = (0..<30).flatMap { _ in copy.next()?.scrapes.map { $0.scrape } ?? [] }
    let streamer = try bench.streamer([SimulatorSource(simulation, pace: .count(30))], log)
    try await streamer.run()
    try await bench.drain(log, store)
    let lines = TinyFleet.lines([
      SourceBatch(items: expected.map { TelemetryItem(key: [], content: .scrape($0)) }, rows: 0)
    ])
    // The ends of what the scenario takes away come on top; StalenessTests looks at them.
    #expect(try await TinyFleet.lines(store).filter { !$0.hasSuffix(" stale") } == lines)
    try await log.close()
  }

  @Test func lostAnswersDoubleNothing() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let batches = TinyFleet.batches(hosts: 2, seconds: 60)
    let link = LossyLink(log, seed: 5, lossOneIn: 3)
    let streamer = try bench.streamer([ListSource(batches)], link) { $0.batchRecordsMax = 3 }
    try await streamer.run()
    #expect(link.lostAnswers > 5 && link.lostRequests > 5)
    try await bench.drain(log, store)
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    // The topic itself has each scrape once, not only the store.
    let scrapes = try await PipelineBench.records(of: bench.topic, in: log).filter { record in
      record.value?.withUnsafeBytes { ScrapeRecord.peek($0)?.kind } == .scrape
    }
    #expect(scrapes.count == 120)
    #expect(Set(scrapes.map { $0.value }).count == 120)
    try await log.close()
  }

  @Test func aHostStaysInOrder() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let link = LossyLink(log, seed: 11, lossOneIn: 4)
    let batches = TinyFleet.batches(hosts: 7, seconds: 30)
    let streamer = try bench.streamer([ListSource(batches)], link) {
      $0.partitions = 4
      $0.batchRecordsMax = 5
    }
    try await streamer.run()
    var last: [[UInt8]: Int64] = [:]
    let sets = Dictionary(uniqueKeysWithValues: (0..<7).map { TinyFleet.set(host: $0) }.map { ($0.id, $0) })
    for record in try await PipelineBench.records(of: bench.topic, in: log) {
      let key = try #require(record.key)
      let decoded = try #require(record.value).withUnsafeBytes { bytes throws(FormatError) in
        try ScrapeRecord.decode(bytes) { sets[$0] }
      }
      guard case .scrape(let scrape) = decoded else { continue }
      #expect(scrape.timestamp.milliseconds == (last[key] ?? 999_000) + 1000)
      last[key] = scrape.timestamp.milliseconds
    }
    #expect(last.count == 7)
    try await log.close()
  }

  @Test func scrapesNameTheOffsetOfTheirSet() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let streamer = try bench.streamer([ListSource(TinyFleet.batches(hosts: 3, seconds: 20))], log)
    try await streamer.run()
    let records = try await PipelineBench.records(of: bench.topic, in: log)
    var scrapes = 0
    for (offset, record) in records.enumerated() {
      let header = try #require(record.value?.withUnsafeBytes { ScrapeRecord.peek($0) })
      guard header.kind == .scrape, let setOffset = header.setOffset else { continue }
      scrapes += 1
      #expect(setOffset >= 0 && setOffset < Int64(offset))
      let set = try #require(records[Int(setOffset)].value?.withUnsafeBytes { ScrapeRecord.peek($0) })
      #expect(set.kind == .set && set.setID == header.setID)
    }
    #expect(scrapes == 60)
    try await log.close()
  }

  @Test func aSourceThatIsRefusedRegistersAnew() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let link = LossyLink(log, seed: 1, lossOneIn: 1_000_000)
    link.failNext(.unknownProducer(7), after: 3)
    let batches = TinyFleet.batches(hosts: 1, seconds: 30)
    let streamer = try bench.streamer([ListSource(batches)], link) { $0.batchRecordsMax = 4 }
    try await streamer.run()
    try await bench.drain(log, store)
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    #expect(PipelineBench.metric("gpu_telemetry_streamer_producer_registrations_total", bench.registry) == 2)
    try await log.close()
  }

  @Test func aFencedProducerStops() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let link = LossyLink(log, seed: 1, lossOneIn: 1_000_000)
    link.failNext(.fencedProducer(producer: 1, epoch: 0, current: 1), after: 2)
    let streamer = try bench.streamer([ListSource(TinyFleet.batches(hosts: 1, seconds: 30))], link) {
      $0.batchRecordsMax = 4
    }
    await #expect(throws: PipelineError.self) { try await streamer.run() }
    try await log.close()
  }

  @Test func theLogAwayDoesNotGrowALiveStreamer() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let link = LossyLink(log, seed: 1, lossOneIn: 1_000_000)
    link.isDown = true
    let batches = TinyFleet.batches(hosts: 10, seconds: 2000)
    let source = ListSource(batches.map { SourceBatch(items: $0.items, rows: $0.rows) }, isLive: true)
    let streamer = try bench.streamer([source], link) {
      $0.bufferSamplesMax = 3000
      $0.batchBytesMax = 4096
      $0.gracePeriod = .milliseconds(1)
    }
    let running = Task { try await streamer.run() }
    try await PipelineBench.until {
      #expect(streamer.pendingItems <= 1010)
      return PipelineBench.metric("gpu_telemetry_streamer_rows_ingested_total", bench.registry) == 60_000
    }
    streamer.stop()
    try await running.value
    let full = try #require(
      PipelineBench.metric("gpu_telemetry_streamer_dropped_samples_total{reason=\"buffer_full\"}", bench.registry))
    let late = try #require(
      PipelineBench.metric("gpu_telemetry_streamer_dropped_samples_total{reason=\"shutdown\"}", bench.registry))
    #expect(full + late == 60_000)
    #expect(full >= 57_000 - 30 * 20)
    try await log.close()
  }

  @Test func theLogAwayHoldsAFileBack() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let link = LossyLink(log, seed: 1, lossOneIn: 1_000_000)
    link.isDown = true
    let batches = TinyFleet.batches(hosts: 10, seconds: 500)
    let streamer = try bench.streamer([ListSource(batches)], link) { $0.bufferSamplesMax = 300 }
    let running = Task { try await streamer.run() }
    try await PipelineBench.until { streamer.pendingItems >= 100 }
    for _ in 0..<1000 { await Task.yield() }
    #expect(streamer.pendingItems <= 110)
    link.isDown = false
    try await running.value
    try await bench.drain(log, store)
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    #expect(try #require(PipelineBench.metric("gpu_telemetry_streamer_backpressure_total", bench.registry)) > 0)
    try await log.close()
  }

  @Test func aHostWhoseSeriesNeverRepeatGoesSeriesBySeries() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let batches = (0..<200).map { second in
      let set = TinyFleet.set(host: 0, generation: second)
      return SourceBatch(
        items: [
          TelemetryItem(
            key: [1], content: .scrape(TinyFleet.scrape(set, second: second, value: Double(second))))
        ], rows: 3)
    }
    let streamer = try bench.streamer([ListSource(batches)], log)
    try await streamer.run()
    let kinds = try await PipelineBench.records(of: bench.topic, in: log).compactMap { record in
      record.value?.withUnsafeBytes { ScrapeRecord.peek($0)?.kind }
    }
    #expect(kinds.count { $0 == .set } == SetChangeLimiter.changesPerMinuteMax)
    #expect(kinds.count { $0 == .samples } == 200 - SetChangeLimiter.changesPerMinuteMax)
    try await bench.drain(log, store)
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    try await log.close()
  }
}
