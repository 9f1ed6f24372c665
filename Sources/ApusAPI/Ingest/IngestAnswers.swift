import ApusFormats
import ApusIO
import ApusPipeline
import ApusService
import HTTPTypes

/// What the ways in answer.
enum IngestAnswers {
  /// One thing that was refused.
  struct Rejection: Hashable, Sendable {
    /// Counted from 1: a line, or a series or data point of the request.
    var position: Int
    /// In bytes, from 1; lines of text only.
    var column: Int?
    var reason: String
  }

  /// All that was refused of one request.
  struct Rejections: Sendable {
    /// What positions count: `line`, `series`, `data point`.
    var unit: String
    var count = 0
    /// The first of them.
    var items: [Rejection] = []
    /// Beside them, why samples that were understood were not kept.
    var more: [String] = []

    init(unit: String) { self.unit = unit }

    init(_ problems: IngestProblems, unit: String) {
      self.unit = unit
      count = problems.count
      items = problems.items.map { Rejection(position: $0.position, column: nil, reason: $0.problem.description) }
    }

    var isEmpty: Bool { count == 0 && more.isEmpty }

    /// Adds what the log and the store did not take.
    mutating func add(_ receipt: Ingester.Receipt) {
      if receipt.samplesTooLarge > 0 {
        more.append("\(receipt.samplesTooLarge) samples are in records larger than the log takes; send less at once")
      }
      if receipt.samplesOverSeriesLimit > 0 {
        more.append(
          "\(receipt.samplesOverSeriesLimit) samples are of new series beyond the store's limit; remove labels that"
            + " make many series, or raise --series-limit")
      }
      if receipt.samplesTooOld > 0 {
        more.append("\(receipt.samplesTooOld) samples are older than --retention keeps any")
      }
    }

    /// All of it in a sentence or two.
    func summary(accepted: Int) -> String {
      var parts: [String] = []
      if let first = items.first {
        let place = first.column.map { "\(unit) \(first.position), column \($0)" } ?? "\(unit) \(first.position)"
        parts.append("\(place): \(first.reason)" + (count > 1 ? " (and \(count - 1) more)" : ""))
      }
      parts += more
      return parts.joined(separator: "; ") + "; \(accepted) samples were taken"
    }
  }

  /// Everything was taken.
  static let taken = Answer(status: .noContent, body: [], isRevalidated: false)

  /// A part was refused: 400, since the sender should not repeat it as it is. A problem document with what was taken and
  /// the first of what was not.
  static func partial(_ rejections: Rejections, accepted: Int, instance: String) -> Answer {
    var writer = JSONWriter(reserving: 512)
    writer.beginObject()
    writer.key("type")
    writer.string("about:blank")
    writer.key("title")
    writer.string("Bad Request")
    writer.key("status")
    writer.integer(400)
    writer.key("detail")
    writer.string(rejections.summary(accepted: accepted))
    writer.key("instance")
    writer.string(instance)
    writer.key("accepted")
    writer.integer(Int64(accepted))
    writer.key("rejected")
    writer.integer(Int64(rejections.count))
    writer.key("errors")
    writer.beginArray()
    for item in rejections.items {
      writer.beginObject()
      writer.key(rejections.unit)
      writer.integer(Int64(item.position))
      if let column = item.column {
        writer.key("column")
        writer.integer(Int64(column))
      }
      writer.key("reason")
      writer.string(item.reason)
      writer.endObject()
    }
    writer.endArray()
    writer.endObject()
    return Answer(status: .badRequest, mediaType: "application/problem+json", body: writer.bytes, isRevalidated: false)
  }

  /// 400 or another status in plain text, for senders that log what they are told.
  static func text(_ status: HTTPResponse.Status, _ text: String, headers: HTTPFields = [:]) -> Answer {
    Answer(
      status: status, mediaType: "text/plain; charset=utf-8", body: Array((text + "\n").utf8), headers: headers,
      isRevalidated: false)
  }

  /// InfluxDB's errors: version 1 reads `error`, version 2 `code` and `message`.
  static func influx(_ rejections: Rejections, accepted: Int) -> Answer {
    let sentence = "partial write: " + rejections.summary(accepted: accepted)
    var writer = JSONWriter(reserving: 256)
    writer.beginObject()
    writer.key("code")
    writer.string("invalid")
    writer.key("message")
    writer.string(sentence)
    writer.key("error")
    writer.string(sentence)
    writer.endObject()
    return Answer(status: .badRequest, body: writer.bytes, isRevalidated: false)
  }

  /// The refusal of a request that could not be decoded.
  static func problem(for error: FormatError) -> Problem {
    if case .tooMany = error { return Problem(status: 413, detail: "\(error); nothing of it was taken") }
    return Problem(status: 400, detail: "the body cannot be read: \(error); nothing of it was taken")
  }

  /// `partial`, member by member.
  static let problemSchema = Schema.object([
    .required("type", .text(), "A reference that names the kind of problem; `about:blank` when the status says it."),
    .required("title", .text(), "The kind of problem in short."),
    .required("status", .integer(minimum: 400, maximum: 599), "The status of the answer."),
    .required("detail", .text(), "What is wrong this time, and what to do."),
    .optional("instance", .text(), "The path of the request."),
    .optional("parameter", .text(), "The parameter at fault."),
    .optional("accepted", .integer(minimum: 0), "Samples that were taken and are durable."),
    .optional("rejected", .integer(minimum: 0), "Lines that were refused."),
    .optional(
      "errors",
      .array(
        of: .object([
          .required("line", .integer(minimum: 1), "Counted from 1."),
          .optional("column", .integer(minimum: 1), "In bytes, counted from 1."),
          .required("reason", .text(), "What is wrong with the line."),
        ]), maxItems: IngestProblems.keptMax), "The first of the lines that were refused."),
  ])
}
