// Goal: the store of another process is a store like any other, and every way in which the way to it can fail is an
// error that says so and never a shorter answer. Method: the conformance suite over a real server on the loopback; then
// answers that are cut, changed, too large, foreign or absent.

import ApusAPI
import ApusAdapters
import ApusModel
import ApusStore
import ApusTestKit
import NIOCore
import NIOPosix
import Testing

@Suite(.serialized) struct HTTPStoreTests {
  @Test func itIsAStoreLikeAnyOther() async throws {
    let serving = StoreServing()
    let suite = StoreConformance {
      var configuration = MemoryStore.Configuration()
      configuration.seriesLimit = 1000
      return try await serving.serve(try MemoryStore(clock: ManualClock(), configuration: configuration))
    }
    do {
      try await suite.run()
    } catch {
      await serving.stop()
      throw error
    }
    await serving.stop()
  }

  @Test func aLargeAnswerComesWholeAndSharesItsTimestamps() async throws {
    let fixture = try APIFixture()
    let series = (1...40).flatMap { APIFixture.series(node: $0, gpus: 8) }
    for minute in 0..<600 {
      let values = series.indices.map { Double($0) + Double(minute) / 8 }
      try await fixture.append(series, values, at: APIFixture.epoch + Int64(minute) * 60_000)
    }
    let serving = StoreServing()
    let remote = try await serving.serve(fixture.store)
    let request = SelectRequest([.notEqual("UUID", "")])
    let expected = try await fixture.store.select(request)
    let got = try await remote.select(request)
    #expect(got.count == 640)
    #expect(got.reduce(0) { $0 + $1.values.count } == 384_000)
    #expect(zip(got, expected).allSatisfy { $0.labels == $1.labels && $0.timestamps == $1.timestamps })
    #expect(zip(got, expected).allSatisfy { $0.values == $1.values })
    await serving.stop()
  }

  @Test func boundsOfBothSidesHold() async throws {
    let fixture = try APIFixture()
    for second in 0..<100 { try await fixture.appendFleet(nodes: 1, gpus: 1, at: Int64(second) * 1000) }
    let serving = StoreServing()
    var bound = StoreServer.Configuration()
    bound.samplesPerSelectMax = 50
    let remote = try await serving.serve(fixture.store, bound)
    await #expect(throws: StoreError.self) { try await remote.select(SelectRequest([])) }
    do {
      _ = try await remote.select(SelectRequest([], maxSamples: 10_000))
      Issue.record("the server's own bound was not kept")
    } catch StoreError.tooManySamples(_, let limit) {
      #expect(limit == 50)
    }
    #expect(try await remote.select(SelectRequest([], newest: 3, maxSamples: 50)).count == 2)
    var narrow = HTTPStore.Configuration()
    narrow.requestBytesMax = 10
    let small = try await serving.serve(fixture.store, client: narrow)
    await #expect(throws: StoreError.self) { try await small.series([], in: .all) }
    await serving.stop()
  }

  @Test func aClosedClientSaysSo() async throws {
    let serving = StoreServing()
    let remote = try await serving.serve(try MemoryStore(clock: ManualClock()))
    try await remote.close()
    do {
      _ = try await remote.statistics()
      Issue.record("a closed client answered")
    } catch StoreError.closed {}
    await serving.stop()
  }

  @Test(arguments: ["", "127.0.0.1:9003", "http://", "ftp://a", "http://a?b", "http://a b"])
  func anAddressThatCannotBeIsRefused(_ url: String) {
    #expect(throws: StoreError.self) { try HTTPStore(url: url) }
  }

  @Test func nobodyThereIsAnErrorThatSaysWhatToDo() async throws {
    // A port that was free a moment ago and is closed again.
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .bind(host: "127.0.0.1", port: 0).get()
    let port = try #require(channel.localAddress?.port)
    try await channel.close()
    let remote = try HTTPStore(url: "http://127.0.0.1:\(port)")
    do {
      _ = try await remote.statistics()
      Issue.record("nobody answered")
    } catch StoreError.unreachable(let sentence) {
      #expect(sentence.contains("127.0.0.1:\(port)") && sentence.contains("apus collect"))
    }
    try await remote.close()
  }

  /// A server that sends fixed bytes for every connection and closes it.
  private func answering(_ answer: [UInt8], _ body: (HTTPStore) async throws -> Void) async throws {
    let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(FixedAnswer(answer))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    let remote = try HTTPStore(url: "http://127.0.0.1:\(try #require(channel.localAddress?.port))")
    do { try await body(remote) } catch {
      try? await remote.close()
      try? await channel.close()
      throw error
    }
    try await remote.close()
    try await channel.close()
  }

  @Test func anAnswerCutAnywhereIsNeverAShorterAnswer() async throws {
    var message = StoreWireWriter()
    for frame in StoreWire.frames(ofStrings: ["a", "b"]) { message.write(frame.kind, frame.payload) }
    message.finish()
    let whole = message.take()
    func http(_ body: some Collection<UInt8>, length: Int?) -> [UInt8] {
      let head = "HTTP/1.1 200 OK\r\nContent-Type: \(StoreWire.mediaType)\r\nConnection: close\r\n"
      return Array((head + (length.map { "Content-Length: \($0)\r\n" } ?? "") + "\r\n").utf8) + body
    }
    try await answering(http(whole, length: whole.count)) { remote async throws in
      #expect(try await remote.labelNames([], in: .all) == ["a", "b"])
    }
    for cut in 0..<whole.count {
      // Once with a length that HTTP itself misses, once without any, where only the end frame can tell.
      for length in [whole.count, nil] {
        try await answering(http(whole[..<cut], length: length)) { remote async throws in
          do {
            let names = try await remote.labelNames([], in: .all)
            Issue.record("cut at \(cut): answered \(names)")
          } catch StoreError.unreachable {}
        }
      }
    }
    for byte in whole.indices {
      var changed = whole
      changed[byte] ^= 0x10
      try await answering(http(changed, length: whole.count)) { remote async throws in
        do {
          let names = try await remote.labelNames([], in: .all)
          Issue.record("changed at \(byte): answered \(names)")
        } catch StoreError.unreachable {}
      }
    }
  }

  @Test func aServerWithoutAStoreIsTold() async throws {
    let answer = "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}"
    try await answering(Array(answer.utf8)) { remote async throws in
      do {
        _ = try await remote.descriptors()
        Issue.record("a server without a store answered")
      } catch StoreError.unreachable(let sentence) {
        #expect(sentence.contains("serves no store"))
      }
    }
  }
}

/// Answers the first bytes of a connection with fixed ones and closes it.
private final class FixedAnswer: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let answer: [UInt8]
  private var hasAnswered = false

  init(_ answer: [UInt8]) { self.answer = answer }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if hasAnswered { return }
    hasAnswered = true
    let channel = context.channel
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: answer))).whenComplete { _ in
      channel.close(promise: nil)
    }
  }
}
