// Goal: whatever a client sends is answered with a declared status and, where it is at fault, a problem that names the
// parameter; conditional requests, compression and HEAD do what RFC 9110 says. Method: a table of hostile requests
// against every route, in process and over a socket.

import ApusAPI
import ApusIO
import ApusModel
import ApusService
import HTTPTypes
import Testing

@Suite struct HTTPBehaviourTests {
  private func filled() async throws -> APIFixture {
    let fixture = try APIFixture()
    for scrape in 0..<200 {
      try await fixture.appendFleet(nodes: 2, gpus: 2, at: APIFixture.epoch + Int64(scrape) * 1000)
    }
    return fixture
  }

  @Test(arguments: [
    ("/api/v1/gpus?limit=0", "limit"), ("/api/v1/gpus?limit=10001", "limit"), ("/api/v1/gpus?limit=-1", "limit"),
    ("/api/v1/gpus?limit=1e2", "limit"), ("/api/v1/gpus?limit=", "limit"), ("/api/v1/gpus?limit=+5", "limit"),
    ("/api/v1/gpus?limit=05", "limit"), ("/api/v1/gpus?limit=99999999999999999999", "limit"),
    ("/api/v1/gpus?limit=5&limit=6", "limit"), ("/api/v1/gpus?limit", "limit"), ("/api/v1/gpus?limt=5", "limt"),
    ("/api/v1/gpus?=5", ""), ("/api/v1/gpus?index=x", "index"), ("/api/v1/gpus?index=65536", "index"),
    ("/api/v1/gpus?node=%ff", "node"), ("/api/v1/gpus?node=%2", "node"), ("/api/v1/gpus?cursor=abc", "cursor"),
    ("/api/v1/gpus/GPU-0001-0000?cursor=AAAA", "cursor"), ("/api/v1/gpus?cursor=0.5", "cursor"),
    ("/api/v1/gpus?cursor=", "cursor"), ("/api/v1/gpus?cursor=%00", "cursor"), ("/api/v1/gpus?cursor=AAAA", "cursor"),
    ("/api/v1/gpus/1/telemetry?start_time=yesterday", "start_time"),
    ("/api/v1/gpus/1/telemetry?start_time=2025-02-30T00:00:00Z", "start_time"),
    ("/api/v1/gpus/1/telemetry?end_time=1e300", "end_time"), ("/api/v1/gpus/1/telemetry?end_time=nan", "end_time"),
    ("/api/v1/gpus/1/telemetry?start_time=5&end_time=4", "end_time"),
    ("/api/v1/gpus/1/telemetry?window=5", "window"), ("/api/v1/gpus/1/telemetry?window=0s", "window"),
    ("/api/v1/gpus/1/telemetry?window=1ns", "window"), ("/api/v1/gpus/1/telemetry?window=9999999w", "window"),
    ("/api/v1/gpus/1/telemetry?start_time=1&end_time=2&window=1s", "window"),
    ("/api/v1/gpus/1/telemetry?step=x", "step"), ("/api/v1/gpus/1/telemetry?format=xml", "format"),
    ("/api/v1/gpus/1/telemetry?metric=", "metric"), ("/api/v1/gpus/%ff", "id"), ("/api/v1/nodes?node=a", "node"),
    ("/openapi.json?x=1", "x"),
  ])
  func aParameterThatCannotBeIsNamed(_ uri: String, _ parameter: String) async throws {
    let fixture = try await filled()
    try await fixture.run { client async throws in
      let reply = try await client.get(uri)
      #expect(reply.status == 400, "\(uri): \(reply.text)")
      #expect(reply.headers[.contentType] == "application/problem+json")
      let problem = try reply.json()
      #expect(problem["parameter"]?.string == parameter, "\(reply.text)")
      #expect(problem["title"] == "Bad Request")
      #expect(problem["type"] == "about:blank")
      #expect(problem["instance"]?.string == String(uri.prefix { $0 != "?" }))
    }
  }

  @Test func longAndManyParametersAreRefused() async throws {
    let fixture = try await filled()
    try await fixture.run { client async throws in
      let long = String(repeating: "a", count: 257)
      for uri in [
        "/api/v1/gpus?node=\(long)", "/api/v1/gpus/\(long)",
        "/api/v1/gpus?" + String(repeating: "index=1&", count: 257),
      ] {
        let reply = try await client.get(uri)
        #expect(reply.status == 400)
      }
      let fits = try await client.get("/api/v1/gpus?" + String(repeating: "index=1&", count: 256))
      #expect(fits.status == 200)
    }
  }

  @Test func aCursorOfAnotherListOrQueryIsRefused() async throws {
    let fixture = try await filled()
    try await fixture.run { client async throws in
      let next = try #require(try await client.get("/api/v1/gpus?limit=1").next)
      let cursor = String(next.split(separator: "cursor=")[1])
      #expect(try await client.get(next).status == 200)
      // Another limit is another page size of the same list.
      #expect(try await client.get("/api/v1/gpus?limit=3&cursor=\(cursor)").status == 200)
      for uri in [
        "/api/v1/gpus?node=node-1&cursor=\(cursor)", "/api/v1/nodes?cursor=\(cursor)",
        "/api/v1/gpus/0/telemetry?cursor=\(cursor)", "/api/v1/metrics/latest?cursor=\(cursor)",
        "/api/v1/gpus?cursor=\(cursor)A",
      ] {
        let reply = try await client.get(uri)
        #expect(reply.status == 400, "\(uri)")
        #expect(try reply.json()["parameter"] == "cursor")
      }
      for index in cursor.indices {
        var changed = cursor
        changed.replaceSubrange(index...index, with: cursor[index] == "A" ? "B" : "A")
        let reply = try await client.get("/api/v1/gpus?limit=1&cursor=\(changed)")
        #expect(reply.status == 400, "changed at \(cursor.distance(from: cursor.startIndex, to: index))")
      }
    }
  }

  @Test func aCursorWhoseSeriesWasDeletedSaysSo() async throws {
    let fixture = try await filled()
    try await fixture.server().application.test(.router) { client async throws in
      let telemetry = try #require(try await client.get("/api/v1/gpus/GPU-0001-0000/telemetry?limit=1").next)
      let latest = try #require(try await client.get("/api/v1/metrics/latest?limit=3").next)
      for metric in ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_TEMP"] {
        try await fixture.store.delete([.metric(metric)], in: .all)
      }
      try await fixture.append(
        [Labels([("__name__", "m"), ("UUID", "GPU-0001-0000")])], [1], at: APIFixture.epoch)
      for uri in [telemetry, latest] {
        let reply = try await client.get(uri)
        #expect(reply.status == 400)
        #expect(reply.text.contains("deleted"))
      }
    }
  }

  @Test func aWrongMethodIsToldWhichThereAre() async throws {
    let fixture = try await filled()
    try await fixture.run { client async throws in
      for path in ["/api/v1/gpus", "/api/v1/gpus/x", "/openapi.json", "/health", "/swagger/index.html"] {
        for method in [HTTPRequest.Method.post, .put, .delete, .patch, .options, .trace] {
          let reply = try await client.get(path, method: method)
          #expect(reply.status == 405, "\(method) \(path)")
          #expect(reply.headers[.allow] == "GET, HEAD")
        }
      }
      #expect(try await client.get("/api/v2/gpus").status == 404)
      #expect(try await client.get("/api/v1/gpus/a/b").status == 404)
    }
  }

  @Test func contentThatTheClientHasIsNotSentAgain() async throws {
    let fixture = try await filled()
    try await fixture.run { client async throws in
      for uri in [
        "/api/v1/gpus", "/api/v1/nodes", "/api/v1/gpus/0/telemetry", "/api/v1/metrics/latest", "/openapi.json",
      ] {
        let first = try await client.get(uri)
        let tag = try #require(first.headers[.eTag])
        for known in [tag, "\"x\", \(tag)", "*"] {
          let again = try await client.get(uri, headers: [.ifNoneMatch: known])
          #expect(again.status == 304)
          #expect(again.body.isEmpty)
          #expect(again.headers[.eTag] == tag)
        }
        #expect(try await client.get(uri, headers: [.ifNoneMatch: "\"other\""]).status == 200)
      }
      let before = try await client.get("/api/v1/gpus").headers[.eTag]
      let csv = try await client.get("/api/v1/gpus/0/telemetry?format=csv").headers[.eTag]
      #expect(csv != (try await client.get("/api/v1/gpus/0/telemetry").headers[.eTag]))
      fixture.clock.advance(milliseconds: 1_000_000)
      try await fixture.appendFleet(nodes: 2, gpus: 2, at: fixture.clock.now, value: 7)
      let after = try await client.get("/api/v1/gpus")
      #expect(after.headers[.eTag] != before)
    }
  }

  @Test func largeAnswersAreCompressedForThoseWhoTakeIt() async throws {
    let fixture = try await filled()
    try await fixture.run { client async throws in
      let plain = try await client.get("/api/v1/gpus/0/telemetry")
      #expect(plain.headers[.contentEncoding] == nil)
      for accepted in ["gzip", "deflate, gzip;q=0.5", "*", "GZIP"] {
        let packed = try await client.get("/api/v1/gpus/0/telemetry", headers: [.acceptEncoding: accepted])
        #expect(packed.headers[.contentEncoding] == "gzip")
        #expect(packed.body.count * 4 < plain.body.count)
        var body: [UInt8] = []
        try packed.body.withUnsafeBytes { try Compression.gzip.decompress($0, maxBytes: 1 << 24, appendingTo: &body) }
        #expect(body == plain.body)
        #expect(packed.headers[.eTag] == plain.headers[.eTag])
      }
      for refused in ["identity", "gzip;q=0", "br"] {
        let reply = try await client.get("/api/v1/gpus/0/telemetry", headers: [.acceptEncoding: refused])
        #expect(reply.headers[.contentEncoding] == nil)
      }
      #expect(
        try await client.get("/api/v1/nodes/node-1", headers: [.acceptEncoding: "gzip"]).headers[.contentEncoding]
          == nil)
    }
  }

  @Test func headAnswersAsGetWithoutTheBody() async throws {
    let fixture = try await filled()
    try await fixture.run { client async throws in
      for uri in ["/api/v1/gpus", "/api/v1/gpus?limit=0", "/api/v1/gpus/none", "/openapi.json", "/health"] {
        let get = try await client.get(uri)
        let head = try await client.get(uri, method: .head)
        #expect(head.status == get.status)
        #expect(head.body.isEmpty)
        for name in [HTTPField.Name.contentType, .eTag, .cacheControl] {
          #expect(head.headers[name] == get.headers[name])
        }
      }
    }
  }

  @Test func thereIsNoCORSUnlessTold() async throws {
    let fixture = try await filled()
    try await fixture.run { client async throws in
      let reply = try await client.get("/api/v1/gpus", headers: [.origin: "http://elsewhere.example"])
      #expect(reply.headers[.accessControlAllowOrigin] == nil)
    }
  }

  @Test func theStandardRoutesAnswer() async throws {
    let fixture = try await filled()
    try await fixture.run { client async throws in
      #expect(try await client.get("/health").json()["status"] == "ok")
      #expect(try await client.get("/ready").json()["status"] == "ready")
      let stats = try await client.get("/stats").json()
      #expect(stats["store"]?["newest_sample"] == "2026-01-01T00:03:19Z")
      #expect(stats["store"]?["positions"]?.elements.first?["appended"] == 400)
      _ = try await client.get("/api/v1/gpus?limit=0")
      let metrics = try await client.get("/metrics").text
      #expect(metrics.contains("gpu_telemetry_api_requests_total{route=\"/api/v1/gpus\",status=\"400\"}"))
      #expect(metrics.contains("gpu_telemetry_api_requests_in_flight 0"))
      #expect(metrics.contains("gpu_telemetry_api_queries_running"))
    }
  }
}
