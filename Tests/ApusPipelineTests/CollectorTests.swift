// Goal: a collector takes in every record once, keeps what it cannot read, starts where it is told, and does not grow
// when the store stands still or the log has lost something.
// Method: records put into a real log by hand, a collector and a store in one process; faults enter through the link.
import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Synchronization
import Testing

@testable import ApusPipeline

@Suite struct CollectorTests {
  static func put(
    _ records: [Record], in log: any RecordLog, _ bench: PipelineBench
  ) async throws -> AppendReceipt {
    var builder = RecordBatchBuilder()
    for record in records { builder.append(record) }
    let partition = TopicPartition(topic: bench.topic, partition: 0)
    return try await log.append([AppendRequest(partition: partition, batch: try builder.finish())])[0].get()
  }

  static func frame(_ value: [UInt8]) -> Record {
    Record(
      timestamp: 5, key: [1], value: value,
      headers: [RecordHeader(name: ContentType.headerName, value: ContentType.scrape.headerValue)])
  }

  static func text(_ value: String, type: String? = nil) -> Record {
    Record(
      timestamp: 7_000, value: Array(value.utf8),
      headers: type.map { [RecordHeader(name: ContentType.headerName, value: Array($0.utf8))] } ?? [])
  }

  static func samples(_ store: any Store) async throws -> [String] {
    try await store.select(SelectRequest([])).flatMap { column in
      zip(column.timestamps, column.values).map { "\(column.labels.metricName) \($0) \($1)" }
    }.sorted()
  }

  @Test func everyContentTypeIsRead() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let set = TinyFleet.set(host: 1, series: 1)
    _ = try await Self.put(
      [
        Self.text(#"{"timestamp":"1970-01-01T00:00:01Z","metric_name":"a","gpu_id":"0","value":1}"#),
        Self.text(#"[{"metric_name":"b","gpu_id":"0","value":2}]"#, type: "application/json"),
        Self.text("c{gpu=\"0\"} 3 1000\nd 4\n", type: "text/plain; version=0.0.4"),
        Self.frame(ScrapeRecord.encode(set: set)),
        Self.frame(ScrapeRecord.encode(TinyFleet.scrape(set, second: 0, value: 5), setOffset: 3)),
        Self.frame(
          ScrapeRecord.encode(samples: [
            SeriesSamples(labels: Labels([("__name__", "e")]), timestamps: [1, 2], values: [6, 7])
          ])),
      ], in: log, bench)
    try await bench.drain(log, store)
    #expect(
      try await Self.samples(store) == [
        "a 1000 1.0", "b 7000 2.0", "c 1000 3.0", "d 7000 4.0", "e 1 6.0", "e 2 7.0", "m0 1000000 5.0",
      ])
    try await log.close()
  }

  @Test func remoteWriteIsReadWithWhatItTellsOfMetrics() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    var encoder = RemoteWriteEncoder()
    let a = SeriesSamples(labels: Labels([("__name__", "a"), ("x", "1")]), timestamps: [1, 2], values: [3, 4])
    let nameless = SeriesSamples(labels: Labels([("x", "1")]), timestamps: [1], values: [1])
    let descriptor = MetricDescriptor(name: "a", kind: .counter, help: "A.", unit: "")
    func record(_ value: [UInt8]) -> Record {
      Record(
        timestamp: 5, key: [1], value: value,
        headers: [RecordHeader(name: ContentType.headerName, value: ContentType.remoteWrite.headerValue)])
    }
    _ = try await Self.put(
      [
        record(encoder.encode([a])), record(encoder.encode([], descriptors: [descriptor])),
        record(encoder.encode([a, nameless])), record([0xff]),
      ], in: log, bench)
    try await bench.drain(log, store)
    #expect(try await Self.samples(store) == ["a 1 3.0", "a 2 4.0"])
    #expect(try await store.descriptors() == [descriptor])
    let topic = try #require(TopicName(bench.topic.text + ".dead-letters"))
    let letters = try await PipelineBench.records(of: topic, in: log)
    let reasons = letters.map { letter in
      letter.headers.first { $0.name == "apus-reason" }?.value.map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
    #expect(reasons.count == 2)
    #expect(reasons.first?.contains("series 2: the metric has no name") == true, "\(reasons)")
    #expect(reasons.last?.contains("protocol buffer") == true, "\(reasons)")
    try await log.close()
  }

  @Test func whatCannotBeReadGoesToDeadLetters() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let good = #"{"timestamp":1,"metric_name":"a","gpu_id":"0","value":1}"#
    _ = try await Self.put(
      [
        Self.text("not json"), Self.text(good), Self.text("x", type: "image/png"), Self.frame([9, 9, 9, 9]),
        Self.text("[\(good), {\"gpu_id\":\"1\"}]"),
        Record(timestamp: 1, value: nil), Self.text("{{{ 1\n", type: "text/plain"),
      ], in: log, bench)
    try await bench.drain(log, store)
    #expect(try await Self.samples(store) == ["a 1000 1.0"])
    let topic = try #require(TopicName(bench.topic.text + ".dead-letters"))
    let letters = try await PipelineBench.records(of: topic, in: log)
    func header(_ record: Record, _ name: String) -> String? {
      record.headers.first { $0.name == name }?.value.map { String(decoding: $0, as: UTF8.self) }
    }
    #expect(letters.map { header($0, "apus-offset") } == ["0", "2", "3", "4", "5", "6"])
    #expect(letters.allSatisfy { header($0, "apus-partition") == "gpu-telemetry/0" })
    #expect(letters.allSatisfy { header($0, "apus-reason")?.isEmpty == false })
    #expect(letters[0].value == Array("not json".utf8))
    #expect(header(letters[1], "content-type") == "image/png")
    #expect(PipelineBench.metric("gpu_telemetry_collector_messages_dropped_invalid_total", bench.registry) == 6)
    try await log.close()
  }

  @Test func aStartInTheMiddleFetchesTheSetByItsOffset() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let batches = TinyFleet.batches(hosts: 2, seconds: 20)
    let streamer = try bench.streamer([ListSource(batches)], log) { $0.batchRecordsMax = 2 }
    try await streamer.run()
    // Two sets, then two scrapes a second.
    let store = try bench.memoryStore()
    try await bench.drain(log, store) { $0.start = .offset(2 + 2 * 13) }
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(Array(batches[13...])))
    #expect(PipelineBench.metric("gpu_telemetry_collector_sets_fetched_total", bench.registry) == 2)
    try await log.close()
  }

  /// A store that was filled from another log: waiting would pass over what this one has until it had grown as far.
  @Test func aLogThatEndsBeforeThePositionIsRefused() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let good = #"{"timestamp":1,"metric_name":"a","gpu_id":"0","value":1}"#
    _ = try await Self.put([Self.text(good), Self.text(good)], in: log, bench)
    let partition = LogPartition(topic: bench.topic.text, partition: 0)
    _ = try await store.append(StoreBatch(partition: partition, items: [], nextOffset: 3))
    let collector = try bench.collector(log, store)
    do {
      try await collector.run()
      Issue.record("it ran")
    } catch {
      guard case .positionAhead("gpu-telemetry/0", 3, 2) = error else { throw error }
    }
    // Exactly at the end is where every collector is that has caught up.
    _ = try await Self.put([Self.text(good)], in: log, bench)
    try await bench.drain(log, store)
    try await log.close()
  }

  @Test func aStartAtTheEndSeesWhatComesLater() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let early = TinyFleet.batches(hosts: 1, seconds: 5)
    try await bench.streamer([ListSource(early)], log).run()
    let store = try bench.memoryStore()
    let collector = try bench.collector(log, store) { $0.start = .latest }
    let running = Task { try await collector.run() }
    let partition = TopicPartition(topic: bench.topic, partition: 0)
    let end = try await log.offset(of: .latest, in: partition)
    #expect(await collector.waitUntil(partition, end))
    let late = (5..<9).map { second in
      SourceBatch(
        items: [
          TelemetryItem(
            key: [1], content: .scrape(TinyFleet.scrape(TinyFleet.set(host: 0), second: second, value: Double(second))))
        ], rows: 1)
    }
    try await bench.streamer([ListSource(late)], log).run()
    #expect(await collector.waitUntil(partition, try await log.offset(of: .latest, in: partition)))
    running.cancel()
    try await running.value
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(late))
    try await log.close()
  }

  @Test func theStoresPositionWinsOverTheStart() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let batches = TinyFleet.batches(hosts: 2, seconds: 10)
    try await bench.streamer([ListSource(batches)], log).run()
    try await bench.drain(log, store)
    try await bench.drain(log, store) { $0.start = .earliest }
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    #expect(PipelineBench.metric("gpu_telemetry_collector_records_skipped_total", bench.registry) == 0)
    try await log.close()
  }

  @Test func aScrapeWaitsForACopyOfItsSet() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let set = TinyFleet.set(host: 1)
    let other = TinyFleet.set(host: 2)
    let scrapes = (0..<3).map { TinyFleet.scrape(set, second: $0, value: Double($0)) }
    let between = TinyFleet.scrape(other, second: 1, value: 50)
    _ = try await Self.put(
      [
        Self.frame(ScrapeRecord.encode(set: other)),
        Self.frame(ScrapeRecord.encode(scrapes[0], setOffset: -1)),
        Self.frame(ScrapeRecord.encode(between, setOffset: 0)),
        Self.frame(ScrapeRecord.encode(scrapes[1], setOffset: -1)),
      ], in: log, bench)
    let collector = try bench.collector(log, store)
    let running = Task { try await collector.run() }
    let partition = TopicPartition(topic: bench.topic, partition: 0)
    #expect(await collector.waitUntil(partition, 1))
    #expect(collector.positions[partition] == 1)
    _ = try await Self.put(
      [Self.frame(ScrapeRecord.encode(set: set)), Self.frame(ScrapeRecord.encode(scrapes[2], setOffset: 4))],
      in: log, bench)
    #expect(await collector.waitUntil(partition, 6))
    running.cancel()
    try await running.value
    let expected = (scrapes + [between]).map { TelemetryItem(key: [], content: .scrape($0)) }
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines([SourceBatch(items: expected, rows: 0)]))
    #expect(PipelineBench.metric("gpu_telemetry_collector_records_parked_total", bench.registry) == 2)
    #expect(PipelineBench.metric("gpu_telemetry_collector_parked_records", bench.registry) == 0)
    try await log.close()
  }

  @Test func parkedRecordsAreBounded() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let set = TinyFleet.set(host: 1)
    let known = TinyFleet.set(host: 2)
    _ = try await Self.put([Self.frame(ScrapeRecord.encode(set: known))], in: log, bench)
    for second in 0..<200 {
      _ = try await Self.put(
        [
          Self.frame(ScrapeRecord.encode(TinyFleet.scrape(set, second: second, value: 1), setOffset: -1)),
          Self.frame(ScrapeRecord.encode(TinyFleet.scrape(known, second: second, value: 2), setOffset: 0)),
        ], in: log, bench)
    }
    let collector = try bench.collector(log, store) { $0.heldRecordsMax = 20 }
    let running = Task { try await collector.run() }
    // The oldest are given up one by one, so what follows them flows on, all but the last few.
    #expect(await collector.waitUntil(TopicPartition(topic: bench.topic, partition: 0), 1 + 400 - 22))
    running.cancel()
    try await running.value
    #expect(
      try #require(PipelineBench.metric("gpu_telemetry_collector_messages_dropped_invalid_total", bench.registry))
        >= 189)
    let topic = try #require(TopicName(bench.topic.text + ".dead-letters"))
    #expect(try await PipelineBench.records(of: topic, in: log).count >= 189)
    #expect(
      try await Self.samples(store).allSatisfy { $0.hasSuffix("2.0") || $0.hasSuffix("2.1") || $0.hasSuffix("2.2") })
    try await log.close()
  }

  @Test func aStoreThatFailsIsTriedAgain() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = FlakyStore(try bench.memoryStore(), seed: 3, failsOneIn: 2)
    let batches = TinyFleet.batches(hosts: 2, seconds: 60)
    try await bench.streamer([ListSource(batches)], log) { $0.batchRecordsMax = 3 }.run()
    try await bench.drain(log, store) { $0.readBytesMax = 1024 }
    #expect(store.failures > 5)
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    try await log.close()
  }

  @Test func aStoppedStoreStopsTheReading() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let link = CountingLog(log)
    let store = FlakyStore(try bench.memoryStore(), seed: 3, failsOneIn: 1)
    let batches = TinyFleet.batches(hosts: 2, seconds: 300)
    try await bench.streamer([ListSource(batches)], log) { $0.batchRecordsMax = 3 }.run()
    let collector = try bench.collector(link, store) { $0.readBytesMax = 1024 }
    let running = Task { try await collector.run() }
    try await PipelineBench.until { store.failures >= 200 }
    // One read is with the store and one waits behind it, whatever the number of attempts.
    #expect(link.reads <= 2)
    store.heal()
    let partition = TopicPartition(topic: bench.topic, partition: 0)
    #expect(await collector.waitUntil(partition, try await log.offset(of: .latest, in: partition)))
    running.cancel()
    try await running.value
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    try await log.close()
  }

  @Test func lostAnswersOfTheLogLoseNothing() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let batches = TinyFleet.batches(hosts: 3, seconds: 50)
    try await bench.streamer([ListSource(batches)], log) {
      $0.partitions = 3
      $0.batchRecordsMax = 3
    }.run()
    try await bench.drain(LossyLink(log, seed: 8, lossOneIn: 3), store) { $0.readBytesMax = 1024 }
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    try await log.close()
  }

  @Test func whatTheLogHasLostIsCountedAndPassedOver() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog {
      $0.segmentBytes = 4096
      $0.retentionBytes = 8192
      $0.retentionCheckIntervalMilliseconds = 1
      $0.prologue = { _ in ScrapePrologue() }
    }
    let batches = TinyFleet.batches(hosts: 1, seconds: 400)
    try await bench.streamer([ListSource(batches)], log) { $0.batchRecordsMax = 5 }.run()
    let partition = TopicPartition(topic: bench.topic, partition: 0)
    var start: Int64 = 0
    while start == 0 {
      bench.clock.advance(milliseconds: 1000)
      start = try await log.offset(of: .earliest, in: partition)
    }
    let store = try bench.memoryStore()
    try await bench.drain(log, store) { $0.start = .offset(0) }
    let found = try await TinyFleet.lines(store)
    #expect(!found.isEmpty && Set(found).isSubset(of: TinyFleet.lines(batches)))
    // The newest are there: the log drops its oldest segments, and the prologue brings the set along.
    #expect(Set(found).isSuperset(of: TinyFleet.lines(Array(batches.suffix(20)))))
    let lost = try #require(PipelineBench.metric("gpu_telemetry_collector_records_lost_total", bench.registry))
    #expect(lost > 0)
    try await log.close()
  }

  @Test func coverageIsPassedOn() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    try await bench.streamer([ListSource(TinyFleet.batches(hosts: 1, seconds: 5))], log).run()
    let told = Mutex<[Int64]>([])
    let collector = try bench.collector(log, store, onCoverage: { _, offset in told.withLock { $0.append(offset) } })
    let running = Task { try await collector.run() }
    try await PipelineBench.until { told.withLock { $0.last } == 6 }
    running.cancel()
    try await running.value
    #expect(told.withLock { $0 == $0.sorted() })
    try await log.close()
  }

  @Test func newPartitionsAndALateTopicAreFound() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let collector = try bench.collector(log, store)
    let running = Task { try await collector.run() }
    for _ in 0..<50 { await Task.yield() }
    let batches = TinyFleet.batches(hosts: 6, seconds: 10)
    try await bench.streamer([ListSource(batches)], log) { $0.partitions = 3 }.run()
    for partition in try await #require(log.topics().first).partitions {
      let name = TopicPartition(topic: bench.topic, partition: partition.index)
      #expect(await collector.waitUntil(name, partition.highWatermark))
    }
    running.cancel()
    try await running.value
    #expect(try await TinyFleet.lines(store) == TinyFleet.lines(batches))
    try await log.close()
  }
}
