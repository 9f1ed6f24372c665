// Goal: what a client sends to any of the ways in is in the store when the answer comes, or is named in the answer; what
// is too large, malformed or of another kind is refused by its status and takes nothing with it.
// Method: requests against the routes, with a real log, a collector and a store in memory behind them; the store is read
// right behind each answer, without waiting.

import ApusAPI
import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusService
import ApusStore
import HTTPTypes
import HummingbirdTesting
import NIOCore
import Testing

@Suite struct IngestTests {
  private static let text = "/api/v1/import/prometheus"

  /// A page of one host with two metrics of four GPUs, and a sample without host.
  private static func page(_ host: String, _ time: Int64?, value: Int = 1) -> String {
    var lines: [String] = []
    for metric in ["power", "temp"] {
      lines.append("# TYPE \(metric) gauge")
      for gpu in 0..<4 {
        lines.append("\(metric){gpu=\"\(gpu)\",Hostname=\"\(host)\"} \(value)" + (time.map { " \($0)" } ?? ""))
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private static func expected(_ host: String, _ time: Int64, value: Int = 1) -> [String] {
    ["power", "temp"].flatMap { metric in
      (0..<4).map { "\(metric){Hostname=\"\(host)\", gpu=\"\($0)\"} \(time) \(value).0" }
    }
  }

  @Test(arguments: [TestingSetup.router, .live])
  func aPageIsThereWhenTheAnswerComes(_ kind: TestingSetup) async throws {
    let fixture = try IngestFixture()
    try await fixture.run(kind) { client async throws in
      for round in 1...3 {
        let time = Int64(round) * 10_000
        let reply = try await client.post(Self.text, Self.page("a", time, value: round))
        #expect(reply.status == 204, "\(reply.text)")
        #expect(reply.body.isEmpty)
        let wanted = (1...round).flatMap { Self.expected("a", Int64($0) * 10_000, value: $0) }.sorted()
        #expect(try await fixture.samples() == wanted)
      }
      #expect(try await fixture.store.descriptors().map(\.name) == ["power", "temp"])
    }
  }

  @Test func linesWithoutTimesGetThatOfArrivalOrOfTheRequest() async throws {
    let fixture = try IngestFixture()
    try await fixture.run { client async throws in
      #expect(try await client.post(Self.text, Self.page("a", nil)).status == 204)
      #expect(try await client.post(Self.text + "?timestamp=77", Self.page("b", nil)).status == 204)
      let wanted = Self.expected("a", APIFixture.epoch) + Self.expected("b", 77)
      #expect(try await fixture.samples() == wanted.sorted())
    }
  }

  @Test func manyHostsAndInstantsInOneBodyMakeOneSetAHost() async throws {
    let fixture = try IngestFixture()
    try await fixture.run { client async throws in
      var body = ""
      var wanted: [String] = []
      for time in 1...20 {
        for host in 0..<10 {
          let at = Int64(time * 10_000 + host)
          body += Self.page("node-\(host)", at, value: time)
          wanted += Self.expected("node-\(host)", at, value: time)
        }
      }
      // Twice: the second is matched by place and says the same.
      for _ in 0..<2 { #expect(try await client.post(Self.text, body).status == 204) }
      #expect(try await fixture.samples() == wanted.sorted())
    }
    let page = String(decoding: fixture.metrics.render(), as: UTF8.self)
    #expect(page.contains("gpu_telemetry_collector_sets_seen_total 10\n"))
    #expect(page.contains("gpu_telemetry_ingest_lines_matched_total 1600\n"))
  }

  @Test(arguments: [Compression.gzip, .zstd])
  func compressedTextIsTaken(_ codec: Compression) async throws {
    let fixture = try IngestFixture()
    try await fixture.run { client async throws in
      let body = try Array(Self.page("a", 5).utf8).compressed(codec)
      let name = codec == .gzip ? "gzip" : "zstd"
      #expect(try await client.post(Self.text, body, [.contentEncoding: name]).status == 204)
      #expect(try await fixture.samples() == Self.expected("a", 5).sorted())
      let cut = try await client.post(Self.text, Array(body.dropLast(9)), [.contentEncoding: name])
      #expect(cut.status == 400, "\(cut.text)")
    }
  }

  @Test func aWrongLineIsNamedAndTheRestTaken() async throws {
    let fixture = try IngestFixture()
    try await fixture.run { client async throws in
      let reply = try await client.post(Self.text, Self.page("a", 5) + "broken{ 7\nx 1 2 3 4\n")
      #expect(reply.status == 400)
      #expect(reply.headers[.contentType] == "application/problem+json")
      let problem = try reply.json()
      #expect(problem["accepted"] == 8)
      #expect(problem["rejected"] == 2)
      #expect(problem["errors"]?.elements.first?["line"] == 11)
      #expect(try await fixture.samples() == Self.expected("a", 5).sorted())
    }
  }

  @Test func extraLabelsAreAddedAndTellSourcesApart() async throws {
    let fixture = try IngestFixture()
    try await fixture.run { client async throws in
      for host in ["a", "b"] {
        let reply = try await client.post(Self.text + "?extra_label=Hostname%3D\(host)&extra_label=job=x", "up 1 9\n")
        #expect(reply.status == 204, "\(reply.text)")
      }
      #expect(
        try await fixture.samples() == [
          "up{Hostname=\"a\", job=\"x\"} 9 1.0", "up{Hostname=\"b\", job=\"x\"} 9 1.0",
        ])
      for wrong in ["extra_label=x", "extra_label=1=2", "extra_label=__name__=y", "timestamp=1.5", "db=x"] {
        #expect(try await client.post(Self.text + "?" + wrong, "up 1\n").status == 400, "\(wrong)")
      }
    }
  }

  @Test(arguments: [
    ("/api/v1/import/prometheus", "application/json", 415),
    ("/api/v1/import/prometheus", "application/x-protobuf", 415),
    ("/api/v1/write", "text/plain", 415), ("/api/v1/write", "", 415),
    ("/api/v1/write", "application/x-protobuf;proto=x.Y", 415), ("/write", "application/json", 415),
    ("/api/v2/write", "application/x-protobuf", 415), ("/v1/metrics", "application/json", 415),
    ("/api/v1/write", "application/x-protobuf", 400), ("/v1/metrics", "application/x-protobuf", 400),
  ])
  func whatIsOfAnotherKindIsRefused(_ path: String, _ type: String, _ status: Int) async throws {
    let fixture = try IngestFixture()
    try await fixture.run { client async throws in
      let headers: HTTPFields = type.isEmpty ? [:] : [.contentType: type]
      let reply = try await client.post(path, [4, 0xff, 0xff, 1, 2, 3], headers)
      #expect(reply.status == status, "\(reply.text)")
      let coded = try await client.post(path, [1, 2, 3], [.contentType: type, .contentEncoding: "br"])
      #expect(coded.status == 415, "\(coded.text)")
    }
  }

  @Test func whatIsTooLargeIsRefusedWithTheBound() async throws {
    let fixture = try IngestFixture(bodyBytesMax: 10_000)
    try await fixture.run(.live) { client async throws in
      let large = Array(String(repeating: Self.page("a", 5), count: 60).utf8)
      #expect(large.count > 10_000)
      let compressed = try large.compressed(.gzip)
      #expect(compressed.count < 10_000)
      let bodies: [([UInt8], HTTPFields)] = [
        (large, [:]), (compressed, [.contentEncoding: "gzip"]),
        (try large.compressed(.zstd), [.contentEncoding: "zstd"]),
      ]
      for (body, headers) in bodies {
        let reply = try await client.post(Self.text, body, headers)
        #expect(reply.status == 413)
        #expect(reply.text.contains("the limit of \(ByteCount(10_000))"), "\(reply.text)")
      }
      let block = large.snappyBlock
      let reply = try await client.post("/api/v1/write", block, [.contentType: "application/x-protobuf"])
      #expect(reply.status == 413, "\(reply.text)")
      // Three members whose last one says that it is small.
      let members = compressed + compressed + (try Array("x 1\n".utf8).compressed(.gzip))
      #expect(try await client.post(Self.text, members, [.contentEncoding: "gzip"]).status == 413)
      #expect(try await fixture.samples().isEmpty)
    }
  }

  @Test func aFullGateRefusesWithRetryAfter() async throws {
    var door = IngestDoor.Configuration()
    door.inFlightBytesMax = 1000
    door.wait = .milliseconds(50)
    let fixture = try IngestFixture(door: door)
    try await fixture.run { client async throws in
      // A body alone may be larger than the gate; one that then needs more for its expansion finds no room.
      let body = try Array(String(repeating: Self.page("a", 5), count: 5).utf8).compressed(.gzip)
      let reply = try await client.post(Self.text, body, [.contentEncoding: "gzip"])
      #expect(reply.status == 503, "\(reply.text)")
      #expect(reply.headers[.retryAfter] == "1")
      // What it held has been given back.
      #expect(try await client.post(Self.text, Self.page("a", 5)).status == 204)
    }
  }

  @Test func withoutALogTheWaysInSayWhatToDo() async throws {
    let fixture = try APIFixture()
    try await fixture.run { client async throws in
      for path in API.ingestPaths {
        let reply = try await client.post(path, "x 1\n", [.contentType: "application/x-protobuf"])
        #expect(reply.status == 503)
        #expect(reply.text.contains("--broker"))
      }
      #expect(try await client.get("/ping").status == 204)
      #expect(try await client.get("/ping", method: .head).status == 204)
    }
  }

  @Test func theStoresLimitIsTold() async throws {
    let fixture = try IngestFixture(seriesLimit: 10)
    try await fixture.run { client async throws in
      #expect(try await client.post(Self.text, Self.page("a", 5)).status == 204)
      let reply = try await client.post(Self.text, Self.page("b", 5))
      #expect(reply.status == 400)
      #expect(reply.text.contains("6 samples are of new series"), "\(reply.text)")
      let lines = try await client.post("/write?db=x", "y,host=a value=1 5\ny,host=b value=1 5\n")
      #expect(lines.status == 400)
      #expect(lines.text.contains("2 samples are of new series"), "\(lines.text)")
      #expect(try await client.post(Self.text, Self.page("a", 6)).status == 204)
    }
  }

  // MARK: The other formats

  private static func series(_ name: String, _ samples: [(Int64, Double)]) -> SeriesSamples {
    SeriesSamples(
      labels: Labels([("__name__", name), ("host", "a")]), timestamps: samples.map(\.0), values: samples.map(\.1))
  }

  @Test func remoteWriteOneGoesThroughAsItIs() async throws {
    let fixture = try IngestFixture()
    var encoder = RemoteWriteEncoder()
    let descriptor = MetricDescriptor(name: "power", kind: .gauge, help: "Draw.", unit: "watts")
    let body = encoder.encodeCompressed(
      [Self.series("power", [(10, 1), (20, 2)]), Self.series("temp", [(10, StaleMarker.value)])],
      descriptors: [descriptor])
    try await fixture.run { client async throws in
      let headers: HTTPFields = [.contentType: "application/x-protobuf", .contentEncoding: "snappy"]
      let reply = try await client.post("/api/v1/write", body, headers)
      #expect(reply.status == 204, "\(reply.text)")
      #expect(
        try await fixture.samples().filter { $0.hasPrefix("power") } == [
          "power{host=\"a\"} 10 1.0", "power{host=\"a\"} 20 2.0",
        ])
      #expect(try await fixture.store.descriptors() == [descriptor])
      let stale = try await fixture.store.select(SelectRequest([.equal("__name__", "temp")]))
      #expect(stale.first?.values.first.map(StaleMarker.isStale) == true)
    }
  }

  @Test func remoteWriteRefusesASeriesAndTakesTheRest() async throws {
    let fixture = try IngestFixture()
    var encoder = RemoteWriteEncoder()
    let nameless = SeriesSamples(labels: Labels([("host", "b")]), timestamps: [1], values: [1])
    let body = encoder.encodeCompressed([Self.series("power", [(10, 1)]), nameless])
    try await fixture.run { client async throws in
      let reply = try await client.post("/api/v1/write", body, [.contentType: "application/x-protobuf"])
      #expect(reply.status == 400)
      #expect(reply.text.contains("series 2: the metric has no name"), "\(reply.text)")
      #expect(try await fixture.samples() == ["power{host=\"a\"} 10 1.0"])
    }
  }

  @Test func remoteWriteTwoTellsWhatWasWritten() async throws {
    let fixture = try IngestFixture()
    // Symbols: "", "__name__", "up", "host", "a"; one series with references 1 2 3 4 and the sample 3 at 7.
    var body = ProtobufWriter()
    for symbol in ["", "__name__", "up", "host", "a"] { body.string(symbol, field: 4) }
    body.message(field: 5) { series in
      series.data([1, 2, 3, 4], field: 1)
      series.message(field: 2) { sample in
        sample.double(3, field: 1)
        sample.int64(7, field: 2)
      }
    }
    let type = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
    let sent = body.bytes.snappyBlock
    try await fixture.run { client async throws in
      let reply = try await client.post("/api/v1/write", sent, [.contentType: type])
      #expect(reply.status == 204, "\(reply.text)")
      let name = try #require(HTTPField.Name("X-Prometheus-Remote-Write-Samples-Written"))
      #expect(reply.headers[name] == "1")
      #expect(try await fixture.samples() == ["up{host=\"a\"} 7 3.0"])
      let broken = try await client.post("/api/v1/write", [1, 2, 3], [.contentType: type])
      #expect(broken.status == 400)
      #expect(broken.headers[name] == "0")
    }
  }

  @Test(arguments: ["/write", "/api/v2/write"])
  func lineProtocolIsTakenInAllPrecisions(_ path: String) async throws {
    let fixture = try IngestFixture()
    try await fixture.run { client async throws in
      let units: [(String, Int64)] = [
        ("", 3_600_000_000_000), ("ns", 3_600_000_000_000), ("us", 3_600_000_000), ("ms", 3_600_000), ("s", 3600),
        ("m", 60), ("h", 1),
      ]
      for (index, (unit, time)) in units.enumerated() {
        let query = unit.isEmpty ? "" : "?precision=\(unit)"
        let reply = try await client.post(path + query, "cpu\(index),host=a load=1.5,value=2i,note=\"x\" \(time)\n")
        #expect(reply.status == 204, "\(reply.text)")
      }
      let wanted = units.indices.flatMap {
        ["cpu\($0)_load{host=\"a\"} 3600000 1.5", "cpu\($0){host=\"a\"} 3600000 2.0"]
      }
      #expect(try await fixture.samples() == wanted.sorted())
      let partial = try await client.post(path, "good value=1 1\nbad\n")
      #expect(partial.status == 400)
      #expect(partial.headers[.contentType] == "application/json")
      let answer = try partial.json()
      #expect(answer["error"]?.string?.hasPrefix("partial write: line 2: ") == true)
      #expect(answer["message"] == answer["error"])
      #expect(try await client.post(path + "?precision=d", "x 1\n").status == 400)
    }
  }

  @Test func otlpIsTakenAndTellsWhatWasNot() async throws {
    let fixture = try IngestFixture()
    var body = ProtobufWriter()
    func gauge(_ name: String, _ value: Double, _ writer: inout ProtobufWriter) {
      writer.message(field: 2) { metric in
        metric.string(name, field: 1)
        metric.message(field: 5) { data in
          data.message(field: 1) { point in
            point.fixed64(5_000_000, field: 3)
            point.double(value, field: 4)
          }
        }
      }
    }
    body.message(field: 1) { resource in
      resource.message(field: 2) { scope in
        gauge("gpu.power", 7, &scope)
        gauge("", 8, &scope)
      }
    }
    let sent = body.bytes
    try await fixture.run { client async throws in
      for coding in ["", "gzip"] {
        let bytes = coding.isEmpty ? sent : try sent.compressed(.gzip)
        let reply = try await client.post(
          "/v1/metrics", bytes, [.contentType: "application/x-protobuf", .contentEncoding: coding])
        #expect(reply.status == 200)
        #expect(reply.headers[.contentType] == "application/x-protobuf")
        // partial_success with one data point refused.
        #expect(Array(reply.body.prefix(1)) == [0x0a] && Array(reply.body.dropFirst(2).prefix(2)) == [0x08, 0x01])
        #expect(reply.text.contains("the metric has no name"))
      }
      #expect(try await fixture.samples() == ["gpu_power 5 7.0"])
      let refused = try await client.post("/v1/metrics", [0xff], [.contentType: "application/x-protobuf"])
      #expect(refused.status == 400)
      #expect(refused.headers[.contentType] == "application/x-protobuf")
    }
  }

  @Test func manyRequestsAtOnceAreAllThere() async throws {
    let fixture = try IngestFixture()
    try await fixture.run(.live) { client async throws in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for host in 0..<20 {
          group.addTask {
            for time in 1...5 {
              let reply = try await client.post(Self.text, Self.page("node-\(host)", Int64(time)))
              #expect(reply.status == 204)
            }
          }
        }
        try await group.waitForAll()
      }
      #expect(try await fixture.samples().count == 20 * 5 * 8)
    }
  }
}
