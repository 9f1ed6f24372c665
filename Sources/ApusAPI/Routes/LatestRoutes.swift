import ApusIO
import ApusModel
import ApusService
import ApusStore

/// `/api/v1/metrics/latest`: the newest sample of every series.
struct LatestRoutes: Sendable {
  let makeReader: @Sendable () -> FleetReader

  var routes: [Route] {
    [
      Route(
        .get, "/api/v1/metrics/latest", operation: "listLatestMetrics", tag: .metrics,
        summary: "The newest sample of every series",
        description:
          "A page holds the newest samples of so many series, those that have ended left out. Pages go through the series in a fixed order, so that each "
          + "comes once though samples arrive; within a page rows ascend by time.",
        parameters: [
          TelemetryRoutes.metric.declaration, GPURoutes.uuid.declaration, TelemetryForm.parameter.declaration,
          Common.limit.declaration, Cursor.parameter.declaration,
        ],
        answers: [TelemetryRoutes.pageAnswer, TelemetryRoutes.notAcceptable] + Common.queryRefusals,
        isQuery: true, handler: latest)
    ]
  }

  @Sendable private func latest(_ request: RouteRequest) async throws -> Answer {
    let form = try TelemetryRoutes.form(of: request)
    var reader = makeReader()
    let limit = request.arguments[Common.limit] ?? Common.limitDefault
    let series = try await candidates(request, reader)
    var start = 0
    if let key = try Cursor.key(.latest, of: request) {
      start = try LatestRoutes.position(behind: key, in: series)
    }
    let page = series[start..<min(series.count, start + limit)]
    let rows = try await newest(of: page, &reader)
    let answer = TelemetryPage.answer(rows, form)
    guard start + limit < series.count, let last = page.last else { return answer }
    let name = SeriesName.hash(last)
    var key = ByteWriter()
    key.write(name.high)
    key.write(name.low)
    return answer.linking(to: request.link(toPageAt: Cursor.encode(.latest, for: request, key: key.bytes)))
  }

  /// The series that a request wants, ascending.
  private func candidates(_ request: RouteRequest, _ reader: FleetReader) async throws(StoreError) -> [Labels] {
    let metrics = TelemetryRoutes.metricMatchers(request)
    let uuids = Set(request.arguments.all(GPURoutes.uuid))
    if uuids.isEmpty { return try await reader.store.series(metrics, in: .all) }
    let selection = SeriesSelection(
      alternatives: FleetLabels.deciding(FleetLabels.uuid).map { [.oneOf($0.label, uuids)] + $0.absent + metrics })
    return try await reader.series(selection).sorted()
  }

  private static func position(behind key: [UInt8], in series: [Labels]) throws(Problem) -> Int {
    let name = key.withUnsafeBytes { raw -> SeriesSetID? in
      guard raw.count == 16 else { return nil }
      return SeriesSetID(
        high: UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
        low: UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }
    guard let name, let index = series.firstIndex(where: { SeriesName.hash($0) == name }) else {
      throw .badParameter("cursor", "cursor stands at a series that has been deleted since; begin without it")
    }
    return index + 1
  }

  /// The newest sample of each of some series, ascending by time.
  private func newest(
    of page: ArraySlice<Labels>, _ reader: inout FleetReader
  ) async throws(StoreError) -> [TelemetryRow] {
    if page.isEmpty { return [] }
    // The store is asked by what the page's series have in common; they lie near each other in the order of labels, so
    // little else comes with them.
    let matchers = SeriesSelection.common(to: page)
    let wanted = Set(page)
    var rows: [TelemetryRow] = []
    for column in try await reader.select(SeriesSelection(alternatives: [matchers]), newest: 1) {
      guard wanted.contains(column.labels), let timestamp = column.timestamps.last, let value = column.values.last,
        !StaleMarker.isStale(value)
      else { continue }
      rows.append(TelemetryRow(timestamp: timestamp, value: value, labels: column.labels))
    }
    return rows.sorted {
      RowPlace(timestamp: $0.timestamp, labels: $0.labels) < RowPlace(timestamp: $1.timestamp, labels: $1.labels)
    }
  }
}
