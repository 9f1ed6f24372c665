import ApusModel

/// The two text formats that Prometheus' exporters speak.
package enum ExpositionFormat: Hashable, Sendable {
  /// `text/plain; version=0.0.4`: timestamps in milliseconds.
  case text
  /// OpenMetrics 1.0: timestamps in seconds, exemplars, `# EOF` at the end.
  case openMetrics

  /// By the media type of a page; what is not OpenMetrics is taken for the older format, as dcgm-exporter names none.
  package init(contentType: String) {
    self = contentType.lowercased().hasPrefix("application/openmetrics-text") ? .openMetrics : .text
  }

  package var contentType: String {
    switch self {
    case .text: "text/plain; version=0.0.4; charset=utf-8"
    case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
    }
  }
}

/// What a page held.
package struct ExpositionResult: Sendable {
  /// A scrape for each timestamp that enough lines share; usually one.
  package var scrapes: [Scrape] = []
  /// With `cutsByHost`, the host of each scrape, by the labels that name nodes; empty for lines that name none, and for
  /// lines of several hosts that are too few for scrapes of their own.
  package var hosts: [[UInt8]] = []
  /// What does not fit in a scrape: lone timestamps, and series of a source that changes its list all the time.
  package var samples: [SeriesSamples] = []
  /// The first rejected lines, at most `ExpositionParser.Configuration.errorsListedMax`.
  package var errors: [LineError] = []
  /// All rejected lines.
  package var errorCount = 0
  /// Samples in `scrapes` and `samples` together.
  package var sampleCount = 0
  /// Lines whose series was known by its place on the page, for a metric.
  package var matchedCount = 0
  /// Sample lines that said that they have no value (`dropsBlanks`).
  package var blankCount = 0

  package init() {}
}

/// A line that was rejected, alone: those around it count.
package struct LineError: Hashable, Sendable, CustomStringConvertible {
  /// Both counted from 1; the column in bytes.
  package var line: Int
  package var column: Int
  package var reason: ExpositionProblem

  package init(line: Int, column: Int, reason: ExpositionProblem) {
    self.line = line
    self.column = column
    self.reason = reason
  }

  package var description: String { "line \(line), column \(column): \(reason.rawValue)" }
}

/// What is wrong with a line.
package enum ExpositionProblem: String, Error, Hashable, Sendable {
  case invalidMetricName = "expected the name of a metric"
  case invalidLabelName = "expected the name of a label"
  case expectedEquals = "expected = behind the label's name"
  case expectedQuote = "expected a label's value in quotes"
  case unterminatedValue = "a label's value does not end"
  case invalidEscape = "only \\\\, \\\" and \\n may be escaped"
  case expectedCommaOrBrace = "expected a comma or } behind a label"
  case duplicateLabel = "a label occurs twice"
  case tooManyLabels = "too many labels"
  case labelTooLong = "a label's name or value is too long"
  case notUTF8 = "the text is not UTF-8"
  case missingValue = "expected a value"
  case invalidValue = "the value is not a number"
  case invalidTimestamp = "the timestamp is not a number"
  case textBehindSample = "something stands behind the sample"
  case invalidExemplar = "the exemplar is not one"
  case invalidComment = "the TYPE, HELP or UNIT line is not one"
  case pageTooLarge = "the page is too large"
  case lineTooLong = "the line is too long"
  case duplicateSample = "the series has a value at this time already"
  case tooManySeries = "the page has too many series"
  case textBehindEnd = "something stands behind # EOF"
  case missingEnd = "the page does not end with # EOF"
}
