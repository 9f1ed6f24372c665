import ApusIO
import ApusModel
import ApusService
import ApusStore

/// `/api/v1/nodes…`.
struct NodeRoutes: Sendable {
  let makeReader: @Sendable () -> FleetReader
  let clock: any WallClock
  let freshness: NodeFreshness
  /// How many alerts are active on each of some nodes.
  let activeAlerts: @Sendable (_ nodes: [String]) async -> [String: Int]

  static let id = Parameter<String>.text("id", in: .path, "A node's `node_id`.")

  var routes: [Route] {
    [
      Route(
        .get, "/api/v1/nodes", operation: "listNodes", tag: .nodes, summary: "Nodes",
        description: "Every node that the store has samples of, in ascending order of ids.",
        parameters: [Common.limit.declaration, Cursor.parameter.declaration],
        answers: [
          DeclaredAnswer(
            200, "A page of nodes.", content: [("application/json", .array(of: .reference("Node")))],
            headers: Common.pageHeaders)
        ] + Common.queryRefusals,
        isQuery: true, handler: list),
      Route(
        .get, "/api/v1/nodes/{id}", operation: "getNode", tag: .nodes, summary: "One node",
        parameters: [NodeRoutes.id.declaration],
        answers: [
          DeclaredAnswer(
            200, "The node.", content: [("application/json", .reference("Node"))], headers: [Common.tagHeader]),
          Common.notFound("No sample of such a node is in the store."),
        ] + Common.queryRefusals,
        isQuery: true, handler: one),
      Route(
        .get, "/api/v1/nodes/{id}/metrics", operation: "listNodeMetrics", tag: .nodes, summary: "Samples of a node",
        description:
          "The newest samples of all series of the node, ascending by time; each next page has the ones before.",
        parameters: [
          NodeRoutes.id.declaration, TelemetryRoutes.metric.declaration, TelemetryForm.parameter.declaration,
          Common.limit.declaration, Cursor.parameter.declaration,
        ],
        answers: [
          TelemetryRoutes.pageAnswer, Common.notFound("No sample of such a node is in the store."),
          TelemetryRoutes.notAcceptable,
        ] + Common.queryRefusals,
        isQuery: true, handler: metrics),
    ]
  }

  private func inventory() -> NodeInventory {
    NodeInventory(reader: makeReader(), freshness: freshness, now: clock.now)
  }

  @Sendable private func list(_ request: RouteRequest) async throws -> Answer {
    let after = try Cursor.key(.nodes, of: request).map { String(decoding: $0, as: UTF8.self) }
    var inventory = inventory()
    let limit = request.arguments[Common.limit] ?? Common.limitDefault
    let (rows, hasMore) = try await inventory.page(after: after, limit: limit)
    let alerts = await activeAlerts(rows.map(\.id))
    let body = JSONWriter.array(of: rows) { row, writer in NodeRoutes.write(row, alerts[row.id] ?? 0, to: &writer) }
    guard hasMore, let last = rows.last else { return Answer(body: body) }
    let cursor = Cursor.encode(.nodes, for: request, key: Array(last.id.utf8))
    return Answer(body: body).linking(to: request.link(toPageAt: cursor))
  }

  @Sendable private func one(_ request: RouteRequest) async throws -> Answer {
    let id = request.arguments[NodeRoutes.id] ?? ""
    var inventory = inventory()
    guard let row = try await inventory.node(id) else { throw NodeRoutes.notFound(id) }
    let alerts = await activeAlerts([id])
    var writer = JSONWriter(reserving: 256)
    NodeRoutes.write(row, alerts[id] ?? 0, to: &writer)
    return Answer(body: writer.bytes)
  }

  @Sendable private func metrics(_ request: RouteRequest) async throws -> Answer {
    let form = try TelemetryRoutes.form(of: request)
    let id = request.arguments[NodeRoutes.id] ?? ""
    let inventory = inventory()
    let selection = try await inventory.reader.existing(try await inventory.selection(id))
    guard !selection.alternatives.isEmpty else { throw NodeRoutes.notFound(id) }
    var telemetry = TelemetryReader(reader: inventory.reader)
    let (rows, next) = try await telemetry.page(
      TelemetryQuestion(
        selection: selection.adding(TelemetryRoutes.metricMatchers(request)), direction: .backward, range: .all,
        step: nil, limit: request.arguments[Common.limit] ?? Common.limitDefault),
      for: request)
    return TelemetryPage.answer(rows, form).linking(to: next.map(request.link))
  }

  private static func notFound(_ id: String) -> Problem {
    .notFound("no sample of a node \"\(id)\" is in the store; /api/v1/nodes lists those there are", parameter: "id")
  }

  private static func write(_ row: NodeRow, _ alerts: Int, to writer: inout JSONWriter) {
    writer.beginObject()
    writer.member("node_id", row.id)
    writer.member("hostname", row.id)
    writer.member("status", row.status.rawValue)
    writer.member("datacenter", orNull: row.datacenter)
    writer.member("last_seen", time: row.lastSeen)
    writer.member("active_alerts", alerts)
    writer.member("gpu_count", row.gpuCount)
    writer.endObject()
  }

  static let schema = Schema.object([
    .required("node_id", .text(), "What identifies the node."),
    .required("hostname", .text(), "The host's name."),
    .required(
      "status", .choice(NodeStatus.allCases.map(\.rawValue)),
      "`offline`: silent for too long. `critical`: heard of, but all of its GPUs are silent. `degraded`: some are. "
        + "`healthy`: none is."),
    .required("datacenter", .text().orNull(), "Where the node is, if its data says so."),
    .required("last_seen", .time, "The time of the newest sample."),
    .required("active_alerts", .integer(minimum: 0), "How many alerts are active on the node."),
    .required("gpu_count", .integer(minimum: 0), "How many GPUs the store has samples of from this node."),
  ])
}
