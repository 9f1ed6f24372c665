import ApusIO
import ApusService
import ApusStore
import HTTPTypes
import Hummingbird
import Logging
import NIOCore

/// Puts declared routes into the server's router, and around each of them what all have in common: parsing by the
/// declaration, the turn at the store, the time limit, self-metrics, entity tags and compression.
struct RouteRegistration: Sendable {
  let gate: QueryGate
  let metrics: APIMetrics
  let clock: any WallClock
  let timeout: Duration

  /// Registers every route that has a handler.
  func add(_ routes: [Route], to router: Router<ServiceRequestContext>) {
    for route in routes {
      guard route.handler != nil || route.receiver != nil else { continue }
      router.on(RouterPath(route.path), method: route.method) { request, context in
        try await respond(to: request, context, route)
      }
    }
  }

  private func respond(
    to request: Request, _ context: ServiceRequestContext, _ route: Route
  ) async throws -> Response {
    let begin = clock.monotonicNanoseconds
    metrics.inFlight.add(1)
    defer { metrics.inFlight.add(-1) }
    let status: Int
    let result: Result<Response, any Error>
    do {
      let parsed = try await parse(request, context, route)
      let answer: Answer
      if let receiver = route.receiver {
        answer = try await receiver(
          parsed, IncomingBody(headers: request.headers, body: request.body, bytesMax: context.maxUploadSize))
      } else if let handler = route.handler {
        answer = try await self.answer(parsed, route, handler)
      } else {
        preconditionFailure("\(route.path) is registered and not served")
      }
      let response = AnswerEncoding.response(answer, to: request.headers)
      status = response.status.code
      result = .success(response)
    } catch {
      let failure = APIFailure.problem(for: error) ?? error
      status = APIFailure.status(of: failure)
      result = .failure(failure)
    }
    let seconds = Double(clock.monotonicNanoseconds &- begin) * 1e-9
    metrics.count(route: route.path, status: status, seconds: seconds)
    return try result.get()
  }

  private func parse(
    _ request: Request, _ context: ServiceRequestContext, _ route: Route
  ) async throws -> RouteRequest {
    var captured: [String: String] = [:]
    for declaration in route.parameters where declaration.place == .path {
      captured[declaration.name] = context.parameters.get(declaration.name)
    }
    let query: QueryString
    do throws(QueryStringError) { query = try QueryString(request.uri.query ?? "") } catch {
      switch error {
      case .tooMany:
        throw Problem(status: 400, detail: "the query has more than \(QueryString.pairsMax) parameters")
      case .malformed(let name):
        throw Problem(
          status: 400, detail: "the query is not percent-encoded UTF-8", parameter: name.isEmpty ? nil : name)
      }
    }
    let arguments = try Arguments.read(path: captured, query: query.pairs, by: route.parameters)
    var body: [UInt8] = []
    if route.method == .post, route.receiver == nil {
      body = Array(buffer: try await request.body.collect(upTo: context.maxUploadSize))
    }
    return RouteRequest(
      arguments: arguments, path: request.uri.path, query: query, accept: request.headers[.accept], body: body,
      isForeign: RouteRegistration.isForeign(request))
  }

  /// Whether a browser says that a page of another origin sent this. Such a page cannot read an answer, but what a
  /// request without a body of ours does would be done all the same.
  static func isForeign(_ request: Request) -> Bool {
    if let site = HTTPField.Name("Sec-Fetch-Site").flatMap({ request.headers[$0] }) {
      return site != "same-origin" && site != "none"
    }
    guard let origin = request.headers[.origin] else { return false }
    let authority = request.head.authority ?? ""
    return origin != "http://" + authority && origin != "https://" + authority
  }

  private func answer(
    _ request: RouteRequest, _ route: Route, _ handler: @escaping Route.Handler
  ) async throws -> Answer {
    guard route.isQuery else { return try await handler(request) }
    try await gate.enter()
    // The work keeps its place until it has really ended, also when nobody waits for it any more.
    let work = Task {
      let result: Result<Answer, any Error>
      do { result = .success(try await handler(request)) } catch { result = .failure(error) }
      await gate.leave()
      return try result.get()
    }
    let answer = try await Deadline.wait(for: work, atMost: timeout)
    guard let answer else {
      metrics.queriesTimedOut.add()
      throw Problem.unavailable(
        "the query took longer than \(DurationText.format(timeout)); ask for less, or for a narrower range",
        retryAfterSeconds: 1)
    }
    return answer
  }
}

/// Waits for work, but not for ever.
enum Deadline {
  /// The work's result, or nil when the time is up; the work is then cancelled and goes on by itself until it notices.
  static func wait<Value: Sendable>(
    for work: Task<Value, any Error>, atMost limit: Duration
  ) async throws -> Value? {
    let first = AsyncStream<Result<Value, any Error>?>.makeStream(bufferingPolicy: .bufferingOldest(1))
    let watch = Task { first.continuation.yield(await work.result) }
    let timer = Task {
      // Cancelled as soon as the work is done, and then there is nothing to say.
      if (try? await Task.sleep(for: limit)) != nil { first.continuation.yield(nil) }
    }
    defer {
      timer.cancel()
      watch.cancel()
      first.continuation.finish()
    }
    var iterator = first.stream.makeAsyncIterator()
    let outcome = await withTaskCancellationHandler {
      await iterator.next()
    } onCancel: {
      work.cancel()
    }
    guard case .some(.some(let result)) = outcome else {
      work.cancel()
      if Task.isCancelled { throw CancellationError() }
      return nil
    }
    return try result.get()
  }
}

/// What the store refuses, as HTTP answers it.
enum APIFailure {
  /// The problem for an error whose cause the client may know; nil for those that only the log should have.
  static func problem(for error: any Error) -> Problem? {
    switch error {
    case let problem as Problem: problem
    case let error as StoreError: problem(for: error)
    case is CancellationError: .unavailable("the server is stopping", retryAfterSeconds: 1)
    default: nil
    }
  }

  /// The status that the server will answer an error with.
  static func status(of error: any Error) -> Int {
    switch error {
    case is NIOTooManyBytesError: 413
    case let error as any HTTPResponseError: error.status.code
    default: 500
    }
  }

  private static func problem(for error: StoreError) -> Problem? {
    switch error {
    case .tooManySamples:
      Problem(status: 400, title: "Too Many Samples", detail: error.description)
    case .unreachable: .unavailable("the store cannot be reached: \(error)", retryAfterSeconds: 5)
    case .closed: .unavailable("the store is closed, because this process is stopping", retryAfterSeconds: 5)
    case .headFull: .unavailable(error.description, retryAfterSeconds: 5)
    case .snapshotExists: Problem(status: 409, detail: error.description)
    case .disk, .corrupt, .unsupportedVersion, .invalidConfiguration, .gap, .refused: nil
    }
  }
}
