import ApusIO
import ApusModel
import ApusStore
import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import Synchronization

/// The store of another process, reached over HTTP (docs/reference/store-protocol.md): `apus collect` owns and serves
/// it, `apus api` and `apus alert` read it through this.
///
/// Every call is one request. Nothing is cached and nothing is tried again: whoever asked knows better whether to. A
/// process that is away, an answer that was cut off and one that makes no sense are each a `StoreError.unreachable`.
package final class HTTPStore: Store {
  /// What may be set. All of it has defaults.
  package struct Configuration: Sendable {
    package var connectTimeout = Duration.seconds(5)
    /// How long the other side may be silent, before and within its answer.
    package var readTimeout = Duration.seconds(60)
    /// How long a whole answer may take.
    package var requestTimeout = Duration.seconds(120)
    /// How long a flush, a compaction or a snapshot may take, silence included.
    package var workTimeout = Duration.seconds(86_400)
    /// The most samples to take in one answer where the request names no bound.
    package var samplesMax = 50_000_000
    /// The most bytes of an answer that is no select.
    package var answerBytesMax = 256 << 20
    /// The most bytes of a request: batches are refused above it.
    package var requestBytesMax = 64 << 20

    package init() {}
  }

  private let base: String
  private let configuration: Configuration
  private let client: HTTPClient
  /// The same without a bound of silence: for what answers when it is done.
  private let patientClient: HTTPClient
  private let isClosed = Mutex(false)

  /// - Parameter url: `http://HOST:PORT`, with or without a path that a proxy wants before ours.
  package init(url: String, _ configuration: Configuration = Configuration()) throws(StoreError) {
    let isHTTP = url.hasPrefix("http://") || url.hasPrefix("https://")
    guard isHTTP, let host = url.split(separator: "/", omittingEmptySubsequences: true).dropFirst().first,
      !host.isEmpty, !url.contains("?"), !url.contains("#"), !url.utf8.contains(where: { $0 <= 0x20 || $0 >= 0x7f })
    else {
      throw .invalidConfiguration(setting: "--store", reason: "is \"\(url)\"; write it like http://127.0.0.1:9003")
    }
    base = url.hasSuffix("/") ? String(url.dropLast()) : url
    self.configuration = configuration
    var settings = HTTPClient.Configuration(
      redirectConfiguration: .disallow,
      timeout: HTTPClient.Configuration.Timeout(
        connect: TimeAmount(configuration.connectTimeout), read: TimeAmount(configuration.readTimeout)),
      decompression: .disabled)
    settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 16
    client = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: settings)
    settings.timeout.read = nil
    patientClient = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: settings)
  }

  deinit {
    // A client must be told to stop before it goes.
    if isClosed.withLock({ $0 }) { return }
    Task { [client, patientClient] in
      try? await client.shutdown()
      try? await patientClient.shutdown()
    }
  }

  package func append(_ batch: StoreBatch) async throws(StoreError) -> AppendOutcome {
    let frames: [StoreWire.Frame]
    do throws(StoreWireError) { frames = try StoreWire.frames(of: batch) } catch { throw .refused("\(error)") }
    let answer = try await ask("append", frames, expecting: .outcome)
    return try only(answer, "append", StoreWire.decodeOutcome)
  }

  package func positions() async throws(StoreError) -> [LogPartition: StorePosition] {
    try only(try await ask("positions", [], expecting: .positions), "positions", StoreWire.decodePositions)
  }

  package func select(_ request: SelectRequest) async throws(StoreError) -> [SeriesColumn] {
    let question = StoreQuestion(
      request.matchers, in: request.range, newest: request.newest, maxSamples: request.maxSamples)
    var assembly = StoreColumnAssembly(maxSamples: request.maxSamples ?? configuration.samplesMax)
    try await send("select", [HTTPStore.frame(question)], bytesMax: .max) { frame in assembly.take(frame) }
    return assembly.finish()
  }

  package func aggregate(_ request: AggregateRequest) async throws(StoreError) -> AggregateAnswer {
    let question = StoreQuestion(request.matchers, in: request.range, maxSamples: request.maxSamples)
    var assembly = StoreAggregateAssembly(maxWindows: request.maxSamples ?? configuration.samplesMax)
    let frames = [HTTPStore.frame(question), StoreWire.frame(ofWindows: request)]
    try await send("aggregate", frames, bytesMax: .max) { frame in assembly.take(frame) }
    guard let answer = assembly.finish() else { throw invalid("aggregate", "it says nothing of its spans") }
    return answer
  }

  package func series(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [Labels] {
    let frames = try await ask("series", [HTTPStore.frame(StoreQuestion(matchers, in: range))], expecting: .labels)
    return try all(frames, "series", StoreWire.decodeLabels)
  }

  package func labelNames(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [String] {
    let question = StoreQuestion(matchers, in: range)
    let frames = try await ask("label-names", [HTTPStore.frame(question)], expecting: .strings)
    return try all(frames, "label-names", StoreWire.decodeStrings)
  }

  package func labelValues(
    _ label: String, _ matchers: [Matcher], in range: TimeRange
  ) async throws(StoreError) -> [String] {
    let question = StoreQuestion(matchers, in: range, label: label)
    let frames = try await ask("label-values", [HTTPStore.frame(question)], expecting: .strings)
    return try all(frames, "label-values", StoreWire.decodeStrings)
  }

  package func descriptors() async throws(StoreError) -> [MetricDescriptor] {
    try only(try await ask("descriptors", [], expecting: .descriptors), "descriptors", StoreWire.decodeDescriptors)
  }

  package func delete(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) {
    _ = try await ask("delete", [HTTPStore.frame(StoreQuestion(matchers, in: range))], expecting: nil)
  }

  @discardableResult
  package func flush() async throws(StoreError) -> StoreWork {
    try only(try await ask("flush", [], expecting: .work, isLong: true), "flush", StoreWire.decodeWork)
  }

  @discardableResult
  package func compact() async throws(StoreError) -> StoreWork {
    try only(try await ask("compact", [], expecting: .work, isLong: true), "compact", StoreWire.decodeWork)
  }

  package func snapshot(named name: SnapshotName) async throws(StoreError) -> SnapshotSummary {
    let frames = try await ask("snapshot", [StoreWire.frame(asking: name)], expecting: .snapshot, isLong: true)
    return try only(frames, "snapshot", StoreWire.decodeSnapshot)
  }

  package func statistics() async throws(StoreError) -> StoreStatistics {
    try only(try await ask("statistics", [], expecting: .statistics), "statistics", StoreWire.decodeStatistics)
  }

  /// Lets go of the connections. The store itself stays open: it belongs to the other process.
  package func close() async throws(StoreError) {
    let wasClosed = isClosed.withLock { closed in
      defer { closed = true }
      return closed
    }
    if wasClosed { return }
    do {
      try await client.shutdown()
      try await patientClient.shutdown()
    } catch { throw .unreachable("the connections to \(base) did not end: \(error)") }
  }

  private static func frame(_ question: StoreQuestion) -> StoreWire.Frame {
    StoreWire.Frame(kind: .request, payload: StoreWire.encode(question))
  }
}

extension HTTPStore {
  /// Sends a request and collects the frames of its answer, which must all be of one kind; nil when there may be none.
  private func ask(
    _ path: String, _ frames: [StoreWire.Frame], expecting kind: StoreWire.FrameKind?, isLong: Bool = false
  ) async throws(StoreError) -> [StoreWire.Frame] {
    var answer: [StoreWire.Frame] = []
    try await send(path, frames, bytesMax: configuration.answerBytesMax, isLong: isLong) { frame in
      guard frame.kind == kind else { return "a frame of kind \(frame.kind) is not part of the answer" }
      answer.append(frame)
      return nil
    }
    return answer
  }

  /// Decodes an answer of exactly one frame.
  private func only<Value>(
    _ frames: [StoreWire.Frame], _ path: String, _ decode: ([UInt8]) throws(ByteReaderError) -> Value
  ) throws(StoreError) -> Value {
    guard frames.count == 1 else { throw invalid(path, "\(frames.count) frames where one was expected") }
    do throws(ByteReaderError) { return try decode(frames[0].payload) } catch { throw invalid(path, "\(error)") }
  }

  /// Decodes an answer that is a list over any number of frames.
  private func all<Value>(
    _ frames: [StoreWire.Frame], _ path: String, _ decode: ([UInt8]) throws(ByteReaderError) -> [Value]
  ) throws(StoreError) -> [Value] {
    var result: [Value] = []
    for frame in frames {
      do throws(ByteReaderError) { result += try decode(frame.payload) } catch { throw invalid(path, "\(error)") }
    }
    return result
  }

  private func invalid(_ path: String, _ reason: String) -> StoreError {
    .unreachable("the answer of \(base)/store/v1/\(path) is not understood: \(reason)")
  }

  /// Sends a request and hands each frame of the answer to `take`, which says what is wrong with it, or nil.
  private func send(
    _ path: String, _ frames: [StoreWire.Frame], bytesMax: Int, isLong: Bool = false,
    _ take: (StoreWire.Frame) -> String?
  ) async throws(StoreError) {
    if isClosed.withLock({ $0 }) { throw .closed }
    var message = StoreWireWriter()
    for frame in frames { message.write(frame.kind, frame.payload) }
    message.finish()
    let body = message.take()
    guard body.count <= configuration.requestBytesMax else {
      throw .refused("a request of \(body.count) bytes is beyond the limit of \(configuration.requestBytesMax)")
    }
    var request = HTTPClientRequest(url: "\(base)/store/v1/\(path)")
    request.method = .POST
    request.headers.add(name: "Content-Type", value: StoreWire.mediaType)
    request.body = .bytes(ByteBuffer(bytes: body))
    do {
      let response = try await (isLong ? patientClient : client).execute(
        request, deadline: .now() + TimeAmount(isLong ? configuration.workTimeout : configuration.requestTimeout))
      try await read(response, path, bytesMax: bytesMax, take)
    } catch let error as StoreError {
      throw error
    } catch {
      throw HTTPStore.unreachable(base, error)
    }
  }

  private func read(
    _ response: HTTPClientResponse, _ path: String, bytesMax: Int, _ take: (StoreWire.Frame) -> String?
  ) async throws {
    guard response.headers.first(name: "Content-Type") == StoreWire.mediaType else {
      throw try await foreign(response, path)
    }
    var reader = StoreWireReader()
    var received = 0
    do {
      for try await part in response.body {
        received += part.readableBytes
        guard received <= bytesMax else {
          throw StoreError.refused("the answer of \(base) is larger than the limit of \(bytesMax) bytes")
        }
        reader.feed(part.readableBytesView)
        while let frame = try reader.next() {
          if frame.kind == .error { throw try StoreWire.decodeError(frame.payload) }
          if let reason = take(frame) { throw invalid(path, "frame \(reader.frame): \(reason)") }
        }
      }
      // One more look: an end of the stream is only right behind the end frame.
      _ = try reader.next()
      guard reader.isFinished else { throw StoreWireError.truncated }
    } catch let error as StoreWireError {
      throw invalid(path, "\(error)")
    } catch let error as ByteReaderError {
      throw invalid(path, "\(error)")
    }
  }

  /// An answer by somebody else on the way, or by a server that has no store.
  private func foreign(_ response: HTTPClientResponse, _ path: String) async throws -> StoreError {
    let text = (try? await response.body.collect(upTo: 4096)).map {
      String(decoding: $0.readableBytesView, as: UTF8.self)
    }
    switch response.status.code {
    case 404, 405, 415:
      return .unreachable(
        "\(base) answers but serves no store; --store takes the address of apus collect (its --http-listen)")
    case 413: return .refused("\(base) does not take a request of that size; raise its limit or send smaller batches")
    default: return .unreachable("\(base) answered \(response.status.code): \(text?.prefix(512) ?? "")")
    }
  }

  private static func unreachable(_ base: String, _ error: any Error) -> StoreError {
    switch error {
    case let error as HTTPClientError
    where error == .connectTimeout || error == .deadlineExceeded || error == .readTimeout:
      .unreachable("the store at \(base) did not answer in time; is its process alive and its address right?")
    case is CancellationError: .unreachable("the request to \(base) was given up")
    default: .unreachable("the store at \(base) cannot be reached: \(error); is apus collect running there?")
    }
  }
}

extension TimeAmount {
  fileprivate init(_ duration: Duration) {
    self = .nanoseconds(duration.components.seconds * 1_000_000_000 + duration.components.attoseconds / 1_000_000_000)
  }
}
