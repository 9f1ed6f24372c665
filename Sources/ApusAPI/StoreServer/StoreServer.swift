import ApusIO
import ApusModel
import ApusService
import ApusStore
import HTTPTypes
import Hummingbird
import NIOCore

/// Serves a store to other processes: the protocol of docs/reference/store-protocol.md over a role's HTTP server. The
/// other side is `HTTPStore`.
///
/// Answers are streamed: a select lies in memory once, as the store gave it, and is encoded frame by frame as the client
/// takes it. How many selects do so at one time is bounded, and so are the samples of each.
package struct StoreServer: Sendable {
  /// What may be set. All of it has defaults.
  package struct Configuration: Sendable {
    /// The most samples of one select, also where the client asks for more or does not say.
    package var samplesPerSelectMax = 20_000_000
    /// Requests that are being answered at one time.
    package var requestsMax = 16
    /// Requests that wait for one of those to end; more are refused with 503.
    package var requestsWaitingMax = 64

    package init() {}
  }

  private let store: any Store
  private let configuration: Configuration
  private let gate: QueryGate
  private let samplesSent: Counter
  private let errors: Counter

  package init(_ configuration: Configuration = Configuration(), store: any Store, metrics: MetricsRegistry) {
    precondition(
      configuration.samplesPerSelectMax >= 1 && configuration.requestsMax >= 1
        && configuration.requestsWaitingMax >= 0, "bounds of the store server: \(configuration)")
    self.store = store
    self.configuration = configuration
    gate = QueryGate(
      QueryGate.Configuration(runningMax: configuration.requestsMax, waitingMax: configuration.requestsWaitingMax),
      instruments: QueryGate.Instruments(
        running: metrics.gauge(
          "gpu_telemetry_store_server_requests_running", help: "Requests of other processes that are being answered."),
        waiting: metrics.gauge(
          "gpu_telemetry_store_server_requests_waiting", help: "Requests of other processes that wait for their turn."),
        refused: metrics.counter(
          "gpu_telemetry_store_server_requests_refused_total",
          help: "Requests of other processes refused because too many were waiting.")))
    samplesSent = metrics.counter(
      "gpu_telemetry_store_server_samples_sent_total", help: "Samples sent to other processes.")
    errors = metrics.counter(
      "gpu_telemetry_store_server_errors_total", help: "Requests of other processes that the store refused.")
  }

  /// The paths of the protocol, all below `/store/v1/`.
  package static let paths = [
    "select", "aggregate", "series", "label-names", "label-values", "delete", "append", "flush", "compact", "snapshot",
    "descriptors", "positions", "statistics",
  ]

  /// Registers `POST /store/v1/…`. Everything is a POST with a media type of its own: a page in a browser cannot send
  /// that to another origin without being asked first.
  package func add(to router: Router<ServiceRequestContext>) {
    for path in StoreServer.paths {
      router.post(RouterPath("/store/v1/\(path)")) { request, context in
        try await respond(to: request, context, path)
      }
    }
  }

  private func respond(
    to request: Request, _ context: ServiceRequestContext, _ path: String
  ) async throws -> Response {
    guard request.headers[.contentType] == StoreWire.mediaType else {
      throw Problem(status: 415, detail: "the store protocol takes \(StoreWire.mediaType)")
    }
    let frames = try await read(request, context)
    try await gate.enter()
    let place = GatePlace(gate)
    do throws(StoreError) {
      return try await answer(path, frames, place)
    } catch {
      errors.add()
      return StoreServer.response(status: StoreServer.status(of: error), [StoreWire.frame(of: error)])
    }
  }

  private func read(_ request: Request, _ context: ServiceRequestContext) async throws -> [StoreWire.Frame] {
    var reader = StoreWireReader()
    var frames: [StoreWire.Frame] = []
    let body = try await request.body.collect(upTo: context.maxUploadSize)
    do throws(StoreWireError) {
      reader.feed(body.readableBytesView)
      while let frame = try reader.next() { frames.append(frame) }
      guard reader.isFinished else { throw .truncated }
    } catch {
      throw Problem(status: 400, detail: "the request is not of the store protocol: \(error)")
    }
    return frames
  }

  private func answer(
    _ path: String, _ frames: [StoreWire.Frame], _ place: GatePlace
  ) async throws(StoreError) -> Response {
    switch path {
    case "select": return try await select(frames, place)
    case "aggregate": return try await aggregate(frames)
    case "series":
      let question = try StoreServer.question(frames)
      let series = try await store.series(question.matchers, in: question.range)
      return StoreServer.response(StoreWire.frames(ofLabels: series))
    case "label-names":
      let question = try StoreServer.question(frames)
      let names = try await store.labelNames(question.matchers, in: question.range)
      return StoreServer.response(StoreWire.frames(ofStrings: names))
    case "label-values":
      let question = try StoreServer.question(frames)
      let values = try await store.labelValues(question.label, question.matchers, in: question.range)
      return StoreServer.response(StoreWire.frames(ofStrings: values))
    case "delete":
      let question = try StoreServer.question(frames)
      try await store.delete(question.matchers, in: question.range)
      return StoreServer.response([])
    case "append":
      let batch: StoreBatch
      do throws(StoreWireError) { batch = try StoreWire.decodeBatch(frames) } catch {
        throw .refused("the batch cannot be read: \(error)")
      }
      return StoreServer.response([StoreWire.frame(of: try await store.append(batch))])
    case "flush":
      return StoreServer.response([StoreWire.frame(of: try await store.flush())])
    case "compact":
      return StoreServer.response([StoreWire.frame(of: try await store.compact())])
    case "snapshot":
      guard frames.count == 1, frames[0].kind == .snapshot else { throw .refused("the request has no name") }
      let name: SnapshotName
      do throws(ByteReaderError) { name = try StoreWire.decodeSnapshotName(frames[0].payload) } catch {
        throw .refused("the name of the snapshot cannot be: \(error)")
      }
      return StoreServer.response([StoreWire.frame(of: try await store.snapshot(named: name))])
    case "descriptors": return StoreServer.response([StoreWire.frame(of: try await store.descriptors())])
    case "positions": return StoreServer.response([StoreWire.frame(of: try await store.positions())])
    case "statistics": return StoreServer.response([StoreWire.frame(of: try await store.statistics())])
    default: preconditionFailure("\(path) is registered and not served")
    }
  }

  private func select(_ frames: [StoreWire.Frame], _ place: GatePlace) async throws(StoreError) -> Response {
    let question = try StoreServer.question(frames)
    let bound = min(question.maxSamples ?? .max, configuration.samplesPerSelectMax)
    let columns = try await store.select(
      SelectRequest(question.matchers, in: question.range, newest: question.newest, maxSamples: bound))
    samplesSent.add(UInt64(columns.reduce(0) { $0 + $1.values.count }))
    let body = ResponseBody { writer in
      // Held until the last frame is out, or the connection is gone and this closure with it.
      _ = place
      var message = StoreWireWriter()
      var pending = StoreColumnFrames(columns)
      while let frame = pending.next() {
        message.write(frame.kind, frame.payload)
        try await writer.write(ByteBuffer(bytes: message.take()))
      }
      message.finish()
      try await writer.write(ByteBuffer(bytes: message.take()))
      try await writer.finish(nil)
    }
    return Response(status: .ok, headers: StoreServer.headers, body: body)
  }

  private func aggregate(_ frames: [StoreWire.Frame]) async throws(StoreError) -> Response {
    guard frames.count == 2, frames[1].kind == .windows else { throw .refused("the request has no windows") }
    let question = try StoreServer.question([frames[0]])
    var request: AggregateRequest
    do throws(ByteReaderError) { request = try StoreWire.decodeWindows(frames[1].payload, question) } catch {
      throw .refused("the windows cannot be read: \(error)")
    }
    request.maxSamples = min(question.maxSamples ?? .max, configuration.samplesPerSelectMax)
    let answer = try await store.aggregate(request)
    samplesSent.add(UInt64(answer.series.reduce(0) { $0 + $1.starts.count * request.functions.count }))
    return StoreServer.response(StoreWire.frames(of: answer))
  }

  private static let headers: HTTPFields = [.contentType: StoreWire.mediaType, .cacheControl: "no-store"]

  private static func question(_ frames: [StoreWire.Frame]) throws(StoreError) -> StoreQuestion {
    guard frames.count == 1, frames[0].kind == .request else { throw .refused("the request has no question") }
    do throws(ByteReaderError) { return try StoreWire.decodeQuestion(frames[0].payload) } catch {
      throw .refused("the question cannot be read: \(error)")
    }
  }

  private static func response(status: HTTPResponse.Status = .ok, _ frames: [StoreWire.Frame]) -> Response {
    var message = StoreWireWriter()
    for frame in frames { message.write(frame.kind, frame.payload) }
    message.finish()
    return Response(
      status: status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: message.take())))
  }

  /// For proxies and logs; the client reads the frame.
  private static func status(of error: StoreError) -> HTTPResponse.Status {
    switch error {
    case .tooManySamples, .refused, .gap, .snapshotExists: .badRequest
    case .headFull, .closed, .unreachable: .serviceUnavailable
    case .disk, .corrupt, .unsupportedVersion, .invalidConfiguration: .internalServerError
    }
  }
}

/// A place at the gate, given back when nobody holds it any more: also when a client goes away and the answer, which
/// held it, is dropped unwritten.
private final class GatePlace: Sendable {
  private let gate: QueryGate

  init(_ gate: QueryGate) { self.gate = gate }

  deinit { Task { [gate] in await gate.leave() } }
}
