// Goal: GPUs are listed, filtered, paged and found by each of their names, and what cannot be answered is refused with
// the parameter's name. Method: a small fleet in memory, asked in process and over a socket from the same body.

import ApusAPI
import ApusModel
import HTTPTypes
import Testing

@Suite struct GPURoutesTests {
  private let epoch = APIFixture.epoch

  @Test func aRowSaysWhichGPUItIs() async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 1, gpus: 1, at: epoch - 10_000, value: 41)
    try await fixture.appendFleet(nodes: 1, gpus: 1, at: epoch, value: 42.5)
    try await fixture.run { client async throws in
      let reply = try await client.get("/api/v1/gpus")
      #expect(reply.status == 200)
      #expect(reply.headers[.contentType] == "application/json")
      let row = try #require(try reply.rows().first)
      #expect(row["uuid"] == "GPU-0001-0000")
      #expect(row["gpu_index"] == 0)
      #expect(row["device"] == "nvidia0")
      #expect(row["model"] == "NVIDIA H100 80GB HBM3")
      #expect(row["node_id"] == "node-1")
      #expect(row["hostname"] == "node-1")
      #expect(row["datacenter"] == "dc-a")
      #expect(row["pci_bus_id"] == "00000000:00:00.0")
      #expect(row["first_seen"] == "2025-12-31T23:59:50Z")
      #expect(row["last_seen"] == "2026-01-01T00:00:00Z")
      #expect(
        row["metrics"]
          == .object([.init("utilization_percent", .number(42.5)), .init("temperature_celsius", .number(42.5))]))
    }
  }

  @Test func anEmptyStoreHasAnEmptyList() async throws {
    try await APIFixture().run { client async throws in
      for path in ["gpus", "nodes", "metrics/latest"] {
        let reply = try await client.get("/api/v1/\(path)")
        #expect(reply.text == "[]")
      }
    }
  }

  @Test(arguments: [
    ("node=node-2", 4), ("node=node-2&node=node-3", 8), ("index=1", 4), ("index=1&index=3", 8),
    ("node=node-1&index=0", 1),
    ("uuid=GPU-0003-0002", 1), ("datacenter=dc-a", 8), ("datacenter=dc-a&datacenter=dc-b", 16),
    ("model=NVIDIA%20H100%2080GB+HBM3", 16), ("model=H100", 0), ("node=node-9", 0), ("index=99", 0),
    ("node=", 0),
  ])
  func filtersMustAllBeMet(_ query: String, _ count: Int) async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 4, gpus: 4, at: epoch)
    try await fixture.run { client async throws in
      let reply = try await client.get("/api/v1/gpus?\(query)")
      if query == "node=" {
        #expect(reply.status == 400)
      } else {
        #expect(reply.status == 200, "\(reply.text)")
        #expect(try reply.rows().count == count)
      }
    }
  }

  @Test func pagesJoinToTheWholeList() async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 5, gpus: 3, at: epoch)
    try await fixture.run { client async throws in
      let whole = try await client.get("/api/v1/gpus").rows()
      #expect(whole.count == 15)
      for limit in [1, 2, 4, 7, 14, 15, 16] {
        let pages = try await client.pages("/api/v1/gpus?limit=\(limit)")
        #expect(pages.count == (15 + limit - 1) / limit)
        #expect(try pages.flatMap { try $0.rows() } == whole)
      }
    }
  }

  @Test func pagesStayWholeWhileGPUsArrive() async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 3, gpus: 2, at: epoch)
    try await fixture.server().application.test(.live) { client async throws in
      let first = try await client.get("/api/v1/gpus?limit=2")
      let before = try first.rows().compactMap { $0["uuid"]?.string }
      // One that sorts before what has been shown, and one behind.
      let arrivals = ["GPU-0000-0000", "GPU-0002-0005"].map {
        Labels([("__name__", "DCGM_FI_DEV_GPU_UTIL"), ("UUID", $0), ("gpu", "7"), ("Hostname", "late")])
      }
      try await fixture.append(arrivals, [1, 2], at: epoch + 1000)
      let rest = try await client.pages(try #require(first.next)).flatMap { try $0.rows() }
      let shown = before + rest.compactMap { $0["uuid"]?.string }
      #expect(
        shown == [
          "GPU-0001-0000", "GPU-0001-0001", "GPU-0002-0000", "GPU-0002-0001", "GPU-0002-0005", "GPU-0003-0000",
          "GPU-0003-0001",
        ])
    }
  }

  @Test func aGPUIsFoundByEachOfItsNames() async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 3, gpus: 2, at: epoch)
    try await fixture.run { client async throws in
      let byUUID = try await client.get("/api/v1/gpus/GPU-0002-0001").json()
      #expect(byUUID["uuid"] == "GPU-0002-0001")
      #expect(try await client.get("/api/v1/gpus/node-2:1").json() == byUUID)
      #expect(try await client.get("/api/v1/gpus/node-2%3A1").json() == byUUID)
      let byIndex = try await client.get("/api/v1/gpus/1").rows()
      #expect(byIndex.compactMap { $0["node_id"]?.string } == ["node-1", "node-2", "node-3"])
      #expect(byIndex.contains(byUUID))
      let pages = try await client.pages("/api/v1/gpus/1?limit=2")
      #expect(try pages.flatMap { try $0.rows() } == byIndex)
    }
  }

  @Test(arguments: ["GPU-none", "node-1:7", "node-9:0", "7", ":0", "node-1:", "a%2Fb", "%00", "%F0%9F%90%A6", "..."])
  func anUnknownGPUIsNotFound(_ id: String) async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 1, gpus: 2, at: epoch)
    try await fixture.run { client async throws in
      for suffix in ["", "/telemetry"] {
        let reply = try await client.get("/api/v1/gpus/\(id)\(suffix)")
        #expect(reply.status == 404, "\(id): \(reply.text)")
        #expect(reply.headers[.contentType] == "application/problem+json")
        let problem = try reply.json()
        #expect(problem["status"] == 404)
        #expect(problem["parameter"] == "id")
      }
    }
  }

  @Test func aGPUThatMovedIsWhereItWasHeardLast() async throws {
    let fixture = try APIFixture()
    let labels = { (node: String) in
      [Labels([("__name__", "DCGM_FI_DEV_GPU_UTIL"), ("UUID", "GPU-m"), ("gpu", "3"), ("Hostname", node)])]
    }
    try await fixture.append(labels("old"), [1], at: epoch)
    try await fixture.append(labels("new"), [2], at: epoch + 1)
    try await fixture.run { client async throws in
      let row = try await client.get("/api/v1/gpus/GPU-m").json()
      #expect(row["node_id"] == "new")
      #expect(try await client.get("/api/v1/gpus?node=old").rows().isEmpty)
      #expect(try await client.get("/api/v1/gpus?node=new").rows().count == 1)
      #expect(try await client.get("/api/v1/gpus/old:3").status == 404)
    }
  }

  @Test func theSlotOfAReplacedGPUIsItsSuccessors() async throws {
    let fixture = try APIFixture()
    for (index, uuid) in ["GPU-b", "GPU-a"].enumerated() {
      try await fixture.append(
        [Labels([("__name__", "DCGM_FI_DEV_GPU_UTIL"), ("UUID", uuid), ("gpu", "0"), ("Hostname", "n")])], [1],
        at: epoch + Int64(index))
    }
    try await fixture.run { client async throws in
      let row = try await client.get("/api/v1/gpus/n:0").json()
      #expect(row["uuid"] == "GPU-a")
    }
  }

  @Test func otherGenerationsOfLabelsAreUnderstood() async throws {
    let fixture = try APIFixture()
    try await fixture.append(
      [
        Labels([("__name__", "dcgm_gpu_temp"), ("uuid", "GPU-old"), ("gpu", "0"), ("node", "n-1")]),
        Labels([("__name__", "DCGM_FI_PROF_NVLINK_TX_BYTES"), ("gpu_uuid", "GPU-link"), ("model_name", "H100")]),
        Labels([("__name__", "DCGM_FI_DEV_GPU_TEMP"), ("UUID", "GPU-x"), ("gpu", "1"), ("instance", "10.0.0.1:9400")]),
      ], [61, 7, 62], at: epoch)
    try await fixture.run { client async throws in
      let rows = try await client.get("/api/v1/gpus").rows()
      #expect(rows.compactMap { $0["uuid"]?.string } == ["GPU-link", "GPU-old", "GPU-x"])
      #expect(rows.map { $0["node_id"] } == [.null, "n-1", "10.0.0.1"])
      #expect(rows[0]["model"] == "H100")
      #expect(rows[1]["metrics"]?["temperature_celsius"] == 61)
      #expect(try await client.get("/api/v1/gpus?node=10.0.0.1").rows() == [rows[2]])
      #expect(try await client.get("/api/v1/gpus?node=n-1").rows() == [rows[1]])
      #expect(try await client.get("/api/v1/gpus/10.0.0.1:1").json() == rows[2])
      #expect(try await client.get("/api/v1/gpus/10.0.0.1:1/telemetry").rows().count == 1)
    }
  }
}
