// Goal: the client of the TCP door is a RecordLog like every other, and when the broker goes away it says so, repeats
// nothing by itself and comes back. Method: the conformance suite over a real socket; servers that hang up or say nothing.
import ApusBroker
import ApusDoors
import ApusService
import ApusTestKit
import NIOCore
import NIOPosix
import Testing

@Suite struct TCPLogClientTests {
  @Test(arguments: RecordLogConformance.checks)
  func conforms(_ check: RecordLogConformance.Check) async throws {
    try await DoorHarness.run({ _ in }, log: { $0.createsTopics = false }) { broker in
      let client = broker.client
      do { try await RecordLogConformance(log: client, prefix: "c").run(check) } catch {
        await client.close()
        throw error
      }
      await client.close()
    }
  }

  /// A collector follows by fetching; the statistics show it and how far behind it is, until it goes.
  @Test func aFollowerIsSeenWithItsPosition() async throws {
    try await DoorHarness.run { broker in
      let client = broker.client
      _ = await client.append([AppendRequest(partition: .test, batch: try .of(["a", "b", "c"]))])
      _ = try await client.read(.test, from: 1, maxBytes: 1000, waiting: .zero)
      #expect(broker.door.subscribers.snapshot().isEmpty, "one look is no following")
      _ = try await client.read(.test, from: 1, maxBytes: 1000, waiting: .milliseconds(1))
      let seen = broker.door.subscribers.snapshot()
      #expect(seen.map(\.format) == ["fetch"])
      #expect(seen.map(\.positions) == [[0: 1]])
      _ = try await client.read(.test, from: 3, maxBytes: 1000, waiting: .milliseconds(1))
      #expect(broker.door.subscribers.snapshot().map(\.positions) == [[0: 3]])
      await client.close()
    }
  }

  @Test func noBrokerIsSaidClearly() async throws {
    let port = try await freePort()
    let client = TCPLogClient(.init(address: ListenAddress(host: "127.0.0.1", port: port)), seed: 1)
    await #expect(throws: LogError.self) { try await client.topics() }
    let results = await client.append([AppendRequest(partition: .test, batch: try .of(["x"]))])
    guard case .failure(.unreachable(let sentence)) = try #require(results.first) else {
      Issue.record("\(results)")
      return
    }
    #expect(sentence.contains("127.0.0.1:\(port)"))
    #expect(sentence.contains("refused"))
    await client.close()
  }

  /// The server takes what comes and hangs up: the appends fail, and the bytes were sent once only.
  @Test func aLostConnectionFailsAppendsAndRepeatsNothing() async throws {
    let received = Counter()
    let server = try await Self.serve { channel in HangUp(received) }
    let port = try #require(server.localAddress?.port)
    let client = TCPLogClient(.init(address: ListenAddress(host: "127.0.0.1", port: port)), seed: 1)
    let batch = try RecordBatch.of([String(repeating: "x", count: 1000)])
    let results = await client.append([
      AppendRequest(partition: .test, batch: batch), AppendRequest(partition: .test, batch: batch),
    ])
    #expect(results.count == 2)
    for result in results {
      guard case .failure(.unreachable) = result else {
        Issue.record("\(result)")
        continue
      }
    }
    #expect(received.value == 1, "a connection was made again without being asked")
    await client.close()
    try await server.close()
  }

  @Test func aSilentBrokerTimesOut() async throws {
    let server = try await Self.serve { _ in Silence() }
    let port = try #require(server.localAddress?.port)
    var configuration = TCPLogClient.Configuration(address: ListenAddress(host: "127.0.0.1", port: port))
    configuration.requestTimeout = .milliseconds(50)
    let client = TCPLogClient(configuration, seed: 1)
    do {
      _ = try await client.topics()
      Issue.record("an answer came from nowhere")
    } catch {
      guard case .unreachable(let sentence) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(sentence.contains("did not answer within 50ms"))
    }
    await client.close()
    try await server.close()
  }

  @Test func itComesBackAfterTheBrokerDoes() async throws {
    let port = try await freePort()
    var configuration = TCPLogClient.Configuration(address: ListenAddress(host: "127.0.0.1", port: port))
    configuration.reconnectInitial = .milliseconds(1)
    configuration.reconnectMax = .milliseconds(10)
    let client = TCPLogClient(configuration, seed: 1)
    for round in 0..<3 {
      try await DoorHarness.run({ $0.listen.port = port }) { _ in
        // The first call of a round may meet the end of the last round's connection.
        var results = await client.append([AppendRequest(partition: .test, batch: try .of(["a\(round)"]))])
        while case .failure(.unreachable)? = results.first {
          results = await client.append([AppendRequest(partition: .test, batch: try .of(["a\(round)"]))])
        }
        #expect(try results.map { try $0.get().baseOffset } == [0])
        let slice = try await client.read(.test, from: 0, maxBytes: 1000, waiting: .zero)
        #expect(try slice.batches.flatMap { try $0.values } == ["a\(round)"])
      }
    }
    await client.close()
  }

  @Test func manyAppendsAtOnceAllComeBack() async throws {
    try await DoorHarness.run { broker in
      var configuration = broker.client.configuration
      configuration.inFlightBytesMax = .kibibytes(4)
      let client = TCPLogClient(configuration, seed: 1)
      let offsets = try await withThrowingTaskGroup(of: Int64.self) { group in
        for index in 0..<200 {
          let batch = try RecordBatch.of(["\(index)" + String(repeating: "y", count: 500)])
          group.addTask {
            try await client.append([AppendRequest(partition: .test, batch: batch)])[0].get().baseOffset
          }
        }
        return try await group.reduce(into: Set<Int64>()) { $0.insert($1) }
      }
      #expect(offsets == Set(0..<200))
      await client.close()
    }
  }

  @Test(arguments: [
    ("tcp://127.0.0.1:9000", "127.0.0.1:9000"), ("tcp://broker", "broker:9000"), ("tcp://[::1]:1/", "[::1]:1"),
    ("tcp://[::1]", "[::1]:9000"),
  ])
  func addresses(url: String, address: String) throws {
    #expect(try TCPLogClient.Configuration(url: url).address.description == address)
  }

  @Test(arguments: ["127.0.0.1:9000", "http://x:1", "tcp://", "tcp://x:y", "tcp://x:70000"])
  func wrongAddresses(url: String) {
    #expect(throws: ServiceError.self) { try TCPLogClient.Configuration(url: url) }
  }

  /// A port that was free a moment ago.
  private func freePort() async throws -> Int {
    let server = try await Self.serve { _ in Silence() }
    let port = try #require(server.localAddress?.port)
    try await server.close()
    return port
  }

  private static func serve(
    _ handler: @escaping @Sendable (any Channel) -> any ChannelHandler & Sendable
  ) async throws -> any Channel {
    try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in channel.pipeline.addHandler(handler(channel)) }
      .bind(host: "127.0.0.1", port: 0).get()
  }
}

/// Takes the first bytes and closes.
private final class HangUp: ChannelInboundHandler, Sendable {
  typealias InboundIn = ByteBuffer
  private let connections: Counter

  init(_ connections: Counter) { self.connections = connections }

  func channelActive(context: ChannelHandlerContext) { connections.add() }
  func channelRead(context: ChannelHandlerContext, data: NIOAny) { context.close(promise: nil) }
}

/// Takes everything and says nothing.
private final class Silence: ChannelInboundHandler, Sendable {
  typealias InboundIn = ByteBuffer
  func channelRead(context: ChannelHandlerContext, data: NIOAny) {}
}
