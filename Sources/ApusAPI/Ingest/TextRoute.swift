import ApusFormats
import ApusModel
import ApusPipeline
import ApusService
import HTTPTypes

/// `POST /api/v1/import/prometheus`: pages of exposition text.
extension IngestRoutes {
  var text: Route {
    Route(
      .post, "/api/v1/import/prometheus", operation: "importPrometheus", tag: .ingest,
      summary: "Take in exposition text",
      description:
        "Prometheus' text format 0.0.4, with or without timestamps; OpenMetrics where the content type says so. One "
        + "body may hold the pages of many hosts and many instants. Lines without a timestamp get the time of arrival. "
        + "Pages that repeat themselves are cheap: name their source in `X-Apus-Source` where one address sends for "
        + "several that begin with the same series. The answer comes when everything is durable and, in `apus up`, can be "
        + "queried.",
      parameters: [IngestRoutes.extraLabel.declaration, IngestRoutes.timestamp.declaration],
      answers: [
        DeclaredAnswer(204, "Everything was taken."),
        DeclaredAnswer(
          400, "Lines were refused, which the problem names, and the others taken; or nothing could be read.",
          content: [("application/problem+json", .reference("IngestProblem"))]),
      ] + IngestRoutes.commonRefusals,
      body: DeclaredBody("The text, as it is or compressed.", content: [("text/plain", .text())]),
      receiver: receive(\.text) { door, metrics, request, incoming in
        try await IngestRoutes.takeText(door, metrics, request, incoming)
      })
  }

  private static let extraLabel = Parameter<TextSources.Name.ExtraLabel>(
    "extra_label", "`name=value`: a label for every series that does not have it.",
    schema: .text(pattern: "^[a-zA-Z_][a-zA-Z0-9_]*=", maxLength: 4096), isRepeatable: true
  ) { text throws(ParameterRefusal) in
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
    let name = parts.first.map { String($0) } ?? ""
    let isName = name.utf8.enumerated().allSatisfy { index, byte in
      let isDigit = byte >= 0x30 && byte <= 0x39
      return (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7a) || byte == UInt8(ascii: "_") || (isDigit && index > 0)
    }
    guard parts.count == 2, !name.isEmpty, isName, name != Labels.metricNameLabel, text.utf8.count <= 4096 else {
      throw ParameterRefusal("must be written name=value, the name of letters, digits and _")
    }
    return TextSources.Name.ExtraLabel(name: name, value: String(parts[1]))
  }

  private static let timestamp = Parameter<Int64>(
    "timestamp", "The time, in milliseconds since 1970, of lines that have none; without it that of arrival.",
    schema: .text(pattern: "^-?[0-9]{1,18}$")
  ) { text throws(ParameterRefusal) in
    guard text.utf8.count <= 19, !text.hasPrefix("+"), let value = Int64(text) else {
      throw ParameterRefusal("is not a whole number of milliseconds")
    }
    return value
  }

  private static func takeText(
    _ door: IngestDoor, _ metrics: IngestMetrics.Way, _ request: RouteRequest, _ incoming: IncomingBody
  ) async throws -> Answer {
    try checkText(incoming, "exposition text")
    let lease = door.lease
    let coding = try incoming.coding()
    if case .snappyBlock = coding { throw Problem(status: 415, detail: "text is taken plain, gzip or zstd") }
    let source = try sourceName(incoming.headers)
    let bytes = try await self.bytes(incoming, coding, lease, metrics)
    let name = TextSources.Name(
      source: source, format: ExpositionFormat(contentType: incoming.headers[.contentType] ?? ""),
      extraLabels: request.arguments.all(extraLabel))
    let now = Timestamp(milliseconds: request.arguments[timestamp] ?? door.clock.now)
    let (result, markers) = bytes.withBytes { door.sources.parse($0, of: name, now: now) }
    let level = door.sources.level
    door.metrics.sources.set(Double(level.sources))
    door.metrics.sourceBytes.set(Double(level.bytes))
    door.metrics.linesMatched.add(UInt64(result.matchedCount))
    let receipt = try await door.take(items(of: result, source, door.recordBytesMax))
    // Markers are ours and not the sender's.
    let accepted = max(0, receipt.samplesDurable - markers)
    metrics.samples.add(UInt64(accepted))
    var rejections = IngestAnswers.Rejections(unit: "line")
    rejections.count = result.errorCount
    rejections.items = result.errors.map {
      IngestAnswers.Rejection(position: $0.line, column: $0.column, reason: $0.reason.rawValue)
    }
    rejections.add(receipt)
    metrics.rejected.add(UInt64(rejections.count))
    withExtendedLifetime(lease) {}
    if rejections.isEmpty { return IngestAnswers.taken }
    return IngestAnswers.partial(rejections, accepted: accepted, instance: request.path)
  }

  /// `X-Apus-Source`, or empty.
  private static func sourceName(_ headers: HTTPFields) throws(Problem) -> String {
    guard let name = HTTPField.Name("X-Apus-Source"), let value = headers[name] else { return "" }
    guard value.utf8.count <= 1024 else {
      throw .badParameter("X-Apus-Source", "X-Apus-Source is longer than 1024 bytes")
    }
    return value
  }

  /// Scrapes by their host, or where their lines name none by their source; the rest by its source.
  private static func items(
    of result: ExpositionResult, _ source: String, _ bytesMax: Int
  ) -> [TelemetryItem] {
    let sourceKey = Array(source.utf8)
    var items: [TelemetryItem] = []
    items.reserveCapacity(result.scrapes.count + 1)
    for (scrape, host) in zip(result.scrapes, result.hosts) {
      items.append(TelemetryItem(key: host.isEmpty ? sourceKey : host, content: .scrape(scrape)))
    }
    if !result.samples.isEmpty { items += LaneRecords.items(result.samples, key: sourceKey, bytesMax: bytesMax) }
    return items
  }
}
