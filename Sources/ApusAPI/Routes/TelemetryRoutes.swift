import ApusIO
import ApusModel
import ApusService
import ApusStore
import HTTPTypes

extension HTTPField.Name {
  /// Which roll-ups answered. The name is a token, so it cannot fail to be one.
  static let apusResolution = HTTPField.Name("Apus-Resolution") ?? .location
}

/// `/api/v1/gpus/{id}/telemetry`.
struct TelemetryRoutes: Sendable {
  let makeReader: @Sendable () -> FleetReader
  let clock: any WallClock

  static let start = Parameter<Timestamp>.time(
    "start_time", "Rows from this instant on, itself included: RFC 3339, or seconds since 1970.")
  static let end = Parameter<Timestamp>.time(
    "end_time", "Rows up to this instant, itself included: RFC 3339, or seconds since 1970.")
  static let window = Parameter<Duration>.duration(
    "window",
    "A length of time such as `10m`: up to `end_time`, or from `start_time` on, or up to now where neither is given.")
  static let metric = Parameter<String>.text("metric", "Only rows of this metric.", isRepeatable: true)
  static let step = Parameter<Duration>.duration(
    "step",
    "Thins out: of each series only the last sample in every whole interval of this length, counted from 1970. No value "
      + "is computed.")

  var routes: [Route] {
    [
      Route(
        .get, "/api/v1/gpus/{id}/telemetry", operation: "listGPUTelemetry", tag: .gpus, summary: "Samples of a GPU",
        description:
          "One row is one sample; rows ascend by time. Without a time parameter all that is stored is the range. With "
          + "`start_time` the pages go forward from there. Without it the first page has the newest rows and each next "
          + "page the ones before.",
        parameters: [
          GPURoutes.id.declaration, TelemetryRoutes.start.declaration, TelemetryRoutes.end.declaration,
          TelemetryRoutes.window.declaration, TelemetryRoutes.metric.declaration, TelemetryRoutes.step.declaration,
          TelemetryForm.parameter.declaration, Common.limit.declaration, Cursor.parameter.declaration,
        ],
        answers: [
          TelemetryRoutes.page(headers: Common.pageHeaders + [TelemetryRoutes.resolutionHeader]),
          Common.notFound("No sample of such a GPU is in the store."),
          TelemetryRoutes.notAcceptable,
        ] + Common.queryRefusals,
        isQuery: true, handler: telemetry)
    ]
  }

  static let pageAnswer = page(headers: Common.pageHeaders)

  private static func page(headers: [(name: String, text: String, schema: Schema)]) -> DeclaredAnswer {
    DeclaredAnswer(
      200, "A page of samples.",
      content: [
        ("application/json", .array(of: .reference("Telemetry"))),
        ("text/csv", Schema.text().described("The same as a CSV (RFC 4180) with a header line.")),
      ], headers: headers)
  }

  private static let resolutionHeader: (name: String, text: String, schema: Schema) = (
    HTTPField.Name.apusResolution.rawName,
    "With `step`: what the rows were read from where roll-ups took part, coarsest first, such as `1h, 5m, raw`.",
    .text()
  )

  static let notAcceptable = DeclaredAnswer.problem(406, "The client takes neither JSON nor CSV.")

  /// The form that the client takes.
  static func form(of request: RouteRequest) throws -> TelemetryForm {
    guard let form = TelemetryForm.asked(by: request) else {
      throw Problem(status: 406, detail: "there is application/json and text/csv; or ask by format=json, format=csv")
    }
    return form
  }

  @Sendable private func telemetry(_ request: RouteRequest) async throws -> Answer {
    let form = try TelemetryRoutes.form(of: request)
    let range = try TelemetryRoutes.range(of: request, now: clock.now)
    let reader = makeReader()
    let text = request.arguments[GPURoutes.id] ?? ""
    let gpu = try await selection(text, reader)
    var telemetry = TelemetryReader(reader: reader)
    let (rows, next) = try await telemetry.page(
      TelemetryQuestion(
        selection: gpu.adding(TelemetryRoutes.metricMatchers(request)),
        direction: request.arguments[TelemetryRoutes.start] == nil ? .backward : .forward, range: range,
        step: request.arguments[TelemetryRoutes.step].map { $0.wholeNanoseconds / 1_000_000 },
        limit: request.arguments[Common.limit] ?? Common.limitDefault),
      for: request)
    var answer = TelemetryPage.answer(rows, form).linking(to: next.map(request.link))
    if let resolution = telemetry.resolution { answer.headers[.apusResolution] = resolution }
    return answer
  }

  /// The series of the GPUs that an address means; throws 404 when there are none.
  private func selection(_ text: String, _ reader: FleetReader) async throws -> SeriesSelection {
    var tries: [SeriesSelection] = []
    switch GPUAddress(text) {
    case .index(let index):
      tries.append(
        SeriesSelection(
          alternatives: FleetLabels.deciding(FleetLabels.uuid).map {
            [.equal(FleetLabels.index, index), .notEqual($0.label, "")] + $0.absent
          }))
    case .slot(let node, let index):
      let nodes = NodeInventory(reader: reader, freshness: .init(offlineAfter: 0, forgottenAfter: 0), now: 0)
      tries.append(try await nodes.selection(node).adding([.equal(FleetLabels.index, index)]))
      tries.append(.gpu(uuid: text))
    case .uuid(let uuid): tries.append(.gpu(uuid: uuid))
    }
    for selection in tries {
      let existing = try await reader.existing(selection)
      if !existing.alternatives.isEmpty { return existing }
    }
    throw GPUAddress.notFound(text)
  }

  static func metricMatchers(_ request: RouteRequest) -> [Matcher] {
    let metrics = Set(request.arguments.all(metric))
    return metrics.isEmpty ? [] : [.oneOf(Labels.metricNameLabel, metrics)]
  }

  /// The range that `start_time`, `end_time` and `window` say together.
  static func range(of request: RouteRequest, now: Int64) throws(Problem) -> TimeRange {
    let start = request.arguments[start]
    let end = request.arguments[end]
    if let length = request.arguments[window] {
      let milliseconds = length.wholeNanoseconds / 1_000_000
      switch (start, end) {
      case (.some, .some):
        throw .badParameter(
          "window", "window says where a range begins or ends, and start_time and end_time do already")
      case (.some(let start), nil):
        return TimeRange(start: start, end: Timestamp(milliseconds: start.milliseconds + milliseconds))
      case (nil, let end):
        let last = end ?? Timestamp(milliseconds: now)
        return TimeRange(start: Timestamp(milliseconds: last.milliseconds - milliseconds), end: last)
      }
    }
    let range = TimeRange(start: start ?? TimeRange.all.start, end: end ?? TimeRange.all.end)
    guard range.start <= range.end else {
      throw .badParameter("end_time", "end_time is before start_time")
    }
    return range
  }

  static let schema = Schema.object([
    .required("timestamp", .time, "When the sample was taken."),
    .required("metric_name", .text(), "The metric."),
    .required("gpu_id", .text(), "The GPU's index on its host; empty for a series without one, as are the next."),
    .required("device", .text(), "The device's name on its host."),
    .required("uuid", .text(), "What identifies the GPU."),
    .required("modelName", .text(), "The model's name."),
    .required("Hostname", .text(), "The host."),
    .required("container", .text(), "The container that held the GPU."),
    .required("pod", .text(), "The pod that held the GPU."),
    .required("namespace", .text(), "The pod's namespace."),
    .required("value", .sampleValue, "The value."),
    .required("labels_raw", .text(), "All labels of the series, as `name=\"value\"` joined by commas."),
  ])
}
