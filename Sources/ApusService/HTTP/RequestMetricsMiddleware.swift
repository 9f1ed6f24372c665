import ApusIO
import HTTPTypes
import Hummingbird
import Synchronization

/// Counts requests by route, method and status, and measures how long they took. Routes are those declared, so clients
/// cannot make series; methods and statuses are few.
struct RequestMetricsMiddleware: RouterMiddleware {
  let metrics: MetricsRegistry
  let clock: any WallClock
  private let known = RequestInstruments()

  init(metrics: MetricsRegistry, clock: any WallClock) {
    self.metrics = metrics
    self.clock = clock
  }

  func handle(
    _ request: Request, context: ServiceRequestContext,
    next: (Request, ServiceRequestContext) async throws -> Response
  ) async throws -> Response {
    let begin = clock.monotonicNanoseconds
    let response = try await next(request, context)
    let route = context.endpointPath ?? "unknown"
    let method =
      RequestMetricsMiddleware.knownMethods.contains(request.method.rawValue)
      ? request.method.rawValue : "other"
    let name = RequestInstruments.Name(route: route, method: method, status: response.status.code)
    let (count, duration) = known.instruments(name) {
      let count = metrics.counter(
        "apus_http_requests_total", help: "HTTP requests answered.",
        labels: [("route", route), ("method", method), ("status", "\(response.status.code)")])
      let duration = metrics.histogram(
        "apus_http_request_duration_seconds", help: "Time from a request's head to the head of its answer.",
        labels: [("route", route)])
      return (count, duration)
    }
    count.add()
    duration.observe(Double(clock.monotonicNanoseconds &- begin) * 1e-9)
    return response
  }

  private static let knownMethods: Set<String> = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
}

/// Instruments by what names them, so that a request asks the registry only where it is the first of its kind: routes,
/// methods and statuses are few.
package final class RequestInstruments: Sendable {
  package struct Name: Hashable, Sendable {
    package var route: String
    package var method: String
    package var status: Int

    package init(route: String, method: String, status: Int) {
      self.route = route
      self.method = method
      self.status = status
    }
  }

  private let known = Mutex<[Name: (Counter, Histogram)]>([:])

  package init() {}

  package func instruments(_ name: Name, make: () -> (Counter, Histogram)) -> (Counter, Histogram) {
    if let found = known.withLock({ $0[name] }) { return found }
    // Made without the lock; the registry gives two callers the same instruments.
    let made = make()
    known.withLock { $0[name] = made }
    return made
  }
}
