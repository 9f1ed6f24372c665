import ApusFormats
import ApusModel
import ApusPipeline
import ApusService
import HTTPTypes

/// The ways in: exposition text, remote write, line protocol, OTLP (docs/reference/ways-in.md).
struct IngestRoutes: Sendable {
  /// Nil where the process has no log to write to.
  let door: IngestDoor?

  /// The paths whose bodies may be as large as `--ingest-body-limit` says.
  static let paths = ["/api/v1/import/prometheus", "/api/v1/write", "/write", "/api/v2/write", "/v1/metrics"]

  var routes: [Route] { [text, remoteWrite, influx1, influx2, otlp, ping] }

  /// Around every way in: the door must be there, and what it answers is counted.
  func receive(
    _ way: @escaping @Sendable (IngestMetrics) -> IngestMetrics.Way,
    _ body: @escaping @Sendable (IngestDoor, IngestMetrics.Way, RouteRequest, IncomingBody) async throws -> Answer
  ) -> Route.Receiver {
    { [door] request, incoming in
      guard let door else { throw IngestRoutes.closed }
      let metrics = way(door.metrics)
      let begin = door.clock.monotonicNanoseconds
      defer { metrics.latency.observe(Double(door.clock.monotonicNanoseconds &- begin) * 1e-9) }
      do {
        let answer = try await body(door, metrics, request, incoming)
        metrics.count(status: answer.status.code)
        return answer
      } catch {
        metrics.count(status: APIFailure.status(of: APIFailure.problem(for: error) ?? error))
        throw error
      }
    }
  }

  private static let closed = Problem.unavailable(
    "this process has no log to write to: start apus api with --broker tcp://HOST:PORT, or send to apus up")

  /// Reads a body whole and expands it.
  static func bytes(
    _ incoming: IncomingBody, _ coding: IncomingBody.Coding, _ lease: IngestLease, _ metrics: IngestMetrics.Way
  ) async throws -> IngestBytes {
    let buffer = try await incoming.read(lease)
    metrics.bytes.add(UInt64(buffer.readableBytes))
    return try await incoming.expand(buffer, coding, lease)
  }

  /// What a text may be said to be. curl says `application/x-www-form-urlencoded` unless it is told otherwise.
  static func checkText(_ incoming: IncomingBody, _ what: String) throws(Problem) {
    let type = incoming.mediaType
    let isText =
      type.isEmpty || type.hasPrefix("text/") || type == "application/openmetrics-text"
      || type == "application/octet-stream" || type == "application/x-www-form-urlencoded"
    guard isText else {
      throw Problem(status: 415, detail: "\(what) is taken as text/plain, not as \(type.prefix(100))")
    }
  }

  // MARK: What is declared

  static let commonRefusals: [DeclaredAnswer] = [
    .problem(413, "The body is larger than `--ingest-body-limit`, or holds more than a request may."),
    .problem(415, "The content type or the content encoding is not one that is taken."),
    .problem(500, "The request failed; the server's log has the cause."),
    DeclaredAnswer(
      503, "The log cannot take more now, or the process has none; `Retry-After` says when to try again.",
      content: [("application/problem+json", .reference("Problem"))],
      headers: [("Retry-After", "Seconds to wait.", .integer(minimum: 0))]),
  ]

  static let binary = Schema.text(format: "binary")
}

extension IngestRoutes {
  /// `GET /ping`: how InfluxDB's clients ask whether anybody is there.
  var ping: Route {
    Route(
      .get, "/ping", operation: "ping", tag: .ingest, summary: "Whether the ways in are there",
      description: "For clients of InfluxDB, which ask before they write.",
      parameters: [IngestRoutes.verbose.declaration],
      answers: [
        DeclaredAnswer(204, "They are."), .problem(400, "A parameter cannot be; `parameter` names it."),
        .problem(413, "The request has a body that is too large."),
      ],
      handler: { _ in IngestAnswers.taken })
  }

  private static let verbose = Parameter<String>(
    "verbose", "Not looked at.", schema: .text()
  ) { text throws(ParameterRefusal) in text }
}
