/// Why one series, line or data point of a request was refused while the rest was taken.
package enum IngestProblem: Error, Hashable, Sendable {
  /// No `__name__`, no measurement, or a metric without a name.
  case missingMetricName
  case emptyLabelName
  case emptyLabelValue
  /// A label that the format reserves: a tag called `__name__`.
  case reservedLabel
  case duplicateLabel
  /// Remote write wants labels in ascending order of their names.
  case unsortedLabels
  case notUTF8
  case labelTooLong(limit: Int)
  case tooManyLabels(limit: Int)
  /// Remote write 2.0: a reference beyond the symbol table, or names without values.
  case invalidSymbol
  /// A series with native histograms; its plain samples, if it has any, are taken.
  case nativeHistogram
  /// Line protocol.
  case missingFields
  case missingTagValue
  case missingFieldValue
  case invalidFieldValue
  case unterminatedString
  case invalidTimestamp
  /// OTLP: a data point of an exponential histogram, which has no form as series of plain numbers.
  case exponentialHistogram
  /// OTLP: neither cumulative nor delta.
  case unknownTemporality
  /// OTLP: a data point without a value, or a histogram whose counts do not fit its bounds.
  case invalidDataPoint
  /// OTLP: a delta that is not later than what was added up already, most likely sent twice.
  case deltaOutOfOrder
  /// OTLP: a delta of a new series when as many are being added up as may be.
  case tooManyDeltaSeries(limit: Int)
}

extension IngestProblem: CustomStringConvertible {
  package var description: String {
    switch self {
    case .missingMetricName: "the metric has no name"
    case .emptyLabelName: "a label has no name"
    case .emptyLabelValue: "a label has an empty value"
    case .reservedLabel: "a tag is called __name__"
    case .duplicateLabel: "a label occurs twice"
    case .unsortedLabels: "the labels are not sorted by name"
    case .notUTF8: "a label is not UTF-8"
    case .labelTooLong(let limit): "a label is longer than \(limit) bytes"
    case .tooManyLabels(let limit): "there are more than \(limit) labels"
    case .invalidSymbol: "a label refers to a symbol that is not there"
    case .nativeHistogram: "native histograms are not supported"
    case .missingFields: "the line has no fields"
    case .missingTagValue: "a tag has no value"
    case .missingFieldValue: "a field has no value"
    case .invalidFieldValue: "a field's value is not a number, a boolean or a quoted string"
    case .unterminatedString: "a string field has no closing quote"
    case .invalidTimestamp: "the timestamp is not a whole number, or out of range"
    case .exponentialHistogram: "exponential histograms are not supported"
    case .unknownTemporality: "the aggregation temporality is neither cumulative nor delta"
    case .invalidDataPoint: "the data point has no value, or its buckets do not fit its bounds"
    case .deltaOutOfOrder: "the delta is not later than the last one of its series"
    case .tooManyDeltaSeries(let limit): "deltas of \(limit) series are being added up and no more are taken"
    }
  }
}

/// What was refused in one request: every refusal counted, the first few told.
package struct IngestProblems: Hashable, Sendable {
  /// How many refusals are kept with their place; the rest are only counted.
  package static let keptMax = 100

  package struct Item: Hashable, Sendable {
    /// Counted from 1: the line of a text, the series or data point of a request.
    package var position: Int
    package var problem: IngestProblem

    package init(position: Int, problem: IngestProblem) {
      self.position = position
      self.problem = problem
    }
  }

  package private(set) var items: [Item] = []
  /// Refused lines, series or data points, also those that are not kept.
  package private(set) var count = 0

  package init() {}

  package var isEmpty: Bool { count == 0 }

  package mutating func add(_ problem: IngestProblem, at position: Int) {
    count += 1
    if items.count < IngestProblems.keptMax { items.append(Item(position: position, problem: problem)) }
  }

  /// One sentence for an answer: how many, and what is wrong with the first; `unit` is what a position counts ("line").
  package func summary(unit: String) -> String {
    guard let first = items.first else { return "nothing was refused" }
    let rest = count == 1 ? "" : " (and \(count - 1) more)"
    return "\(unit) \(first.position): \(first.problem)\(rest)"
  }
}

/// Why one series could not be had: it alone is refused, or the whole request cannot be read.
enum SeriesFailure: Error {
  case problem(IngestProblem)
  case format(FormatError)
}
