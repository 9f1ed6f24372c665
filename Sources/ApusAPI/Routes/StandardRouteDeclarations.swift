/// The routes that every role's server has by itself (ApusService), declared here so that the document has them.
enum StandardRouteDeclarations {
  static let routes: [Route] = [
    Route(
      .get, "/health", operation: "getHealth", tag: .service, summary: "Whether the process lives",
      answers: [
        .json(
          200, "It does.",
          .object([
            .required("status", .choice(["ok"]), "Always `ok`."),
            .required("role", .text(), "What the process does."),
            .required("version", .text(), "The version of the program."),
            .required("uptime_seconds", .integer(minimum: 0), "Seconds since it began."),
          ])), .problem(413, "The request has a body that is too large."),
      ]),
    Route(
      .get, "/ready", operation: "getReadiness", tag: .service, summary: "Whether the process can do its work now",
      answers: [
        .json(200, "It can.", readiness), .json(503, "It cannot; `reasons` says why.", readiness),
        .problem(413, "The request has a body that is too large."),
      ]),
    Route(
      .get, "/stats", operation: "getStatistics", tag: .service, summary: "The state of each part in numbers",
      description: "A member for each part of this process: the store, and what else runs in it.",
      answers: [
        .json(200, "The numbers.", .map(of: .map(of: nil))), .problem(413, "The request has a body that is too large."),
        .problem(500, "A part failed; the server's log has the cause."),
      ]),
    Route(
      .get, "/metrics", operation: "getMetrics", tag: .service,
      summary: "The self-metrics of the process, for Prometheus",
      answers: [
        DeclaredAnswer(200, "Prometheus text format 0.0.4.", content: [("text/plain", .text())]),
        .problem(413, "The request has a body that is too large."),
      ]),
  ]

  private static let readiness = Schema.object([
    .required("status", .choice(["ready", "not ready"]), "In short."),
    .required(
      "reasons",
      .array(
        of: .object([
          .required("part", .text(), "The part that is not ready."), .required("reason", .text(), "Why."),
        ])), "What stands in the way; empty when nothing does."),
  ])
}
