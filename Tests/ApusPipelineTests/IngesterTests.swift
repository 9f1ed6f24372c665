// Goal: whoever waits for an ingester is answered once, with what became of his own records: durable and visible, refused
// by the log, refused by the store, or not visible in time; and many share one append.
// Method: a real log and collector with a store that is told to refuse or to stand still; sources of text under bounds.
import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusService
import ApusStore
import ApusTestKit
import Synchronization
import Testing

@testable import ApusPipeline

@Suite struct IngesterTests {
  /// Nothing ever becomes visible.
  private struct Blind: Visibility {
    func waitUntil(_ partition: TopicPartition, _ offset: Int64) async -> Bool {
      while !Task.isCancelled { try? await Task.sleep(for: .milliseconds(1)) }
      return false
    }
    func refusals(_ partition: TopicPartition, _ offsets: Range<Int64>) -> [AppendOutcome.Refusal] { [] }
    var trouble: String? { "the head is full" }
  }

  private static func item(_ host: String, _ count: Int, at time: Int64) -> TelemetryItem {
    let set = SeriesSet(series: (0..<count).map { Labels([("__name__", "m\($0)"), ("Hostname", host)]) })
    let values = (0..<count).map { Double($0) }
    return TelemetryItem(
      key: Array(host.utf8),
      content: .scrape(Scrape(set: set, timestamp: Timestamp(milliseconds: time), values: values)))
  }

  private static func ingester(
    _ bench: PipelineBench, _ log: any RecordLog, _ visibility: (any Visibility)?,
    _ change: (inout Ingester.Configuration) -> Void = { _ in }
  ) -> Ingester {
    var configuration = Ingester.Configuration(topic: bench.topic)
    change(&configuration)
    return Ingester(
      configuration, log: log, visibility: visibility, registry: bench.registry, logger: PipelineBench.logger,
      clock: bench.clock)
  }

  @Test func manyAtOnceShareAppendsAndAllAreThere() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let collector = try bench.collector(log, store) { $0.refreshInterval = .milliseconds(10) }
    let collecting = Task { await Self.run(collector) }
    let ingester = Self.ingester(bench, log, collector)
    try await withThrowingTaskGroup(of: Int.self) { group in
      for host in 0..<30 {
        group.addTask { try await ingester.take([Self.item("h\(host)", 10, at: 1)]).samplesDurable }
      }
      for try await samples in group { #expect(samples == 10) }
    }
    // Each answer came behind its samples.
    #expect(try await store.select(SelectRequest([])).count == 300)
    collecting.cancel()
    await collecting.value
    try await log.close()
  }

  @Test func whatTheStoreRefusesIsToldToTheOneWhoSentIt() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    var limits = MemoryStore.Configuration()
    limits.seriesLimit = 5
    let store = try MemoryStore(clock: bench.clock, configuration: limits)
    let collector = try bench.collector(log, store) { $0.refreshInterval = .milliseconds(10) }
    let collecting = Task { await Self.run(collector) }
    let ingester = Self.ingester(bench, log, collector)
    #expect(try await ingester.take([Self.item("a", 4, at: 1)]).samplesOverSeriesLimit == 0)
    async let good = ingester.take([Self.item("a", 4, at: 2)])
    async let bad = ingester.take([Self.item("b", 3, at: 2)])
    #expect(try await good.samplesOverSeriesLimit == 0)
    #expect(try await bad.samplesOverSeriesLimit == 2)
    collecting.cancel()
    await collecting.value
    try await log.close()
  }

  @Test func aStoreThatStandsStillIsSaid() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let ingester = Self.ingester(bench, log, Blind()) { $0.visibleTimeout = .milliseconds(20) }
    do {
      _ = try await ingester.take([Self.item("a", 4, at: 1)])
      Issue.record("an answer without anything being visible")
    } catch {
      guard case .notVisible(_, let trouble) = error else { throw error }
      #expect(trouble == "the head is full")
      #expect(error.description.contains("durable"))
    }
    // It is in the log all the same: the set and the scrape.
    #expect(try await log.topics().first { $0.name == bench.topic }?.partitions.first?.highWatermark == 2)
    try await log.close()
  }

  @Test func aLogThatIsClosedIsSaidAndItemsThatNoBatchHoldsAreCounted() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let ingester = Self.ingester(bench, log, nil) { $0.batchBytesMax = 4096 }
    let large = TelemetryItem.EncodedValue(
      bytes: [UInt8](repeating: 0, count: 5000), type: .remoteWrite, sampleCount: 9)
    let receipt = try await ingester.take([
      Self.item("a", 4, at: 1), TelemetryItem(key: [], content: .encoded(large)), Self.item("a", 4, at: 2),
    ])
    #expect(receipt.samplesDurable == 8 && receipt.samplesTooLarge == 9)
    try await log.close()
    do {
      _ = try await ingester.take([Self.item("a", 4, at: 3)])
      Issue.record("an answer from a log that is closed")
    } catch {
      guard case .log(.shuttingDown) = error else { throw error }
    }
  }

  @Test func theLaneIsCutIntoRecordsThatFit() throws {
    let series = (0..<50).map { number in
      SeriesSamples(
        labels: Labels([("__name__", "m\(number)")]), timestamps: (0..<40).map { Int64($0) },
        values: [Double](repeating: 1, count: 40))
    }
    let items = LaneRecords.items(series, key: [7], bytesMax: 2000)
    var decoder = RemoteWriteDecoder()
    var samples = 0
    for item in items {
      guard case .encoded(let value) = item.content else { throw PipelineError.stopped }
      #expect(value.bytes.count <= 2000)
      let batch = try value.bytes.withUnsafeBytes { try decoder.decode($0, version: .v1) }
      #expect(batch.sampleCount == value.sampleCount)
      samples += batch.sampleCount
    }
    #expect(samples == 2000 && items.count > 10)
  }

  @Test func sourcesAreKnownByTheirFirstSeriesAndForgottenAtTheBounds() {
    var bounds = TextSources.Bounds()
    bounds.sources = 10
    let sources = TextSources(bounds: bounds)
    let name = TextSources.Name(source: "", format: .text, extraLabels: [])
    func page(_ host: Int) -> [UInt8] {
      Array("# HELP m text\nm{Hostname=\"h\(host)\"} 1 5\nn{Hostname=\"h\(host)\"} 2 5\n".utf8)
    }
    func matched(_ host: Int) -> Int {
      page(host).withUnsafeBytes { sources.parse($0, of: name, now: Timestamp(milliseconds: 0)).result.matchedCount }
    }
    #expect(matched(1) == 0 && matched(2) == 0 && matched(1) == 2 && matched(2) == 2)
    for host in 3..<40 { #expect(matched(host) == 0) }
    #expect(sources.level.sources <= 10 && sources.level.bytes > 0)
    #expect(matched(39) == 2)
    #expect(matched(1) == 0)
  }

  @Test func theLagOfAStoreElsewhereIsMeasured() throws {
    let bench = try PipelineBench()
    let latency = bench.registry.histogram("latency", help: "")
    let lag = VisibleLag(latency: latency, registry: bench.registry, clock: bench.clock)
    let partition = TopicPartition(topic: bench.topic, partition: 0)
    let name = LogPartition(topic: bench.topic.text, partition: 0)
    lag.note(durable: [partition: 10], at: bench.clock.monotonicNanoseconds)
    lag.note(durable: [partition: 20], at: bench.clock.monotonicNanoseconds)
    lag.note(visible: [name: StorePosition(appended: 10, durable: 0)])
    #expect(latency.count == 1)
    lag.note(visible: [name: StorePosition(appended: 20, durable: 0)])
    #expect(latency.count == 2)
  }

  private static func run(_ collector: Collector) async {
    do throws(PipelineError) { try await collector.run() } catch { Issue.record("the collector ended: \(error)") }
  }
}
