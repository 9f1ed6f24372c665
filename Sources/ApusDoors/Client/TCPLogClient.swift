import ApusBroker
import ApusIO
import ApusService
import NIOCore
import NIOPosix
import Synchronization

/// A log behind another process's TCP door (`tcp://HOST:PORT`).
///
/// Two connections, each made when first needed: one for appends and questions, one for reads, so that a long read
/// holds no append up. A lost connection fails what waits on it with `LogError.unreachable` and is made again, after a
/// pause that grows, by the next call. An append that fails so may or may not have happened: repeat it with the same
/// producer and sequence.
package final class TCPLogClient: RecordLog {
  package struct Configuration: Sendable {
    package var address: ListenAddress
    package var connectTimeout = Duration.seconds(5)
    /// From sending a request to its answer; a read's own waiting comes on top.
    package var requestTimeout = Duration.seconds(60)
    /// A connection that has sent nothing for so long sends a ping, so that neither side takes the other for gone.
    package var pingInterval = Duration.seconds(30)
    /// Pauses between attempts to connect.
    package var reconnectInitial = Duration.milliseconds(50)
    package var reconnectMax = Duration.seconds(5)
    /// Bytes sent and not answered; appends wait above it.
    package var inFlightBytesMax = ByteCount.mebibytes(16)
    /// The most bytes of a request's frame; what the door allows by default.
    package var frameBytesMax = ByteCount.mebibytes(9)
    /// The most bytes of an answer's frame.
    package var answerBytesMax = ByteCount.mebibytes(64)

    package init(address: ListenAddress) { self.address = address }

    /// Reads `tcp://HOST:PORT`; without a port 9000 is meant.
    package init(url: String) throws(ServiceError) {
      guard url.hasPrefix("tcp://") else {
        throw .invalidAddress(text: url, reason: "a broker's address begins with tcp://")
      }
      var text = String(url.dropFirst(6))
      if text.hasSuffix("/") { text.removeLast() }
      let isWithoutPort = text.hasSuffix("]") || !text.contains(":")
      address = try ListenAddress.parse(isWithoutPort && !text.isEmpty ? text + ":9000" : text)
    }

    var tick: Duration { min(max(min(requestTimeout, pingInterval) / 4, .milliseconds(5)), .seconds(1)) }

    func ticks(_ time: Duration) -> Int { max(1, Int(time.wholeNanoseconds / tick.wholeNanoseconds) + 1) }
  }

  package let configuration: Configuration
  private let writing: ClientConnection
  private let reading: ClientConnection
  private let clock: any WallClock

  /// - Parameter seed: of the pauses between attempts; give each process its own.
  package init(
    _ configuration: Configuration, seed: UInt64, clock: any WallClock = SystemClock(),
    group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
  ) {
    self.configuration = configuration
    self.clock = clock
    writing = ClientConnection(configuration, clock: clock, group: group, seed: seed)
    reading = ClientConnection(configuration, clock: clock, group: group, seed: seed &+ 1)
  }

  /// Closes both connections; calls that wait, and all later ones, fail with `LogError.shuttingDown`.
  package func close() async {
    await writing.close()
    await reading.close()
  }

  package func append(_ requests: [AppendRequest]) async -> [Result<AppendReceipt, LogError>] {
    if requests.isEmpty { return [] }
    return await withCheckedContinuation { continuation in
      let call = AppendCall(requests, limit: configuration.frameBytesMax.bytes, continuation)
      if call.sendable.isEmpty { return }
      Task {
        await writing.send(
          count: call.sendable.count, bytes: call.bytes,
          build: { TCPLogClient.publishFrames(call.sendable.map { requests[$0] }, $0) },
          complete: { index, result in call.complete(call.sendable[index], result) })
      }
    }
  }

  package func read(
    _ partition: TopicPartition, from offset: Int64, maxBytes: Int, waiting: Duration
  ) async throws(LogError) -> LogSlice {
    let begin = clock.monotonicNanoseconds
    var rest = waiting
    while true {
      // Long waits are cut: the door bounds them, and a fetch that nobody waits for any more ends soon.
      let wait = max(.zero, min(rest, TCPLogClient.fetchWait))
      let slice = try await fetch(partition, offset, maxBytes, wait)
      rest = waiting - .nanoseconds(Int64(clamping: clock.monotonicNanoseconds &- begin))
      if !slice.batches.isEmpty || rest <= .zero { return slice }
    }
  }

  /// How long one fetch waits at the door.
  private static let fetchWait = Duration.seconds(5)

  private func fetch(
    _ partition: TopicPartition, _ offset: Int64, _ maxBytes: Int, _ wait: Duration
  ) async throws(LogError) -> LogSlice {
    let (answer, payload) = try await reading.request(extraWait: wait) { id in
      var writer = FrameWriter()
      writer.frame("fetch", id: id) { json in
        TCPLogClient.members(of: partition, &json)
        json.key("offset")
        json.integer(offset)
        json.key("max_bytes")
        json.integer(min(max(1, maxBytes), Int(Int32.max)))
        json.key("wait_ms")
        json.integer(wait.wholeNanoseconds / 1_000_000)
      }
      return writer.take()
    }
    guard answer.kind == .fetched, let highWatermark = answer.highWatermark, let logStart = answer.logStart else {
      throw .protocolViolation("a fetch was answered without its marks")
    }
    return LogSlice(batches: try TCPLogClient.batches(payload), highWatermark: highWatermark, logStart: logStart)
  }

  package func createTopic(_ name: TopicName, _ configuration: TopicConfiguration) async throws(LogError) {
    _ = try await writing.request { id in
      var writer = FrameWriter()
      writer.frame("create_topic", id: id) { json in
        json.key("topic")
        json.string(name.text)
        json.key("partitions")
        json.integer(Int64(configuration.partitions))
        let settings: [(StaticString, Int64?)] = [
          ("retention_ms", configuration.retentionMilliseconds), ("retention_bytes", configuration.retentionBytes),
          ("segment_bytes", configuration.segmentBytes),
          ("max_message_bytes", configuration.maxMessageBytes.map { Int64($0) }),
        ]
        for (key, value) in settings {
          guard let value else { continue }
          json.key(key)
          json.integer(value)
        }
      }
      return writer.take()
    }
  }

  package func deleteTopic(_ name: TopicName) async throws(LogError) {
    _ = try await writing.request { id in
      var writer = FrameWriter()
      writer.frame("delete_topic", id: id) { json in
        json.key("topic")
        json.string(name.text)
      }
      return writer.take()
    }
  }

  package func topics() async throws(LogError) -> [TopicDescription] {
    try await writing.request { id in
      var writer = FrameWriter()
      writer.frame("topics", id: id)
      return writer.take()
    }.answer.topics
  }

  package func offset(of position: OffsetPosition, in partition: TopicPartition) async throws(LogError) -> Int64 {
    let (answer, _) = try await writing.request { id in
      var writer = FrameWriter()
      writer.frame("offset", id: id) { json in
        TCPLogClient.members(of: partition, &json)
        json.key("from")
        switch position {
        case .earliest: json.string("earliest" as StaticString)
        case .latest: json.string("latest" as StaticString)
        case .timestamp(let time):
          json.beginObject()
          json.key("timestamp")
          json.integer(time)
          json.endObject()
        }
      }
      return writer.take()
    }
    guard let offset = answer.offset else { throw .protocolViolation("an offset was answered without its number") }
    return offset
  }

  package func registerProducer() async throws(LogError) -> ProducerIdentity {
    let (answer, _) = try await writing.request { id in
      var writer = FrameWriter()
      writer.frame("register_producer", id: id)
      return writer.take()
    }
    guard let id = answer.producerID, let epoch = answer.epoch.flatMap({ Int16(exactly: $0) }) else {
      throw .protocolViolation("a producer was registered without its id and epoch")
    }
    return ProducerIdentity(id: id, epoch: epoch)
  }

  /// What a failed connection means, without the library's own words where they can be had.
  static func reason(_ error: any Error) -> String {
    if let error = error as? NIOConnectionError {
      if let dns = error.dnsAError ?? error.dnsAAAAError { return "\(dns)" }
      if let first = error.connectionErrors.first { return reason(first.error) }
    }
    if let error = error as? ChannelError, case .connectTimeout = error { return "it does not answer" }
    if let error = error as? IOError { return error.description }
    return "\(error)"
  }

  private static func members(of partition: TopicPartition, _ json: inout JSONWriter) {
    json.key("topic")
    json.string(partition.topic.text)
    json.key("partition")
    json.integer(Int64(partition.partition))
  }

  private static func publishFrames(_ requests: [AppendRequest], _ numbers: [Int64]) -> [UInt8] {
    var writer = FrameWriter()
    for (request, number) in zip(requests, numbers) {
      writer.frame("publish", id: number, payload: [request.batch.bytes]) { json in
        members(of: request.partition, &json)
        json.key("batch")
        json.boolean(true)
      }
    }
    return writer.take()
  }

  /// Cuts a payload into its batches and checks each.
  private static func batches(_ payload: ByteBuffer) throws(LogError) -> [RecordBatch] {
    try payload.withUnsafeReadableBytes { bytes throws(LogError) in
      var result: [RecordBatch] = []
      var position = 0
      while position < bytes.count {
        let rest = UnsafeRawBufferPointer(rebasing: bytes[position...])
        guard rest.count >= RecordBatchHeader.byteCount else {
          throw .protocolViolation("a payload ends within a batch")
        }
        let header = RecordBatchHeader(rest)
        if let problem = header.problem(limit: rest.count) { throw .invalidBatch(problem) }
        result.append(try RecordBatch(validating: [UInt8](rest[..<header.totalBytes])))
        position += header.totalBytes
      }
      return result
    }
  }
}

/// One call of `append` that waits for the answers to its frames.
private final class AppendCall: Sendable {
  private struct State {
    var results: [Result<AppendReceipt, LogError>?]
    var missing: Int
  }

  /// The requests that are small enough to be sent, by index.
  let sendable: [Int]
  let bytes: Int
  private let state: Mutex<State>
  private let continuation: CheckedContinuation<[Result<AppendReceipt, LogError>], Never>

  init(
    _ requests: [AppendRequest], limit: Int,
    _ continuation: CheckedContinuation<[Result<AppendReceipt, LogError>], Never>
  ) {
    self.continuation = continuation
    // Some room for the frame's object.
    let payloadMax = limit - 1024
    var results = [Result<AppendReceipt, LogError>?](repeating: nil, count: requests.count)
    var sendable: [Int] = []
    var total = 0
    for (index, request) in requests.enumerated() {
      let size = request.batch.bytes.count
      if size > payloadMax {
        results[index] = .failure(.messageTooLarge(bytes: size, limit: payloadMax))
      } else {
        sendable.append(index)
        total += size
      }
    }
    self.sendable = sendable
    bytes = total
    state = Mutex(State(results: results, missing: sendable.count))
    if sendable.isEmpty { continuation.resume(returning: results.compactMap { $0 }) }
  }

  func complete(_ index: Int, _ result: AnswerResult) {
    let receipt = AppendCall.receipt(result)
    let all = state.withLock { state -> [Result<AppendReceipt, LogError>]? in
      precondition(state.results[index] == nil, "request \(index) was answered twice")
      state.results[index] = receipt
      state.missing -= 1
      return state.missing == 0 ? state.results.compactMap { $0 } : nil
    }
    if let all { continuation.resume(returning: all) }
  }

  private static func receipt(_ result: AnswerResult) -> Result<AppendReceipt, LogError> {
    switch result {
    case .failure(let error): return .failure(error)
    case .success(let (answer, _)):
      if let error = answer.error { return .failure(error.logError) }
      guard answer.kind == .published, let offset = answer.baseOffset, let count = answer.count else {
        return .failure(.protocolViolation("a publish was answered without its offsets"))
      }
      return .success(
        AppendReceipt(baseOffset: offset, recordCount: Int(clamping: count), isDuplicate: answer.isDuplicate))
    }
  }
}
