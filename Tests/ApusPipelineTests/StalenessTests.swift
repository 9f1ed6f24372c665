// Goal: what a source stops reporting ends in the store at the round in which it is missing, once, and nothing else is
// written that the source did not say. Method: rounds with known gaps through the decision alone, then a scenario
// through streamer, log, collector and store; the ends are compared with what the scenario says.
import ApusBroker
import ApusIO
import ApusModel
import ApusService
import ApusStore
import ApusTestKit
import Testing

@testable import ApusPipeline

@Suite struct StalenessTests {
  /// A round of TinyFleet's hosts, each with its three series; `absent` names positions of a host that are missing.
  private static func round(second: Int, hosts: [Int], absent: [Int: [Int]] = [:]) -> SourceBatch {
    var batch = SourceBatch(
      items: hosts.map { host in
        var scrape = TinyFleet.scrape(TinyFleet.set(host: host), second: second, value: Double(second))
        if let missing = absent[host] {
          var bitmap = Bitmap(count: 3)
          for index in missing { bitmap[index] = true }
          scrape.absent = bitmap
        }
        return TelemetryItem(key: Array("h\(host)".utf8), content: .scrape(scrape))
      }, rows: hosts.count * 3)
    batch.round = Timestamp(milliseconds: 1_000_000 + Int64(second) * 1000)
    return batch
  }

  /// The host and series of each marker in a batch, ascending.
  private static func markers(_ batch: SourceBatch) -> [String] {
    var found: [String] = []
    func add(_ labels: Labels, _ value: Double) {
      if StaleMarker.isStale(value) { found.append("\(labels["Hostname"] ?? "")/\(labels.metricName)") }
    }
    for item in batch.items {
      switch item.content {
      case .scrape(let scrape):
        for index in scrape.set.series.indices where scrape.absent?[index] != true {
          add(scrape.set.series[index], scrape.values[index])
        }
      case .samples(let list): for samples in list { add(samples.labels, samples.values[0]) }
      case .encoded: Issue.record("a source handed over a record")
      }
    }
    return found.sorted()
  }

  @Test func roundsMarkWhatIsMissing() {
    var staleness = RoundStaleness()
    func mark(_ batch: SourceBatch) -> [String] {
      var batch = batch
      let count = staleness.mark(&batch)
      let found = Self.markers(batch)
      #expect(found.count == count)
      return found
    }
    #expect(mark(Self.round(second: 0, hosts: [0, 1, 2])).isEmpty)
    #expect(mark(Self.round(second: 1, hosts: [0, 1, 2], absent: [1: [2]])) == ["h1/m2"])
    #expect(mark(Self.round(second: 2, hosts: [0, 1, 2], absent: [1: [2]])).isEmpty)
    // A target that does not answer ends whole, its absent series left out; the others may come in another order.
    #expect(mark(Self.round(second: 3, hosts: [2, 0])) == ["h1/m0", "h1/m1"])
    #expect(mark(Self.round(second: 4, hosts: [0, 2])).isEmpty)
    #expect(mark(Self.round(second: 5, hosts: [0, 1, 2])).isEmpty)
    #expect(mark(Self.round(second: 6, hosts: [])).count == 9)
    #expect(mark(Self.round(second: 7, hosts: [])).isEmpty)
  }

  @Test func aTargetWithNewSeriesMarksTheOldOnes() {
    var staleness = RoundStaleness()
    var first = Self.round(second: 0, hosts: [0])
    let before = staleness.mark(&first)
    #expect(before == 0)
    var second = Self.round(second: 1, hosts: [0])
    let scrape = TinyFleet.scrape(TinyFleet.set(host: 0, generation: 1), second: 1, value: 1)
    second.items[0].content = .scrape(scrape)
    let markers = staleness.mark(&second)
    #expect(markers == 3)
    // No set is made for markers alone.
    #expect(second.items.count == 2)
    guard case .samples(let samples) = second.items[1].content else {
      Issue.record("the markers are not in the lane of single series")
      return
    }
    #expect(samples.count == 3 && samples.allSatisfy { $0.timestamps == [1_001_000] && $0.labels["generation"] == "0" })
    #expect(second.items[1].key == second.items[0].key)
  }

  @Test func withoutRoundsNothingEnds() {
    var staleness = RoundStaleness()
    for second in 0..<4 {
      var batch = Self.round(second: second, hosts: second % 2 == 0 ? [0, 1] : [0])
      batch.round = nil
      let before = TinyFleet.lines([batch])
      let markers = staleness.mark(&batch)
      #expect(markers == 0)
      #expect(TinyFleet.lines([batch]) == before)
    }
  }

  /// Rounds of 10 s: GPU 2 of node-1 is lost from 20 s on, node-2 silent at 30 s to 60 s.
  private static let scenario = "at 20s lost node-1/2\nat 30s for 40s stop node-2"

  private static func simulation() throws -> Simulation {
    Simulation(
      try #require(FleetShape(nodes: 3, gpusPerNode: 4)), seed: 3, scenario: try Scenario(parsing: scenario),
      start: SimulatorTests.start, intervalMilliseconds: 10_000)
  }

  @Test func aScenarioEndsItsSeriesInTheStore() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try EmbeddedStore(
      disk: bench.disk, directory: "store", clock: bench.clock,
      configuration: {
        var configuration = EmbeddedStore.Configuration()
        configuration.hasThreads = false
        return configuration
      }())
    let streamer = try bench.streamer([SimulatorSource(try Self.simulation(), pace: .count(12))], log)
    try await streamer.run()
    try await bench.drain(log, store)
    func check() async throws {
      var ends: [String: Int] = [:]
      for column in try await store.select(SelectRequest([])) {
        let node = try #require(column.labels["Hostname"])
        let gpu = try #require(column.labels["gpu"])
        for (timestamp, value) in zip(column.timestamps, column.values) where StaleMarker.isStale(value) {
          ends["\(node)/\(gpu) \((timestamp - SimulatorTests.start.milliseconds) / 1000)", default: 0] += 1
        }
        if node == "node-1", gpu == "2" { #expect(column.timestamps.count == 3) }
        // Silent in four rounds; in the first of them stands the marker.
        if node == "node-2" { #expect(column.timestamps.count == 12 - 3) }
      }
      #expect(ends == ["node-1/2 20": 20, "node-2/0 30": 20, "node-2/1 30": 20, "node-2/2 30": 20, "node-2/3 30": 20])
    }
    try await check()
    try await store.flush()
    try await check()
    #expect(PipelineBench.metric("gpu_telemetry_streamer_stale_markers_total", bench.registry) == 100)
    #expect(
      PipelineBench.metric("gpu_telemetry_streamer_rows_ingested_total", bench.registry) == Double(12 * 240 - 200 - 320)
    )
    try await store.close()
    try await log.close()
  }

  @Test(arguments: [Encoding.json, .text])
  func anEncodingWithoutMarkersCarriesNone(encoding: Encoding) async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    let streamer = try bench.streamer([SimulatorSource(try Self.simulation(), pace: .count(12))], log) {
      $0.encoding = encoding
    }
    try await streamer.run()
    try await bench.drain(log, store)
    #expect(try await store.select(SelectRequest([])).allSatisfy { !$0.values.contains { $0.isNaN } })
    #expect(PipelineBench.metric("gpu_telemetry_streamer_stale_markers_total", bench.registry) == 0)
    try await log.close()
  }

  @Test func aStreamerThatBeginsAnewMarksNothing() async throws {
    let bench = try PipelineBench()
    let log = try bench.openLog()
    let store = try bench.memoryStore()
    // The second run never hears of host 1, nor does the end of the first one end it.
    for hosts in [[0, 1], [0]] {
      let first = hosts.count == 2 ? 0 : 3
      let batches = (first..<first + 3).map { Self.round(second: $0, hosts: hosts) }
      try await bench.streamer([ListSource(batches, isLive: true)], log, registry: MetricsRegistry()).run()
    }
    try await bench.drain(log, store)
    #expect(try await TinyFleet.lines(store).allSatisfy { !$0.hasSuffix(" stale") })
    #expect(try await TinyFleet.lines(store).count == 27)
    try await log.close()
  }

  /// What a pushed page makes of the source's last one: the label `n` of each marker, ascending.
  private static func push(
    _ page: String, _ sources: TextSources, source: String = "a", at instant: Int64
  ) -> [String] {
    let name = TextSources.Name(source: source, format: .text, extraLabels: [])
    let (result, markers) = Array(page.utf8).withUnsafeBytes {
      sources.parse($0, of: name, now: Timestamp(milliseconds: instant))
    }
    var found: [String] = []
    func add(_ labels: Labels, _ timestamp: Int64, _ value: Double) {
      guard StaleMarker.isStale(value) else { return }
      #expect(timestamp == instant)
      found.append(labels["n"] ?? "")
    }
    for scrape in result.scrapes {
      for index in scrape.set.series.indices where scrape.absent?[index] != true {
        add(scrape.set.series[index], scrape.timestamp.milliseconds, scrape.values[index])
      }
    }
    for samples in result.samples {
      for (timestamp, value) in zip(samples.timestamps, samples.values) { add(samples.labels, timestamp, value) }
    }
    #expect(found.count == markers)
    return found.sorted()
  }

  private static func page(_ numbers: some Sequence<Int>, host: String = "h", time: String = "") -> String {
    numbers.map { "m{Hostname=\"\(host)\",n=\"\($0)\"} 1\(time)\n" }.joined()
  }

  @Test func aNamedPusherEndsWhatItLeavesOut() {
    let sources = TextSources()
    #expect(Self.push(Self.page(0..<12), sources, at: 10).isEmpty)
    #expect(Self.push(Self.page(0..<10), sources, at: 20) == ["10", "11"])
    #expect(Self.push(Self.page(0..<10), sources, at: 30).isEmpty)
    // Few lines are in no scrape; another source, another first series, a line that is refused, a time of its own.
    #expect(Self.push(Self.page(0..<3), sources, at: 40) == ["3", "4", "5", "6", "7", "8", "9"])
    #expect(Self.push(Self.page(0..<1), sources, source: "b", at: 50).isEmpty)
    #expect(Self.push(Self.page(5..<7), sources, at: 50).isEmpty)
    #expect(Self.push(Self.page(0..<1) + "broken{\n", sources, at: 50).isEmpty)
    #expect(Self.push(Self.page(0..<3) + Self.page(20..<30, time: " 5"), sources, at: 60).isEmpty)
    #expect(Self.push(Self.page(0..<2), sources, at: 70) == ["2"])
  }

  @Test func aPusherWithoutANameEndsNothing() {
    let sources = TextSources()
    for (count, instant) in [(12, Int64(10)), (3, 20), (0, 30), (12, 40)] {
      #expect(Self.push(Self.page(0..<count), sources, source: "", at: instant).isEmpty)
    }
  }
}
