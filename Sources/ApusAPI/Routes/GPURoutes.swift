import ApusIO
import ApusModel
import ApusService
import ApusStore

/// `/api/v1/gpus` and `/api/v1/gpus/{id}`.
struct GPURoutes: Sendable {
  let makeReader: @Sendable () -> FleetReader

  static let id = Parameter<String>.text(
    "id", in: .path,
    "A GPU: its UUID, `host:index`, or a bare index, which means every GPU of that index on all hosts.")
  static let node = Parameter<String>.text("node", "Only GPUs of this node (its `node_id`).", isRepeatable: true)
  static let uuid = Parameter<String>.text("uuid", "Only the GPU of this UUID.", isRepeatable: true)
  static let model = Parameter<String>.text("model", "Only GPUs of this model, written in full.", isRepeatable: true)
  static let datacenter = Parameter<String>.text("datacenter", "Only GPUs in this datacenter.", isRepeatable: true)
  static let index = Parameter<Int>.integer(
    "index", "Only GPUs of this index.", minimum: 0, maximum: 65_535, isRepeatable: true)

  var routes: [Route] {
    [
      Route(
        .get, "/api/v1/gpus", operation: "listGPUs", tag: .gpus, summary: "GPUs",
        description:
          "Every GPU that the store has samples of, in ascending order of UUIDs. A filter that is repeated takes any of "
          + "its values; different filters must all be met. A GPU that moved is where it was heard last.",
        parameters: [
          GPURoutes.node.declaration, GPURoutes.uuid.declaration, GPURoutes.model.declaration,
          GPURoutes.datacenter.declaration, GPURoutes.index.declaration, Common.limit.declaration,
          Cursor.parameter.declaration,
        ],
        answers: [
          DeclaredAnswer(
            200, "A page of GPUs.", content: [("application/json", .array(of: .reference("GPU")))],
            headers: Common.pageHeaders)
        ] + Common.queryRefusals,
        isQuery: true, handler: list),
      Route(
        .get, "/api/v1/gpus/{id}", operation: "getGPU", tag: .gpus, summary: "One GPU, or those of one index",
        description:
          "A UUID or `host:index` answers with one GPU. A bare index repeats on every host, so it answers with a list.",
        parameters: [GPURoutes.id.declaration, Common.limit.declaration, Cursor.parameter.declaration],
        answers: [
          DeclaredAnswer(
            200, "The GPU; for a bare index a page of GPUs.",
            content: [("application/json", .anyOf([.reference("GPU"), .array(of: .reference("GPU"))]))],
            headers: Common.pageHeaders),
          Common.notFound("No sample of such a GPU is in the store."),
        ] + Common.queryRefusals,
        isQuery: true, handler: one),
    ]
  }

  @Sendable private func list(_ request: RouteRequest) async throws -> Answer {
    var filter = GPUFilter()
    filter.nodes = Set(request.arguments.all(GPURoutes.node))
    filter.uuids = Set(request.arguments.all(GPURoutes.uuid))
    filter.models = Set(request.arguments.all(GPURoutes.model))
    filter.datacenters = Set(request.arguments.all(GPURoutes.datacenter))
    filter.indexes = Set(request.arguments.all(GPURoutes.index).map(String.init))
    let (rows, next) = try await page(filter, request)
    return GPURoutes.answer(rows).linking(to: next)
  }

  @Sendable private func one(_ request: RouteRequest) async throws -> Answer {
    let text = request.arguments[GPURoutes.id] ?? ""
    let address = GPUAddress(text)
    if case .index = address {
    } else if request.arguments[Cursor.parameter] != nil {
      throw Problem.badParameter("cursor", "cursor is for lists, and \"\(text)\" names one GPU")
    }
    switch address {
    case .index(let index):
      let (rows, next) = try await page(GPUFilter(indexes: [index]), request)
      guard !rows.isEmpty || request.arguments[Cursor.parameter] != nil else { throw GPUAddress.notFound(text) }
      return GPURoutes.answer(rows).linking(to: next)
    case .slot(let node, let index):
      var inventory = GPUInventory(reader: makeReader())
      let rows = try await inventory.page(
        GPUFilter(nodes: [node], indexes: [index]), after: nil, limit: Common.limitMax
      ).rows
      // A GPU that was replaced was in the slot too; the one heard last is in it now.
      if let row = rows.max(by: { $0.lastSeen < $1.lastSeen }) { return GPURoutes.answer(row) }
      if let row = try await inventory.gpu(uuid: text) { return GPURoutes.answer(row) }
    case .uuid(let uuid):
      var inventory = GPUInventory(reader: makeReader())
      if let row = try await inventory.gpu(uuid: uuid) { return GPURoutes.answer(row) }
    }
    throw GPUAddress.notFound(text)
  }

  private func page(_ filter: GPUFilter, _ request: RouteRequest) async throws -> (rows: [GPURow], next: String?) {
    let after = try Cursor.key(.gpus, of: request).map { String(decoding: $0, as: UTF8.self) }
    var inventory = GPUInventory(reader: makeReader())
    let limit = request.arguments[Common.limit] ?? Common.limitDefault
    let (rows, hasMore) = try await inventory.page(filter, after: after, limit: limit)
    guard hasMore, let last = rows.last else { return (rows, nil) }
    let cursor = Cursor.encode(.gpus, for: request, key: Array(last.uuid.utf8))
    return (rows, request.link(toPageAt: cursor))
  }

  private static func answer(_ rows: [GPURow]) -> Answer {
    Answer(body: JSONWriter.array(of: rows) { row, writer in write(row, to: &writer) })
  }

  private static func answer(_ row: GPURow) -> Answer {
    var writer = JSONWriter(reserving: 512)
    write(row, to: &writer)
    return Answer(body: writer.bytes)
  }

  private static func write(_ row: GPURow, to writer: inout JSONWriter) {
    writer.beginObject()
    writer.member("uuid", row.uuid)
    writer.key("gpu_index")
    if let index = row.index.flatMap({ Int64($0) }), index >= 0 { writer.integer(index) } else { writer.null() }
    writer.member("device", orNull: FleetLabels.first(GPULabels.device, of: row.labels))
    writer.member("model", orNull: FleetLabels.first(GPULabels.model, of: row.labels))
    writer.member("node_id", orNull: row.nodeID)
    writer.member("hostname", orNull: FleetLabels.first(FleetLabels.node, of: row.labels) ?? row.nodeID)
    writer.member("datacenter", orNull: row.labels[FleetLabels.datacenter])
    writer.member("pci_bus_id", orNull: row.labels["pci_bus_id"])
    writer.member("first_seen", time: row.firstSeen)
    writer.member("last_seen", time: row.lastSeen)
    writer.key("metrics")
    writer.beginObject()
    for (quantity, value) in row.values {
      writer.key(quantity.name)
      writer.double(value)
    }
    writer.endObject()
    writer.endObject()
  }

  static let schema = Schema.object([
    .required("uuid", .text(), "What identifies the GPU."),
    .required("gpu_index", .integer(minimum: 0).orNull(), "Its index on its host; it repeats on every host."),
    .required("device", .text().orNull(), "The device's name on its host."),
    .required("model", .text().orNull(), "The model's name."),
    .required("node_id", .text().orNull(), "The node that the GPU is in."),
    .required("hostname", .text().orNull(), "The host's name as its exporter says it."),
    .required("datacenter", .text().orNull(), "Where the node is, if its data says so."),
    .required("pci_bus_id", .text().orNull(), "The address on the PCI bus."),
    .required("first_seen", .time.orNull(), "The time of the oldest sample that the store has."),
    .required("last_seen", .time, "The time of the newest sample."),
    .required(
      "metrics",
      .object(GPUQuantity.all.map { .optional($0.name, .sampleValue, $0.text) }),
      "The newest values of the main metrics; one that the GPU does not report is absent."),
  ])
}

/// The ways to name a GPU in a path.
enum GPUAddress: Hashable, Sendable {
  case uuid(String)
  /// An index on one host.
  case slot(node: String, index: String)
  /// An index on every host.
  case index(String)

  init(_ text: String) {
    func isIndex(_ text: some StringProtocol) -> Bool {
      (1...5).contains(text.utf8.count) && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
    }
    if isIndex(text) {
      self = .index(text)
    } else if let colon = text.lastIndex(of: ":"), isIndex(text[text.index(after: colon)...]),
      colon != text.startIndex
    {
      self = .slot(node: String(text[..<colon]), index: String(text[text.index(after: colon)...]))
    } else {
      self = .uuid(text)
    }
  }

  static func notFound(_ text: String) -> Problem {
    .notFound("no sample of a GPU \"\(text)\" is in the store; /api/v1/gpus lists those there are", parameter: "id")
  }
}
