import ApusIO
import HTTPTypes
import Hummingbird
import Synchronization

/// Counts requests by route, method and status, and measures how long they took. Routes are those declared, so clients
/// cannot make series; methods and statuses are few.
struct RequestMetricsMiddleware: RouterMiddleware {
  let metrics: MetricsRegistry
  let clock: any WallClock

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
    metrics.counter(
      "apus_http_requests_total", help: "HTTP requests answered.",
      labels: [("route", route), ("method", method), ("status", "\(response.status.code)")]
    ).add()
    metrics.histogram(
      "apus_http_request_duration_seconds", help: "Time from a request's head to the head of its answer.",
      labels: [("route", route)]
    ).observe(Double(clock.monotonicNanoseconds &- begin) * 1e-9)
    return response
  }

  private static let knownMethods: Set<String> = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
}
