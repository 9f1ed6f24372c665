// Goal: a client that is wrong, silent, slow or gone costs the others nothing, and is told what was wrong where that
// is possible. Method: such clients on real sockets beside a well-behaved one, which must be served as if it were alone.
import ApusBroker
import ApusDoors
import ApusService
import NIOCore
import Testing

@Suite struct HostileClientTests {
  /// The well-behaved client: a message in, the same message out.
  private func roundTrip(_ broker: DoorHarness, _ value: String) async throws {
    let client = try await SocketClient.connect(port: broker.port)
    let published = try await client.ask(#"{"type":"publish","topic":"good","message":{"value":"\#(value)"}}"#)
    let offset = try #require(published?["base_offset"])
    guard case .integer(let number) = offset else { throw Unexpected(what: "\(offset)") }
    _ = try await client.ask(#"{"type":"subscribe","topic":"good","from":\#(number),"credit_messages":1}"#)
    #expect(await client.next()?["messages"]?[0]?["value"] == .string(value))
    await client.close()
  }

  private struct Unexpected: Error { var what: String }

  /// Every way of breaking the framing: the client is told once, then the connection ends.
  @Test(arguments: [
    ([0x7f, 0xff, 0xff, 0xff, 0x7b], "frame_too_large"),
    ([UInt8]("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), "frame_too_large"),
    ([0, 0, 0, 0], "empty_frame"),
  ])
  func brokenFraming(bytes: [UInt8], code: String) async throws {
    try await DoorHarness.run { broker in
      let client = try await SocketClient.connect(port: broker.port)
      _ = try await client.ask(#"{"type":"ping"}"#)
      try await client.sendRaw(bytes)
      let answer = await client.next()
      #expect(answer?["code"] == .string(code))
      #expect(answer?["fatal"] == true)
      #expect(await client.next() == nil)
      try await roundTrip(broker, "after \(code)")
    }
  }

  /// Requests that are framed well and wrong inside: each is answered and the connection goes on.
  @Test(arguments: [
    ("nonsense", "invalid_json"), ("[]", "invalid_json"), ("{\"type\":\"ping\"", "invalid_json"),
    ("{\"type\":\"ping\"} x", "invalid_json"), ("{}", "invalid_request"), ("{\"type\":7}", "invalid_request"),
    ("{\"type\":\"dance\"}", "unknown_type"), ("{\"type\":\"publish\"}", "invalid_request"),
    ("{\"type\":\"ping\",\"payload_bytes\":3}", "invalid_request"),
    ("{\"type\":\"publish\",\"topic\":\"a b\",\"message\":{\"value\":\"x\"}}", "invalid_topic_name"),
    ("{\"type\":\"publish\",\"topic\":\"t\",\"message\":{}}", "invalid_request"),
    ("{\"type\":\"publish\",\"topic\":\"t\",\"message\":{\"value\":1}}", "invalid_request"),
    ("{\"type\":\"publish\",\"topic\":\"t\",\"messages\":[]}", "invalid_request"),
    ("{\"type\":\"publish\",\"topic\":\"t\",\"partition\":-1,\"message\":{\"value\":\"x\"}}", "invalid_request"),
    ("{\"type\":\"publish\",\"topic\":\"good\",\"partition\":9,\"message\":{\"value\":\"x\"}}", "unknown_partition"),
    ("{\"type\":\"publish\",\"topic\":\"t\",\"producer_id\":1,\"message\":{\"value\":\"x\"}}", "invalid_request"),
    ("{\"type\":\"publish\",\"topic\":\"t\",\"partition\":0,\"batch\":true}", "invalid_request"),
    ("{\"type\":\"publish\",\"topic\":\"t\",\"message\":{\"value\":\"x\",\"timestamp\":\"soon\"}}", "invalid_request"),
    ("{\"type\":\"publish\",\"topic\":\"t\",\"message\":{\"value\":\"x\",\"headers\":{\"a\":1}}}", "invalid_request"),
    ("{\"type\":\"subscribe\",\"topic\":\"none\",\"from\":\"earliest\",\"credit_messages\":1}", "unknown_topic"),
    ("{\"type\":\"subscribe\",\"topic\":\"good\",\"from\":\"earliest\"}", "invalid_request"),
    ("{\"type\":\"subscribe\",\"topic\":\"good\",\"from\":\"now\",\"credit_messages\":1}", "invalid_request"),
    ("{\"type\":\"subscribe\",\"topic\":\"good\",\"from\":99,\"credit_messages\":1}", "offset_out_of_range"),
    ("{\"type\":\"credit\",\"subscription\":9,\"credit_messages\":1}", "unknown_subscription"),
    ("{\"type\":\"unsubscribe\"}", "invalid_request"), ("{\"type\":\"fetch\",\"topic\":\"good\"}", "invalid_request"),
    ("{\"type\":\"fetch\",\"topic\":\"good\",\"partition\":0,\"offset\":99}", "offset_out_of_range"),
    ("{\"type\":\"create_topic\",\"topic\":\"good\"}", "topic_exists"),
    ("{\"type\":\"delete_topic\",\"topic\":\"none\"}", "unknown_topic"),
    ("{\"type\":\"offset\",\"topic\":\"good\",\"partition\":0}", "invalid_request"),
    ("{\"type\":\"ping\",\"id\":1.5}", "invalid_request"), ("{\"type\":\"ping\",\"id\":-1}", "invalid_request"),
  ])
  func wrongRequests(json: String, code: String) async throws {
    try await DoorHarness.run { broker in
      try await roundTrip(broker, "before")
      let client = try await SocketClient.connect(port: broker.port)
      let answer = try await client.ask(json)
      #expect(answer?["type"] == "error")
      #expect(answer?["code"] == .string(code), "\(answer?.json as Any)")
      #expect(answer?["fatal"] == false)
      #expect(try await client.ask(#"{"type":"ping","id":1}"#)?.json == ["type": "pong", "id": 1])
      await client.close()
    }
  }

  @Test func halfAFrameTimesOut() async throws {
    try await DoorHarness.run({ $0.frameTimeout = .milliseconds(60) }) { broker in
      let client = try await SocketClient.connect(port: broker.port)
      try await client.sendRaw([0, 0, 0, 100, 0x7b])
      #expect(await client.next()?["code"] == "frame_timeout")
      #expect(await client.next() == nil)
      try await roundTrip(broker, "after")
    }
  }

  @Test func silenceTimesOut() async throws {
    try await DoorHarness.run({ $0.idleTimeout = .milliseconds(60) }) { broker in
      let client = try await SocketClient.connect(port: broker.port)
      let answer = await client.next()
      #expect(answer?["code"] == "idle_timeout")
      #expect(answer?["fatal"] == true)
      #expect(await client.next() == nil)
    }
  }

  @Test func connectionsBeyondTheBoundAreToldSo() async throws {
    try await DoorHarness.run({ $0.connectionsMax = 2 }) { broker in
      let first = try await SocketClient.connect(port: broker.port)
      let second = try await SocketClient.connect(port: broker.port)
      _ = try await first.ask(#"{"type":"ping"}"#)
      _ = try await second.ask(#"{"type":"ping"}"#)
      let third = try await SocketClient.connect(port: broker.port)
      #expect(await third.next()?["code"] == "too_many_connections")
      #expect(await third.next() == nil)
      #expect(try await first.ask(#"{"type":"ping","id":3}"#)?["id"] == 3)
      await first.close()
      await second.close()
    }
  }

  @Test func subscriptionsAndFetchesHaveBounds() async throws {
    try await DoorHarness.run({
      $0.subscriptionsMax = 2
      $0.fetchesMax = 1
    }) { broker in
      try await roundTrip(broker, "x")
      let client = try await SocketClient.connect(port: broker.port)
      let subscribe = #"{"type":"subscribe","topic":"good","from":"latest","credit_messages":1}"#
      #expect(try await client.ask(subscribe)?["type"] == "subscribed")
      #expect(try await client.ask(subscribe)?["type"] == "subscribed")
      #expect(try await client.ask(subscribe)?["code"] == "too_many_subscriptions")
      #expect(try await client.ask(#"{"type":"unsubscribe","subscription":1}"#)?["type"] == "unsubscribed")
      #expect(try await client.ask(subscribe)?["type"] == "subscribed")
      let fetch = #"{"type":"fetch","topic":"good","partition":0,"offset":1,"wait_ms":60000}"#
      try await client.send(fetch)
      #expect(try await client.ask(fetch)?["code"] == "too_many_fetches")
      await client.close()
    }
  }

  /// Garbage from a seed, framed and unframed, beside a good client. The broker must live and the good one be served.
  @Test func garbageDoesNoHarm() async throws {
    try await DoorHarness.run { broker in
      var random = SplitMix64(seed: 2026)
      for round in 0..<40 {
        let client = try await SocketClient.connect(port: broker.port)
        let noise = (0..<Int.random(in: 1...3000, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
        }
        let bytes = round % 2 == 0 ? noise : withUnsafeBytes(of: UInt32(noise.count).bigEndian) { [UInt8]($0) } + noise
        try? await client.sendRaw(bytes)
        await client.close()
      }
      try await roundTrip(broker, "after the garbage")
    }
  }

  /// 300 subscribers that take nothing off their sockets while a megabyte a time is published.
  @Test func stalledReadersHoldNobodyUpAndCostABoundedPrice() async throws {
    try await DoorHarness.run { broker in
      var stalled: [SocketClient] = []
      let text = String(repeating: "x", count: 100_000)
      let producer = broker.client
      for _ in 0..<300 {
        let client = try await SocketClient.connect(port: broker.port, reads: false)
        stalled.append(client)
      }
      _ = await producer.append([AppendRequest(partition: .test, batch: try .of(["first"]))])
      for client in stalled {
        try await client.send(
          #"{"type":"subscribe","topic":"t","from":"earliest","credit_bytes":1099511627776,"format":"batches"}"#)
      }
      for _ in 0..<20 {
        let results = await producer.append([AppendRequest(partition: .test, batch: try .of([text]))])
        #expect(results.allSatisfy { if case .success = $0 { true } else { false } })
      }
      try await roundTrip(broker, "served")
      // Of 2 MB each was sent what its bound and the two kernels' buffers take, and no more.
      #expect(broker.metrics.bytesDelivered.value < 300 * 1_000_000)
      let reader = try await SocketClient.connect(port: broker.port)
      _ = try await reader.ask(#"{"type":"ping"}"#)
      let statuses = broker.door.subscribers.snapshot()
      #expect(statuses.filter { $0.topic.text == "t" }.count == 300)
      await reader.close()
      for client in stalled { await client.close() }
      await producer.close()
    }
  }

  @Test func aReaderThatStandsStillIsClosed() async throws {
    try await DoorHarness.run({
      $0.stalledReaderTimeout = .milliseconds(100)
      $0.inFlightBytesMax = .kibibytes(64)
    }) { broker in
      let text = String(repeating: "x", count: 400_000)
      let producer = broker.client
      for _ in 0..<8 { _ = await producer.append([AppendRequest(partition: .test, batch: try .of([text]))]) }
      let client = try await SocketClient.connect(port: broker.port, reads: false)
      try await client.send(
        #"{"type":"subscribe","topic":"t","from":"earliest","credit_bytes":1099511627776,"format":"batches"}"#)
      // A client that does not read learns of the end only when it writes.
      let padding = String(repeating: "x", count: 100_000)
      while (try? await client.send(#"{"type":"ping","padding":"\#(padding)"}"#)) != nil { await Task.yield() }
      #expect(broker.metrics.stalledReaders.value == 1)
      await producer.close()
    }
  }
}
