import ApusFormats
import ApusIO
import ApusModel
import HTTPTypes

/// The forms in which telemetry rows are answered.
enum TelemetryForm: String, CaseIterable, Sendable {
  case json
  case csv

  var mediaType: String {
    switch self {
    case .json: "application/json"
    case .csv: "text/csv"
    }
  }

  static let parameter = Parameter<TelemetryForm>.choice(
    "format", "The form of the answer; stronger than the `Accept` header. JSON unless told otherwise.")

  /// The form that a request asks for by `format`, else by `Accept`; nil when it takes neither.
  static func asked(by request: RouteRequest) -> TelemetryForm? {
    if let form = request.arguments[parameter] { return form }
    let best = MediaTypes.best(of: allCases.map(\.mediaType), for: request.accept)
    return allCases.first { $0.mediaType == best }
  }
}

/// Writes a page of telemetry rows. What is the same in every row of a series is made once.
enum TelemetryPage {
  /// The whole answer.
  static func answer(_ rows: [TelemetryRow], _ form: TelemetryForm) -> Answer {
    var encoders: [Labels: TelemetryRowEncoder] = [:]
    func encoder(_ labels: Labels) -> TelemetryRowEncoder {
      if let present = encoders[labels] { return present }
      let new = TelemetryRowEncoder(labels)
      encoders[labels] = new
      return new
    }
    switch form {
    case .json:
      let body = JSONWriter.array(of: rows) { row, writer in
        encoder(row.labels).appendJSON(Timestamp(milliseconds: row.timestamp), row.value, to: &writer)
      }
      return Answer(mediaType: form.mediaType, body: body)
    case .csv:
      var body = CSVWriter.header
      body.reserveCapacity(body.count + rows.count * 512)
      for row in rows {
        encoder(row.labels).appendCSV(Timestamp(milliseconds: row.timestamp), row.value, to: &body)
      }
      return Answer(mediaType: "text/csv; charset=utf-8", body: body)
    }
  }
}
