import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Synchronization

/// Turns whatever a route throws into a problem document, refuses bodies that say they are too large, and tells a wrong
/// method (405, with `Allow`) from a wrong path (404).
struct ProblemMiddleware: RouterMiddleware {
  let bodyBytesMax: Int
  /// Of routes with a bound of their own, by path.
  let bodyBytesMaxByRoute: [String: Int]
  let routes: RouteTable

  func handle(
    _ request: Request, context: ServiceRequestContext,
    next: (Request, ServiceRequestContext) async throws -> Response
  ) async throws -> Response {
    var context = context
    let limit = context.endpointPath.flatMap { bodyBytesMaxByRoute[$0] } ?? bodyBytesMax
    context.maxUploadSize = limit
    do {
      if let text = request.headers[.contentLength], let length = Int(text), length > limit {
        throw Problem.bodyTooLarge(limit: limit)
      }
      return try await next(request, context)
    } catch {
      var problem = problem(for: error, request: request, context: context)
      if problem.instance.isEmpty { problem.instance = request.uri.path }
      return problem.response()
    }
  }

  private func problem(for error: any Error, request: Request, context: ServiceRequestContext) -> Problem {
    switch error {
    case let problem as Problem: return problem
    case is NIOTooManyBytesError: return .bodyTooLarge(limit: context.maxUploadSize)
    case let error as HTTPError where error.status == .notFound && context.endpointPath == "NotFound":
      return unrouted(request)
    case let error as any HTTPResponseError:
      let detail = (error as? HTTPError)?.body ?? "the request cannot be answered: \(error)"
      return Problem(
        status: error.status, detail: detail, headers: (error as? HTTPError)?.headers ?? [:])
    default:
      // The cause goes to the log, never to the client: it may hold paths or data of others.
      context.logger.error(
        "a request failed", metadata: ["path": "\(request.uri.path)", "error": "\(error)"])
      return Problem(
        status: 500, detail: "the request failed for a reason of the server's; its log has the cause at this time")
    }
  }

  private func unrouted(_ request: Request) -> Problem {
    let allowed = routes.methods(at: request.uri.path)
    if allowed.isEmpty { return .notFound("there is nothing at \(request.uri.path)") }
    let list = allowed.joined(separator: ", ")
    return Problem(
      status: 405, detail: "\(request.uri.path) does not take \(request.method.rawValue); it takes \(list)",
      headers: [.allow: list])
  }
}

/// Which methods each path takes. Filled once the routes are all there.
final class RouteTable: Sendable {
  private struct Route {
    var components: [RouterPath.Element]
    var method: String
  }

  private let routes = Mutex<[Route]>([])

  func set(_ list: [(path: RouterPath, method: HTTPRequest.Method)]) {
    let new = list.map { Route(components: $0.path.components, method: $0.method.rawValue) }
    routes.withLock { $0 = new }
  }

  /// Ascending; empty when no route has this path.
  func methods(at path: String) -> [String] {
    let parts = path.split(separator: "/")
    var found: Set<String> = []
    for route in routes.withLock({ $0 }) where RouteTable.matches(route.components, parts) {
      found.insert(route.method)
    }
    if found.contains("GET") { found.insert("HEAD") }
    return found.sorted()
  }

  private static func matches(_ components: [RouterPath.Element], _ parts: [Substring]) -> Bool {
    for (index, component) in components.enumerated() {
      if component == .recursiveWildcard { return index < parts.count }
      guard index < parts.count, component ~= parts[index] else { return false }
    }
    return components.count == parts.count
  }
}
