// Goal: every role's HTTP server has the standard routes, answers every error as a problem document, and bounds what a
// client may do. Method: requests as bytes over real sockets on loopback, answers looked at as bytes.
import ApusIO
import ApusService
import Hummingbird
import Logging
import NIOCore
import NIOPosix
import Testing

@Suite struct HTTPServerTests {
  private struct Secret: Error { var path = "/very/secret" }

  private func withServer(
    _ change: (inout HTTPServerPart.Configuration) -> Void = { _ in }, readiness: Readiness = Readiness(),
    _ body: (ListenAddress, HTTPServerPart) async throws -> Void
  ) async throws {
    var configuration = HTTPServerPart.Configuration(role: "test", version: "1.2.3", listen: .anyLoopback)
    change(&configuration)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let server = HTTPServerPart(
      configuration, metrics: MetricsRegistry(), readiness: readiness, logger: logger,
      statistics: { [UInt8](#"{"answer":42}"#.utf8) }
    ) { router in
      router.get("/fails") { _, _ -> Response in throw Secret() }
      router.get("/items/{id}") { _, context -> Response in
        throw Problem.badParameter("id", "\"\(context.parameters.get("id") ?? "")\" is not an item")
      }
      router.get("/teapot") { _, _ -> Response in throw HTTPError(.init(code: 418), message: "short and stout") }
      router.post("/body") { request, context in
        let body = try await request.body.collect(upTo: context.maxUploadSize)
        return "\(body.readableBytes)"
      }
    }
    let running = Task { try await server.run() }
    let address = try await server.address.get()
    do { try await body(address, server) } catch {
      running.cancel()
      _ = await running.result
      throw error
    }
    running.cancel()
    _ = await running.result
  }

  @Test func healthStatsAndMetrics() async throws {
    try await withServer { address, _ in
      let health = try await HTTP.get(address, "/health")
      #expect(health.status == 200)
      #expect(health.body.hasPrefix(#"{"status":"ok","role":"test","version":"1.2.3","uptime_seconds":"#))
      #expect(health.head.contains("content-type: application/json"))
      #expect(try await HTTP.get(address, "/stats").body == #"{"answer":42}"#)
      let metrics = try await HTTP.get(address, "/metrics")
      #expect(metrics.head.contains("content-type: text/plain; version=0.0.4"))
      #expect(metrics.body.contains(#"apus_http_requests_total{method="GET",route="/health",status="200"} 1"#))
      let head = try await HTTP.send(address, "HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      #expect(head.status == 200)
      #expect(head.body.isEmpty)
    }
  }

  @Test func readyTellsWhatStandsInTheWay() async throws {
    let readiness = Readiness()
    try await withServer(readiness: readiness) { address, _ in
      let ready = try await HTTP.get(address, "/ready")
      #expect(ready.status == 200)
      #expect(ready.body == #"{"status":"ready","reasons":[]}"#)
      readiness.register("log") { "it is recovering" }
      readiness.register("store") { nil }
      let waiting = try await HTTP.get(address, "/ready")
      #expect(waiting.status == 503)
      #expect(
        waiting.body == #"{"status":"not ready","reasons":[{"part":"log","reason":"it is recovering"}]}"#)
    }
  }

  @Test(arguments: [
    ("GET /nothing", 404, #""detail":"there is nothing at /nothing","instance":"/nothing""#),
    ("DELETE /health", 405, #""detail":"/health does not take DELETE; it takes GET, HEAD""#),
    ("POST /items/7", 405, "it takes GET, HEAD"), ("GET /body", 405, "it takes POST"),
    ("GET /items/seven", 400, #""detail":"\"seven\" is not an item","instance":"/items/seven","parameter":"id""#),
    ("GET /teapot", 418, "short and stout"), ("GET /fails", 500, #""title":"Internal Server Error""#),
  ])
  func problems(request: String, status: Int, part: String) async throws {
    try await withServer { address, _ in
      let answer = try await HTTP.send(address, "\(request) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      #expect(answer.status == status)
      #expect(answer.head.contains("content-type: application/problem+json"))
      #expect(answer.body.contains(part), "\(answer.body)")
      #expect(answer.body.contains(#""status":\#(status)"#))
      #expect(!answer.body.contains("secret"))
      #expect(status != 405 || answer.head.contains("allow: "))
    }
  }

  @Test func bodiesAreBoundedHoweverTheyCome() async throws {
    try await withServer({ $0.bodyBytesMax = ByteCount(10) }) { address, _ in
      let head = "POST /body HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
      let small = try await HTTP.send(address, head + "Content-Length: 10\r\n\r\n0123456789")
      #expect(small.body == "10")
      let announced = try await HTTP.send(address, head + "Content-Length: 11\r\n\r\n01234567890")
      #expect(announced.status == 413)
      #expect(announced.body.contains("limit of 10B"))
      let chunked = try await HTTP.send(
        address, head + "Transfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n")
      #expect(chunked.status == 413)
      #expect(chunked.head.contains("application/problem+json"))
    }
  }

  @Test func aTakenAddressNamesTheFlag() async throws {
    try await withServer { address, _ in
      var logger = Logger(label: "test")
      logger.logLevel = .critical
      var configuration = HTTPServerPart.Configuration(role: "test", version: "1", listen: address)
      configuration.listenFlag = "--api-listen"
      let second = HTTPServerPart(configuration, metrics: MetricsRegistry(), logger: logger, statistics: { [] })
      let expected = ServiceError.addressInUse(address: address.description, flag: "--api-listen")
      await #expect(throws: expected) { try await second.run() }
      await #expect(throws: expected) { try await second.address.get() }
    }
  }

  @Test func slowHeadsAndBodiesAreCutOff() async throws {
    try await withServer({
      $0.headTimeout = .milliseconds(50)
      $0.bodyTimeout = .milliseconds(50)
    }) { address, _ in
      // The connection ends; without the timeouts these would wait for minutes.
      #expect(try await HTTP.send(address, "GET /hea").status == 0)
      let slow = try await HTTP.send(address, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n0")
      #expect(slow.status == 0 || slow.status >= 400)
    }
  }
}

/// As much HTTP as these tests need: bytes out, everything until the end of the connection in.
enum HTTP {
  struct Answer {
    /// 0 when there was none.
    var status: Int
    var head: String
    var body: String
  }

  static func get(_ address: ListenAddress, _ path: String) async throws -> Answer {
    try await send(address, "GET \(path) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
  }

  static func send(_ address: ListenAddress, _ request: String) async throws -> Answer {
    let (stream, continuation) = AsyncStream.makeStream(of: [UInt8].self)
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Collector(continuation))
        }
      }
      .connect(host: address.host, port: address.port).get()
    // A server may refuse before it has read all; what it said counts then.
    try? await channel.writeAndFlush(ByteBuffer(string: request))
    var bytes: [UInt8] = []
    for await piece in stream { bytes += piece }
    let text = String(decoding: bytes, as: UTF8.self)
    guard let end = text.firstRange(of: "\r\n\r\n") else { return Answer(status: 0, head: text, body: "") }
    let head = text[..<end.lowerBound].lowercased()
    let status = head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
    return Answer(status: status, head: head, body: String(text[end.upperBound...]))
  }

  private final class Collector: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let continuation: AsyncStream<[UInt8]>.Continuation

    init(_ continuation: AsyncStream<[UInt8]>.Continuation) { self.continuation = continuation }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      continuation.yield([UInt8](unwrapInboundIn(data).readableBytesView))
    }

    func channelInactive(context: ChannelHandlerContext) { continuation.finish() }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
  }
}
