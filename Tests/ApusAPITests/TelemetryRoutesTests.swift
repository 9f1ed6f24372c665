// Goal: rows are samples, none is missing, twice or invented, in the order and range that was asked for, over any number
// of pages and while data arrives. Method: what was appended is compared with all pages joined, forwards and backwards,
// with bounds so low that the walk through time must shrink and widen its windows.

import ApusAPI
import ApusModel
import ApusStore
import ApusTestKit
import HTTPTypes
import Testing

@Suite struct TelemetryRoutesTests {
  private let epoch = APIFixture.epoch
  private let path = "/api/v1/gpus/GPU-0001-0000/telemetry"

  /// Node 1's GPU 0 every 10 s: utilisation and temperature both the number of the scrape.
  private func filled(_ scrapes: Int, node: Int = 1) async throws -> APIFixture {
    let fixture = try APIFixture()
    let series = APIFixture.series(node: node, gpus: 1)
    for index in 0..<scrapes {
      try await fixture.append(series, [Double(index), Double(index)], at: epoch + Int64(index) * 10_000)
    }
    return fixture
  }

  @Test func aRowIsATelemetryObject() async throws {
    let fixture = try await filled(1)
    try await fixture.run { client async throws in
      let row = try #require(try await client.get("\(path)?metric=DCGM_FI_DEV_GPU_TEMP").rows().first)
      #expect(
        row.members.map(\.name) == [
          "timestamp", "metric_name", "gpu_id", "device", "uuid", "modelName", "Hostname", "container", "pod",
          "namespace", "value", "labels_raw",
        ])
      #expect(row["timestamp"] == "2026-01-01T00:00:00Z")
      #expect(row["metric_name"] == "DCGM_FI_DEV_GPU_TEMP")
      #expect(row["gpu_id"] == "0")
      #expect(row["uuid"] == "GPU-0001-0000")
      #expect(row["Hostname"] == "node-1")
      #expect(row["container"] == "")
      #expect(row["value"] == 0)
      #expect(row["labels_raw"]?.string?.contains("UUID=\"GPU-0001-0000\"") == true)
    }
  }

  @Test func whatJSONHasNoNumberForIsAString() async throws {
    let fixture = try APIFixture()
    let series = [Labels([("__name__", "m"), ("UUID", "GPU-0001-0000"), ("gpu", "0")])]
    for (index, value) in [Double.nan, .infinity, -.infinity, -0.0, Double.leastNonzeroMagnitude, 1e300].enumerated() {
      try await fixture.append(series, [value], at: epoch + Int64(index))
    }
    // The mark of a series' end is no sample.
    try await fixture.append(series, [StaleMarker.value], at: epoch + 100)
    try await fixture.run { client async throws in
      let rows = try await client.get(path).rows()
      #expect(rows.map { $0["value"] }.prefix(3) == ["NaN", "+Inf", "-Inf"])
      #expect(rows.dropFirst(3).compactMap { $0["value"]?.double } == [-0.0, Double.leastNonzeroMagnitude, 1e300])
      let lines = try await client.get("\(path)?format=csv").text.split(separator: "\n")
      #expect(lines.count == 7)
      #expect(lines[2].contains(",+Inf,"))
    }
  }

  @Test func anIntervalShowsItsLastSampleThoughTheSeriesEndsInIt() async throws {
    let fixture = try APIFixture()
    let series = [Labels([("__name__", "m"), ("UUID", "GPU-0001-0000"), ("gpu", "0")])]
    for (second, value) in [(0, 1), (10, 2), (20, StaleMarker.value), (30, StaleMarker.value), (60, 3)] {
      try await fixture.append(series, [value], at: epoch + Int64(second) * 1000)
    }
    try await fixture.run { client async throws in
      for query in ["step=60s", "step=60s&start_time=\(epoch / 1000)"] {
        let rows = try await client.get("\(path)?\(query)").rows()
        #expect(rows.compactMap { $0["value"]?.double } == [2, 3])
        #expect(rows.first?["timestamp"] == "2026-01-01T00:00:10Z")
      }
    }
  }

  @Test func withoutAStartTheNewestRowsComeFirstAndOlderPagesFollow() async throws {
    let fixture = try await filled(60)
    try await fixture.run { client async throws in
      let whole = try await client.get("\(path)?limit=10000").rows()
      #expect(whole.count == 120)
      #expect(try await client.get(path).rows() == Array(whole.suffix(100)))
      for limit in [1, 7, 60, 119, 120] {
        let pages = try await client.pages("\(path)?limit=\(limit)")
        #expect(pages.count == (120 + limit - 1) / limit)
        #expect(try pages.reversed().flatMap { try $0.rows() } == whole)
      }
    }
  }

  @Test func withAStartPagesGoForward() async throws {
    let fixture = try await filled(60)
    try await fixture.run { client async throws in
      let whole = try await client.get("\(path)?limit=10000").rows()
      for limit in [1, 7, 119, 500] {
        let pages = try await client.pages("\(path)?limit=\(limit)&start_time=0")
        #expect(try pages.flatMap { try $0.rows() } == whole)
      }
    }
  }

  @Test func rangesIncludeBothEnds() async throws {
    let fixture = try await filled(10)
    try await fixture.run { client async throws in
      func values(_ query: String) async throws -> [Double] {
        try await client.get("\(path)?metric=DCGM_FI_DEV_GPU_TEMP&\(query)").rows().compactMap { $0["value"]?.double }
      }
      let seconds = epoch / 1000
      #expect(try await values("start_time=2026-01-01T00:00:20Z&end_time=2026-01-01T00:00:40Z") == [2, 3, 4])
      #expect(try await values("start_time=\(seconds + 20)&end_time=\(seconds + 40)") == [2, 3, 4])
      #expect(try await values("start_time=\(seconds + 20).001&end_time=\(seconds + 39).999") == [3])
      #expect(try await values("start_time=2026-01-01T02:00:20%2B02:00&end_time=2026-01-01T02:00:20+02:00") == [2])
      #expect(try await values("end_time=2026-01-01T00:00:10Z") == [0, 1])
      #expect(try await values("start_time=2026-01-01T00:01:20Z") == [8, 9])
      #expect(try await values("start_time=2026-01-01T00:00:20Z&window=10s") == [2, 3])
      #expect(try await values("end_time=2026-01-01T00:00:20Z&window=10s") == [1, 2])
      #expect(try await values("start_time=2030-01-01T00:00:00Z").isEmpty)
      #expect(try await values("end_time=1969-01-01T00:00:00Z").isEmpty)
      // Up to now, which is the time of the first scrape.
      #expect(try await values("window=10s") == [0])
      #expect(try await values("start_time=-62167219200&end_time=253402300799").count == 10)
    }
  }

  @Test func aWindowStaysWhereItWasWhileItsPagesAreRead() async throws {
    let fixture = try await filled(30)
    fixture.clock.set(epoch + 290_000)
    try await fixture.server().application.test(.live) { client async throws in
      let first = try await client.get("\(path)?window=100s&limit=4&metric=DCGM_FI_DEV_GPU_TEMP")
      fixture.clock.advance(milliseconds: 100_000)
      let rest = try await client.pages(try #require(first.next))
      let rows = try rest.reversed().flatMap { try $0.rows() } + first.rows()
      #expect(rows.compactMap { $0["value"]?.double } == (19...29).map(Double.init))
    }
  }

  @Test func aStepKeepsTheLastSampleOfEachInterval() async throws {
    let fixture = try await filled(60)
    try await fixture.run { client async throws in
      func values(_ query: String) async throws -> [Double] {
        let pages = try await client.pages("\(path)?metric=DCGM_FI_DEV_GPU_TEMP&step=1m&\(query)")
        let ordered = query.contains("start_time") ? pages : pages.reversed()
        return try ordered.flatMap { try $0.rows() }.compactMap { $0["value"]?.double }
      }
      let expected = stride(from: 5.0, through: 59, by: 6).map { $0 }
      for limit in [1, 3, 10, 100] {
        #expect(try await values("limit=\(limit)") == expected)
        #expect(try await values("limit=\(limit)&start_time=0") == expected)
      }
      // An interval that the range cuts has its last sample within the range.
      #expect(try await values("end_time=2026-01-01T00:01:20Z") == [5, 8])
    }
  }

  @Test func aCoarseStepIsAnsweredFromRollups() async throws {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = false
    configuration.rollupSamplesMin = 1
    configuration.retentionMilliseconds = 36 * 3_600_000
    let clock = ManualClock(now: epoch)
    let store = try EmbeddedStore(
      disk: SimulatedDisk(seed: 1), directory: "store", clock: clock, configuration: configuration)
    let fixture = APIFixture(store: store, clock: clock)
    let series = APIFixture.series(node: 1, gpus: 1)
    // 31 hours at one sample a minute.
    for minute in 0..<1860 {
      let values = [Double](repeating: Double(minute), count: series.count)
      try await fixture.append(series, values, at: epoch + Int64(minute) * 60_000 + 7)
    }
    clock.set(epoch + 31 * 3_600_000)
    try await store.flush()
    try await store.compact()
    func check() async throws {
      try await fixture.run { client async throws in
        for (step, length, resolution) in [("10m", 10, "5m, raw"), ("2h", 120, "1h, raw"), ("7m", 7, nil)]
          as [(String, Int, String?)]
        {
          let isGone = clock.now > epoch + 36 * 3_600_000
          if isGone && resolution == nil { continue }
          let page = try await client.get("\(path)?metric=DCGM_FI_DEV_GPU_TEMP&limit=1000&start_time=0&step=\(step)")
          let values = try page.rows().compactMap { $0["value"]?.double }
          let last = stride(from: length - 1, to: 1859, by: length).map { Double($0) } + [1859]
          #expect(values == last, "a step of \(step)")
          #expect(page.headers[.init("Apus-Resolution")!] == resolution, "a step of \(step)")
        }
      }
    }
    try await check()
    // The first twelve hours are left in the roll-ups only.
    clock.set(epoch + 48 * 3_600_000)
    try await store.compact()
    try await check()
    try await store.close()
  }

  @Test func pagesStayWholeWhileSamplesArrive() async throws {
    let fixture = try await filled(50)
    let series = APIFixture.series(node: 1, gpus: 1)
    try await fixture.server().application.test(.live) { client async throws in
      for query in ["limit=9", "limit=9&start_time=0"] {
        let whole = Set(try await client.get("\(path)?limit=10000").rows().compactMap { $0["timestamp"]?.string })
        var address: String? = "\(path)?\(query)"
        var seen: [JSONTree] = []
        var next: Int64 = 600
        while let current = address, seen.count < 1000 {
          let page = try await client.get(current)
          seen += try page.rows()
          address = page.next
          // Newer samples, which forward pages end with and backward ones never show.
          if next < 606 {
            try await fixture.append(series, [1, 1], at: epoch + next * 10_000)
            next += 1
          }
        }
        let keys = seen.map { "\($0["timestamp"]?.string ?? "") \($0["metric_name"]?.string ?? "")" }
        #expect(Set(keys).count == keys.count, "\(query) shows a row twice")
        #expect(whole.isSubset(of: Set(seen.compactMap { $0["timestamp"]?.string })), "\(query) misses a row")
      }
    }
  }

  @Test func lowBoundsMakeMoreLooksButTheSameRows() async throws {
    var fixture = try await filled(0)
    // Dense, a gap of a year, then sparse, from before 1970 on.
    let series = APIFixture.series(node: 1, gpus: 1)
    var random = Seed(42)
    var instants: Set<Int64> = []
    for _ in 0..<300 { instants.insert(-1_000_000 + Int64(random.below(100_000))) }
    for _ in 0..<100 { instants.insert(31_536_000_000 + Int64(random.below(1_000_000_000))) }
    for instant in instants.sorted() { try await fixture.append(series, [1, 2], at: instant) }
    fixture.configuration.samplesPerSelectMax = 16
    let count = instants.count
    try await fixture.server().application.test(.router) { client async throws in
      for query in ["", "&start_time=-2000"] {
        let pages = try await client.pages("\(path)?limit=33\(query)")
        let rows = try (query.isEmpty ? pages.reversed() : pages).flatMap { try $0.rows() }
        #expect(rows.count == count * 2)
        let times = rows.compactMap { $0["timestamp"]?.string }
        #expect(
          times == times.sorted { (TimeText.parse($0)?.milliseconds ?? 0) < (TimeText.parse($1)?.milliseconds ?? 0) })
        #expect(Set(times).count == count)
      }
    }
  }

  @Test func moreThanARequestMayReadIsRefusedWithTheLimit() async throws {
    var fixture = try await filled(200)
    fixture.configuration.samplesPerSelectMax = 50
    fixture.configuration.samplesPerRequestMax = 100
    try await fixture.server().application.test(.router) { client async throws in
      let reply = try await client.get("\(path)?limit=10000")
      #expect(reply.status == 400)
      #expect(reply.text.contains("limit is 100"))
    }
  }

  @Test func aBareIndexAnswersForEveryHost() async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 3, gpus: 2, at: epoch)
    try await fixture.run { client async throws in
      let rows = try await client.get("/api/v1/gpus/1/telemetry").rows()
      #expect(rows.count == 6)
      #expect(Set(rows.compactMap { $0["Hostname"]?.string }) == ["node-1", "node-2", "node-3"])
      #expect(rows.allSatisfy { $0["gpu_id"] == "1" })
      #expect(try await client.get("/api/v1/gpus/node-2:1/telemetry").rows().count == 2)
    }
  }

  @Test func theFormIsAskedByFormatOrByAccept() async throws {
    let fixture = try await filled(2)
    try await fixture.run { client async throws in
      let header =
        "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw"
      for (query, accept) in [
        ("?format=csv", nil), ("", "text/csv"), ("", "text/csv, application/json;q=0.5"), ("", "text/*"),
      ] {
        let reply = try await client.get("\(path)\(query)", headers: accept.map { [.accept: $0] } ?? [:])
        #expect(reply.status == 200)
        #expect(reply.headers[.contentType] == "text/csv; charset=utf-8")
        #expect(reply.text.hasPrefix(header))
        #expect(reply.text.split(separator: "\n").count == 5)
      }
      for (query, accept) in [("", "*/*"), ("?format=json", "text/csv"), ("", "text/html, */*;q=0.1")] {
        let reply = try await client.get("\(path)\(query)", headers: [.accept: accept])
        #expect(reply.headers[.contentType] == "application/json")
      }
      let refused = try await client.get(path, headers: [.accept: "text/html"])
      #expect(refused.status == 406)
    }
  }
}
