import ApusFormats
import ApusPipeline
import ApusService
import HTTPTypes

/// `POST /write` and `POST /api/v2/write`: InfluxDB's line protocol.
extension IngestRoutes {
  var influx1: Route {
    influx(
      "/write", operation: "writeInflux1", summary: "Take in line protocol, as InfluxDB 1 does",
      parameters: ["db", "rp", "consistency", "u", "p"])
  }

  var influx2: Route {
    influx(
      "/api/v2/write", operation: "writeInflux2", summary: "Take in line protocol, as InfluxDB 2 does",
      parameters: ["bucket", "org", "orgID"])
  }

  /// - Parameter parameters: what clients of that version send and nothing here depends on.
  private func influx(_ path: String, operation: String, summary: String, parameters: [String]) -> Route {
    Route(
      .post, path, operation: operation, tag: .ingest, summary: summary,
      description:
        "`measurement,tag=value field=1 time` becomes `measurement_field{tag=\"value\"}`; a field called `value` gives the "
        + "measurement's name alone. Strings are dropped and counted. The answer comes when everything is durable and, in "
        + "`apus up`, can be queried.",
      parameters: [IngestRoutes.precision.declaration] + parameters.map { IngestRoutes.ignored($0).declaration },
      answers: [
        DeclaredAnswer(204, "Everything was taken."),
        DeclaredAnswer(
          400, "Lines were refused, of which the first is named, and the others taken; or nothing could be read.",
          content: [
            (
              "application/json",
              .object([
                .required("code", .choice(["invalid"]), "As InfluxDB 2 says it."),
                .required("message", .text(), "What was refused, and how much was taken."),
                .required("error", .text(), "The same, as InfluxDB 1 says it."),
              ])
            ), ("application/problem+json", .reference("Problem")),
          ]),
      ] + IngestRoutes.commonRefusals,
      body: DeclaredBody("The lines, as they are or compressed.", content: [("text/plain", .text())]),
      receiver: receive(\.lineProtocol) { door, metrics, request, incoming in
        try await IngestRoutes.takeLines(door, metrics, request, incoming)
      })
  }

  private static let precision = Parameter<LineProtocolPrecision>(
    "precision", "The unit of the lines' times; without it nanoseconds.",
    schema: .choice([
      "n", "ns", "nanosecond", "u", "us", "µ", "µs", "microsecond", "ms", "millisecond", "s", "second", "m", "h",
    ])
  ) { text throws(ParameterRefusal) in
    guard !text.isEmpty, let precision = LineProtocolPrecision(parameter: text) else {
      throw ParameterRefusal("is not one of ns, us, ms, s, m, h")
    }
    return precision
  }

  private static func ignored(_ name: String) -> Parameter<String> {
    Parameter(name, "Taken and not looked at.", schema: .text()) { text throws(ParameterRefusal) in text }
  }

  private static func takeLines(
    _ door: IngestDoor, _ metrics: IngestMetrics.Way, _ request: RouteRequest, _ incoming: IncomingBody
  ) async throws -> Answer {
    try checkText(incoming, "line protocol")
    let lease = door.lease
    let coding = try incoming.coding()
    if case .snappyBlock = coding { throw Problem(status: 415, detail: "line protocol is taken plain, gzip or zstd") }
    let bytes = try await self.bytes(incoming, coding, lease, metrics)
    let unit = request.arguments[precision] ?? .nanoseconds
    let now = door.clock.now
    let batch = try door.lineProtocol.use { slot in bytes.withBytes { slot.decode($0, unit, now: now) } }.decoded()
    door.metrics.skippedStrings.add(UInt64(batch.skipped.strings))
    let key = Array(metrics.way.rawValue.utf8)
    let receipt = try await door.take(LaneRecords.items(batch.series, key: key, bytesMax: door.recordBytesMax))
    metrics.samples.add(UInt64(receipt.samplesDurable))
    var rejections = IngestAnswers.Rejections(batch.problems, unit: "line")
    rejections.add(receipt)
    metrics.rejected.add(UInt64(rejections.count))
    withExtendedLifetime(lease) {}
    if rejections.isEmpty { return IngestAnswers.taken }
    return IngestAnswers.influx(rejections, accepted: receipt.samplesDurable)
  }
}
