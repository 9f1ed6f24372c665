import ApusModel

/// What one request held, decoded for the per-series lane.
package struct IngestBatch: Sendable {
  /// Each series with its samples ascending by time; a series comes once, unless the request wrote its labels in two
  /// ways. Samples of one instant keep the order of the request.
  package var series: [SeriesSamples] = []
  package var descriptors: [MetricDescriptor] = []
  package var sampleCount = 0
  package var problems = IngestProblems()
  /// Remote write 2.0: when a counter began to count, for the series that tell it.
  package var starts: [SeriesStart] = []
  /// Values that are understood and have no place here, by kind.
  package var skipped = Skipped()

  package struct Skipped: Hashable, Sendable {
    package var exemplars = 0
    /// Native histograms (remote write) and data points of exponential ones (OTLP).
    package var histograms = 0
    /// String fields of the line protocol.
    package var strings = 0
    /// Comments and empty lines are not counted; lines that held only strings are.
    package var linesWithoutNumbers = 0
  }

  /// The instant from which a series' counter counts.
  package struct SeriesStart: Hashable, Sendable {
    package var labels: Labels
    /// Milliseconds since 1970.
    package var timestamp: Int64
  }

  package init() {}
}

/// Bounds on one request of any way in, beside those of `FormatLimits`.
package enum IngestLimits {
  package static let samplesPerRequest = 5_000_000
  /// Expanded label bytes that one request may refer to.
  package static let labelBytesPerRequest = FormatLimits.labelBytesPerSet
  /// A body after decompression, for the doors to enforce: 64 MiB.
  package static let bodyBytes = 64 * 1024 * 1024
}

/// What is bounded in one request, whatever its format.
package enum RequestBound: String, Hashable, Sendable {
  case series
  case samples
  case symbols
  case labelBytes = "bytes of labels"
}
