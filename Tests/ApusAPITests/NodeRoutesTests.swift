// Goal: nodes are found under whichever label names them, and their status says how fresh their data is. Method: small
// fleets in memory and a clock that is told.

import ApusAPI
import ApusModel
import HTTPTypes
import Testing

@Suite struct NodeRoutesTests {
  private let epoch = APIFixture.epoch

  @Test func aRowSaysHowANodeIs() async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 2, gpus: 4, at: epoch)
    fixture.clock.set(epoch + 5000)
    try await fixture.run { client async throws in
      let rows = try await client.get("/api/v1/nodes").rows()
      #expect(rows.count == 2)
      #expect(
        rows[1].members == [
          .init("node_id", "node-2"), .init("hostname", "node-2"), .init("status", "healthy"),
          .init("datacenter", "dc-b"),
          .init("last_seen", "2026-01-01T00:00:00Z"), .init("active_alerts", 0), .init("gpu_count", 4),
        ])
      let one = try await client.get("/api/v1/nodes/node-2")
      #expect(try one.json() == rows[1])
      let none = try await client.get("/api/v1/nodes/node-3")
      #expect(none.status == 404)
      #expect(try none.json()["parameter"] == "id")
    }
  }

  /// One GPU silent since so many seconds, the other three and the node heard at the epoch; the clock so much later.
  @Test(arguments: [
    (silent: [0.0, 0, 0, 0], now: 0.0, status: "healthy"), ([60, 0, 0, 0], 0, "healthy"),
    ([60.001, 0, 0, 0], 0, "degraded"), ([3600, 3600, 3600, 0], 30, "degraded"), ([70, 80, 90, 100], 0, "critical"),
    // Silent for more than a day: taken away.
    ([86_400, 0, 0, 0], 0, "degraded"), ([86_400.001, 0, 0, 0], 0, "healthy"), ([0, 0, 0, 0], 60, "healthy"),
    ([0, 0, 0, 0], 60.001, "offline"), ([70, 0, 0, 0], 61, "offline"), ([0, 0, 0, 0], -3600, "healthy"),
  ])
  func theStatusFollowsTheData(_ silent: [Double], _ now: Double, _ status: String) async throws {
    let fixture = try APIFixture()
    let node = [Labels([("__name__", "node_load1"), ("Hostname", "n")])]
    try await fixture.append(node, [1], at: epoch)
    for (gpu, seconds) in silent.enumerated() {
      let series = [Labels([("__name__", "m"), ("Hostname", "n"), ("UUID", "GPU-\(gpu)"), ("gpu", "\(gpu)")])]
      try await fixture.append(series, [1], at: epoch - Int64(seconds * 1000))
    }
    fixture.clock.set(epoch + Int64(now * 1000))
    try await fixture.server().application.test(.router) { client async throws in
      let row = try await client.get("/api/v1/nodes/n").json()
      #expect(row["status"] == .string(status))
      #expect(row["gpu_count"] == 4)
    }
  }

  /// Goal: nobody waits for the silence of what is known to have gone.
  @Test func anEndCountsAtOnce() async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 2, gpus: 2, at: epoch)
    try await fixture.append(APIFixture.series(node: 2, gpus: 2), [50, 50, 50, 50], at: epoch + 10_000)
    // GPU 0 of node 1 is lost; one of the metrics of its GPU 1 is not reported any more.
    let marker = StaleMarker.value
    try await fixture.append(APIFixture.series(node: 1, gpus: 2), [marker, marker, marker, 60], at: epoch + 10_000)
    fixture.clock.set(epoch + 10_000)
    try await fixture.run { client async throws in
      let nodes = try await client.get("/api/v1/nodes").rows()
      #expect(nodes.compactMap { $0["status"]?.string } == ["degraded", "healthy"])
      #expect(nodes[0]["gpu_count"] == 2 && nodes[0]["last_seen"] == "2026-01-01T00:00:10Z")
      let lost = try await client.get("/api/v1/gpus/\(APIFixture.uuid(1, 0))").json()
      #expect(lost["last_seen"] == "2026-01-01T00:00:00Z" && lost["metrics"]?.members.isEmpty == true)
      let other = try await client.get("/api/v1/gpus/\(APIFixture.uuid(1, 1))").json()
      #expect(other["metrics"]?.members.map(\.name) == ["temperature_celsius"])
      #expect(try await client.get("/api/v1/metrics/latest").rows().count == 5)
      // The samples before the end are still there.
      #expect(try await client.get("/api/v1/nodes/node-1/metrics").rows().count == 5)
    }
    // The whole node does not answer.
    try await fixture.append(APIFixture.series(node: 2, gpus: 2), [marker, marker, marker, marker], at: epoch + 20_000)
    try await fixture.run { client async throws in
      let row = try await client.get("/api/v1/nodes/node-2").json()
      #expect(row["status"] == "offline" && row["last_seen"] == "2026-01-01T00:00:10Z" && row["gpu_count"] == 2)
    }
    // A marker that is repeated hides nothing, and the node comes back.
    for second in 3...9 {
      try await fixture.append(
        APIFixture.series(node: 2, gpus: 2), [marker, marker, marker, marker], at: epoch + Int64(second) * 10_000)
    }
    try await fixture.run { client async throws in
      #expect(try await client.get("/api/v1/nodes/node-2").json()["last_seen"] == "2026-01-01T00:00:10Z")
      #expect(try await client.get("/api/v1/gpus?node=node-2").rows().count == 2)
    }
    try await fixture.append(APIFixture.series(node: 2, gpus: 2), [1, 2, 3, 4], at: epoch + 100_000)
    fixture.clock.set(epoch + 100_000)
    try await fixture.run { client async throws in
      #expect(try await client.get("/api/v1/nodes/node-2").json()["status"] == "healthy")
    }
  }

  /// Goal: an exporter that has gone does not take with it what another one reports of the same node.
  @Test func anotherExporterKeepsANodeAlive() async throws {
    let fixture = try APIFixture()
    let slow = [Labels([("__name__", "node_load1"), ("Hostname", "n")])]
    let quick = [Labels([("__name__", "m"), ("Hostname", "n"), ("UUID", "GPU-0")])]
    try await fixture.append(slow, [1], at: epoch - 50_000)
    try await fixture.append(quick, [1], at: epoch - 10_000)
    try await fixture.append(quick, [StaleMarker.value], at: epoch)
    try await fixture.run { client async throws in
      let row = try await client.get("/api/v1/nodes/n").json()
      #expect(row["status"] == "critical" && row["last_seen"] == "2025-12-31T23:59:50Z")
    }
    fixture.clock.set(epoch + 10_001)
    try await fixture.run { client async throws in
      #expect(try await client.get("/api/v1/nodes/n").json()["status"] == "offline")
    }
  }

  @Test func theFirstLabelThereIsNamesTheNode() async throws {
    let fixture = try APIFixture()
    let labels: [[(String, String)]] = [
      [("Hostname", "a"), ("instance", "x:1")], [("hostname", "b"), ("node", "x")],
      [("node", "c"), ("instance", "x:1")],
      [("instance", "d:9400")], [("instance", "[::1]:9400")], [("instance", "d")], [("job", "nameless")],
    ]
    for (index, pairs) in labels.enumerated() {
      try await fixture.append(
        [Labels([("__name__", "up")] + pairs)], [Double(index)], at: epoch + Int64(index) * 1000)
    }
    try await fixture.run { client async throws in
      let rows = try await client.get("/api/v1/nodes").rows()
      #expect(rows.compactMap { $0["node_id"]?.string } == ["::1", "a", "b", "c", "d"])
      // Two values of `instance` are one host.
      #expect(rows[4]["last_seen"] == "2026-01-01T00:00:05Z")
      let samples = try await client.get("/api/v1/nodes/d/metrics").rows()
      #expect(samples.compactMap { $0["value"]?.double } == [3, 5])
      #expect(try await client.get("/api/v1/nodes/%3A%3A1").status == 200)
      #expect(try await client.get("/api/v1/nodes/x").status == 404)
      #expect(try await client.get("/api/v1/nodes/x/metrics").status == 404)
    }
  }

  @Test func pagesJoinToTheWholeList() async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 130, gpus: 1, at: epoch)
    try await fixture.run { client async throws in
      let whole = try await client.get("/api/v1/nodes?limit=10000").rows()
      #expect(whole.count == 130)
      let pages = try await client.pages("/api/v1/nodes?limit=33")
      #expect(pages.count == 4)
      #expect(try pages.flatMap { try $0.rows() } == whole)
      #expect(try await client.get("/api/v1/nodes").rows().count == 100)
    }
  }

  @Test func theMetricsOfANodeAreItsNewestSamples() async throws {
    let fixture = try APIFixture()
    for scrape in 0..<20 { try await fixture.appendFleet(nodes: 2, gpus: 2, at: epoch + Int64(scrape) * 1000) }
    try await fixture.run { client async throws in
      let newest = try await client.get("/api/v1/nodes/node-1/metrics?limit=4").rows()
      #expect(newest.count == 4)
      #expect(newest.allSatisfy { $0["timestamp"] == "2026-01-01T00:00:19Z" && $0["Hostname"] == "node-1" })
      let pages = try await client.pages("/api/v1/nodes/node-1/metrics?limit=9&metric=DCGM_FI_DEV_GPU_TEMP")
      #expect(try pages.flatMap { try $0.rows() }.count == 40)
    }
  }

  @Test func theLatestMetricsHaveEachSeriesOnce() async throws {
    let fixture = try APIFixture()
    for scrape in 0..<3 {
      try await fixture.appendFleet(nodes: 7, gpus: 3, at: epoch + Int64(scrape) * 1000, value: Double(scrape))
    }
    try await fixture.append([Labels([("__name__", "up"), ("job", "x")])], [1], at: epoch)
    try await fixture.run { client async throws in
      let whole = try await client.get("/api/v1/metrics/latest?limit=10000").rows()
      #expect(whole.count == 43)
      #expect(whole.filter { $0["value"] == 2 && $0["timestamp"] == "2026-01-01T00:00:02Z" }.count == 42)
      for limit in [1, 5, 42, 43] {
        let pages = try await client.pages("/api/v1/metrics/latest?limit=\(limit)")
        let rows = try pages.flatMap { try $0.rows() }
        #expect(rows.count == 43)
        #expect(Set(rows) == Set(whole))
      }
      let filtered = try await client.get(
        "/api/v1/metrics/latest?metric=DCGM_FI_DEV_GPU_TEMP&uuid=GPU-0002-0001&uuid=GPU-0003-0001")
      #expect(try filtered.rows().count == 2)
      let csv = try await client.get("/api/v1/metrics/latest?format=csv")
      #expect(csv.text.split(separator: "\n").count == 44)
    }
  }
}
