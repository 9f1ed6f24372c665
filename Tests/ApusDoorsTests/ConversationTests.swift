// Goal: the TCP door answers as docs/protocol.md says. Method: conversations over real sockets on loopback, one a test.
import ApusBroker
import ApusDoors
import ApusService
import Testing

@Suite struct ConversationTests {
  @Test func pingIsAnswered() async throws {
    try await DoorHarness.run { broker in
      let client = try await SocketClient.connect(port: broker.port)
      #expect(try await client.ask(#"{"type":"ping","id":7}"#)?.json == ["type": "pong", "id": 7])
      #expect(try await client.ask(#"{"type":"ping"}"#)?.json == ["type": "pong"])
      await client.close()
    }
  }

  @Test func aMessageGoesInAndComesOut() async throws {
    try await DoorHarness.run { broker in
      let client = try await SocketClient.connect(port: broker.port)
      let published = try await client.ask(
        #"{"type":"publish","id":1,"topic":"t","partition":0,"message":{"key":"k","value":"é\n","timestamp":5,"#
          + #""headers":{"content-type":"text/plain"}}}"#)
      #expect(
        published?.json == [
          "type": "published", "id": 1, "topic": "t", "partition": 0, "base_offset": 0, "count": 1, "duplicate": false,
        ])
      let subscribed = try await client.ask(
        #"{"type":"subscribe","id":2,"topic":"t","partition":0,"from":"earliest","credit_messages":10}"#)
      #expect(subscribed?["type"] == "subscribed")
      #expect(subscribed?["partitions"]?[0]?["offset"] == 0)
      let messages = await client.next()
      #expect(messages?["type"] == "messages")
      #expect(messages?["next_offset"] == 1)
      #expect(messages?["messages"]?.count == 1)
      #expect(
        messages?["messages"]?[0] == [
          "offset": 0, "timestamp": 5, "key": "k", "value": "é\n", "headers": .object(["content-type": "text/plain"]),
        ])
      await client.close()
    }
  }

  @Test func binaryAndNullValuesSurvive() async throws {
    try await DoorHarness.run { broker in
      let client = try await SocketClient.connect(port: broker.port)
      _ = try await client.ask(
        #"{"type":"publish","topic":"t","messages":[{"value_base64":"/wA=","key_base64":"/w=="},{"value":null}]}"#)
      _ = try await client.ask(#"{"type":"subscribe","topic":"t","from":"earliest","credit_messages":10}"#)
      let messages = await client.next()?["messages"]
      #expect(messages?[0]?["value_base64"] == "/wA=")
      #expect(messages?[0]?["key_base64"] == "/w==")
      #expect(messages?[1]?["value"] == .null)
      #expect(messages?[1]?["key"] == nil)
      await client.close()
    }
  }

  @Test func pipelinedPublishesAreAnsweredInOrderAndShareABatch() async throws {
    try await DoorHarness.run { broker in
      let client = try await SocketClient.connect(port: broker.port)
      var bytes: [UInt8] = []
      for id in 0..<500 {
        bytes += SocketClient.frame(#"{"type":"publish","id":\#(id),"topic":"t","message":{"value":"v\#(id)"}}"#)
      }
      try await client.sendRaw(bytes)
      for id in 0..<500 {
        let answer = await client.next()
        #expect(answer?["id"] == .integer(Int64(id)))
        #expect(answer?["base_offset"] == .integer(Int64(id)))
      }
      let batches = try await broker.log.read(.test, from: 0, maxBytes: 1 << 20, waiting: .zero).batches
      #expect(batches.count < 100, "500 messages in \(batches.count) batches")
      #expect(try batches.flatMap { try $0.values } == (0..<500).map { "v\($0)" })
      await client.close()
    }
  }

  @Test func aWrongMessageAmongPipelinedOnesFailsAlone() async throws {
    try await DoorHarness.run { broker in
      let client = try await SocketClient.connect(port: broker.port)
      var bytes = SocketClient.frame(#"{"type":"publish","id":1,"topic":"t","message":{"value":"a"}}"#)
      bytes += SocketClient.frame(
        #"{"type":"publish","id":2,"topic":"t","messages":[{"value":"x"},{"value_base64":"!!!!"}]}"#)
      bytes += SocketClient.frame(#"{"type":"nonsense","id":3}"#)
      bytes += SocketClient.frame(#"{"type":"publish","id":4,"topic":"t","message":{"value":"b"}}"#)
      bytes += SocketClient.frame(#"{"type":"publish","id":5,"topic":"t"}"#)
      bytes += SocketClient.frame(#"{"type":"publish","id":6,"topic":"#)
      bytes += SocketClient.frame(#"{"type":"publish","id":7,"topic":"t","message":{"value":"c"}}"#)
      try await client.sendRaw(bytes)
      #expect(await client.next()?["base_offset"] == 0)
      #expect(await client.next()?["code"] == "invalid_request")
      let unknown = await client.next()
      #expect(unknown?["code"] == "unknown_type")
      #expect(unknown?["id"] == 3)
      #expect(unknown?["fatal"] == false)
      #expect(await client.next()?["base_offset"] == 1)
      #expect(await client.next()?["code"] == "invalid_request")
      #expect(await client.next()?["code"] == "invalid_json")
      #expect(await client.next()?["base_offset"] == 2)
      let slice = try await broker.log.read(.test, from: 0, maxBytes: 1 << 20, waiting: .zero)
      #expect(try slice.batches.flatMap { try $0.values } == ["a", "b", "c"])
      await client.close()
    }
  }

  @Test func theClientIsARecordLog() async throws {
    try await DoorHarness.run { broker in
      let client = broker.client
      let results = await client.append([
        AppendRequest(partition: .test, batch: try .of(["a", "b"])),
        AppendRequest(partition: .test, batch: try .of(["c"], compression: .zstd)),
      ])
      #expect(try results.map { try $0.get().baseOffset } == [0, 2])
      let slice = try await client.read(.test, from: 1, maxBytes: 1 << 20, waiting: .zero)
      #expect(slice.highWatermark == 3)
      #expect(try slice.batches.flatMap { try $0.values } == ["a", "b", "c"])
      #expect(try await client.read(.test, from: 3, maxBytes: 1 << 20, waiting: .zero).batches.isEmpty)
      #expect(try await client.topics().map { $0.name.text } == ["t"])
      await client.close()
    }
  }
}
