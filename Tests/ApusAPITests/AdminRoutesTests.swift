// Goal: the routes that change a store's files do what they say, here and through another process, and refuse what cannot
// be and what a page of another origin sends. Method: an embedded store on a simulated disk behind the routes, asked in
// process and over a socket, directly and through the store protocol.

import ApusAPI
import ApusModel
import ApusStore
import ApusTestKit
import HTTPTypes
import Testing

@Suite struct AdminRoutesTests {
  private static func store(_ clock: ManualClock = ManualClock()) throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = false
    return try EmbeddedStore(
      disk: SimulatedDisk(seed: 1), directory: "store", clock: clock, configuration: configuration)
  }

  private static func whole(_ reply: Reply, _ name: String) throws -> Int? {
    guard let number = try reply.json()[name]?.double else { return nil }
    return Int(number)
  }

  private static func check(_ fixture: APIFixture) async throws {
    try await fixture.appendFleet(nodes: 2, gpus: 2, at: APIFixture.epoch)
    try await fixture.server().application.test(.router) { client in
      let flushed = try await client.get("/api/v1/admin/store/flush", method: .post)
      #expect(flushed.status == 200, "\(flushed.text)")
      #expect(try whole(flushed, "samples") == 8 && whole(flushed, "blocks_written") == 1, "\(flushed.text)")
      #expect(try whole(flushed, "bytes") ?? 0 > 100 && flushed.json()["seconds"] != nil)
      try await fixture.appendFleet(nodes: 2, gpus: 2, at: APIFixture.epoch + 1000)
      _ = try await client.get("/api/v1/admin/store/flush", method: .post)
      let merged = try await client.get("/api/v1/admin/store/compact", method: .post)
      #expect(try whole(merged, "blocks_merged") == 2 && whole(merged, "blocks_written") == 1, "\(merged.text)")
      #expect(try whole(merged, "samples") == 16)
      let idle = try await client.get("/api/v1/admin/store/compact", method: .post)
      #expect(try whole(idle, "blocks_merged") == 0 && whole(idle, "samples") == 0)

      let snapshot = try await client.get("/api/v1/admin/store/snapshot?name=first", method: .post)
      #expect(try whole(snapshot, "samples") == 16, "\(snapshot.text)")
      #expect(try snapshot.json()["path"]?.string == "store/snapshots/first")
      #expect(try await client.get("/api/v1/admin/store/snapshot?name=first", method: .post).status == 409)
      let named = try await client.get("/api/v1/admin/store/snapshot", method: .post)
      #expect(try named.json()["name"]?.string == "2026-01-01T00-00-00Z", "\(named.text)")

      let selector = "DCGM_FI_DEV_GPU_TEMP%7BHostname%3D%22node-1%22%7D"
      let late = try await client.get("/api/v1/admin/store/delete?match[]=\(selector)&start=1767225601", method: .post)
      #expect(late.status == 200, "\(late.text)")
      var left = try await fixture.store.select(SelectRequest([.metric("DCGM_FI_DEV_GPU_TEMP")]))
      #expect(left.reduce(0) { $0 + $1.values.count } == 6)
      _ = try await client.get("/api/v1/admin/store/delete?match%5B%5D=\(selector)", method: .post)
      left = try await fixture.store.select(SelectRequest([.metric("DCGM_FI_DEV_GPU_TEMP")]))
      #expect(left.count == 2 && left.allSatisfy { $0.labels["Hostname"] == "node-2" })
    }
  }

  @Test func theEmbeddedStore() async throws { try await AdminRoutesTests.check(APIFixture(store: try Self.store())) }

  @Test func theStoreOfAnotherProcess() async throws {
    let serving = StoreServing()
    let remote = try await serving.serve(try Self.store())
    do { try await AdminRoutesTests.check(APIFixture(store: remote)) } catch {
      await serving.stop()
      throw error
    }
    await serving.stop()
  }

  @Test func whatIsRefused() async throws {
    let fixture = APIFixture(store: try Self.store())
    try await fixture.appendFleet(nodes: 1, gpus: 1, at: APIFixture.epoch)
    try await fixture.run { client in
      for (uri, parameter) in [
        ("delete", "match[]"), ("delete?match[]=%7B%7D", "match[]"), ("delete?match[]=up%7Ba%3D~%22b%22%7D", "match[]"),
        ("delete?match[]=up&start=yesterday", "start"), ("delete?match[]=up&start=2&end=1", "end"),
        ("snapshot?name=..", "name"), ("snapshot?name=a%2Fb", "name"), ("flush?now=1", "now"),
      ] {
        let reply = try await client.get("/api/v1/admin/store/\(uri)", method: .post)
        #expect(reply.status == 400, "\(uri): \(reply.text)")
        #expect(try reply.json()["parameter"]?.string == parameter, "\(uri): \(reply.text)")
      }
      #expect(try await client.get("/api/v1/admin/store/flush").status == 405)
      let foreign: [HTTPFields] = [
        [.origin: "http://evil.example"], [.origin: "null"],
        [HTTPField.Name("Sec-Fetch-Site")!: "cross-site", .origin: "http://evil.example"],
      ]
      for headers in foreign {
        let reply = try await client.get("/api/v1/admin/store/delete?match[]=up", method: .post, headers: headers)
        #expect(reply.status == 403, "\(headers)")
      }
      let own: HTTPFields = [HTTPField.Name("Sec-Fetch-Site")!: "same-origin"]
      #expect(try await client.get("/api/v1/admin/store/flush", method: .post, headers: own).status == 200)
    }
  }

  @Test func aStoreWithoutFilesSaysSo() async throws {
    try await APIFixture().run { client in
      let reply = try await client.get("/api/v1/admin/store/snapshot", method: .post)
      #expect(reply.status == 400 && reply.text.contains("in memory"), "\(reply.text)")
      #expect(try await client.get("/api/v1/admin/store/flush", method: .post).status == 200)
    }
  }
}
