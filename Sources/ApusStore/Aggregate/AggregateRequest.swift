import ApusModel

/// What can be asked of the samples in a window. "Numbers" are the samples that are not NaN; stale markers are NaN.
package enum AggregateFunction: UInt8, Hashable, Sendable, CaseIterable {
  /// The least number; NaN when there is none.
  case minimum = 0
  case maximum = 1
  /// The compensated sum of the numbers; 0 when there is none.
  case sum = 2
  /// How many numbers there are.
  case count = 3
  /// The last sample that is no stale marker; a marker where there is nothing else.
  case last = 4
  /// The first number; NaN when there is none.
  case first = 5
  /// By how much a counter grew from the first number of the window to the last: a number below the one before is a
  /// reset, from which the counter begins anew at 0. NaN when there is no number, 0 when there is one.
  case increase = 6
}

/// A question for aggregates: windows of one length, and functions of the samples in each.
package struct AggregateRequest: Hashable, Sendable {
  package var matchers: [Matcher]
  /// Only samples in here count, also where it cuts a window.
  package var range: TimeRange
  /// The windows' length in milliseconds, above 0. They are `[origin + k * step, origin + (k + 1) * step)`.
  package var step: Int64
  package var origin: Int64
  package var functions: Set<AggregateFunction>
  /// The most samples and rolled-up buckets to read: above it the request fails with `StoreError.tooManySamples`.
  package var maxSamples: Int?

  /// - Precondition: the step is above 0.
  package init(
    _ matchers: [Matcher], in range: TimeRange = .all, step: Int64, origin: Int64 = 0,
    functions: Set<AggregateFunction>, maxSamples: Int? = nil
  ) {
    precondition(step > 0, "a step of \(step) ms")
    self.matchers = matchers
    self.range = range
    self.step = step
    self.origin = origin
    self.functions = functions
    self.maxSamples = maxSamples
  }

  var grid: TimeGrid { TimeGrid(step: step, origin: origin) }
}

/// One series' windows as columns. Windows without a sample are left out.
package struct AggregateSeries: Sendable {
  package var labels: Labels
  /// Where each window begins, ascending; `Int64.min` for a window that begins before all time.
  package var starts: [Int64]
  /// When each window's `last` sample was taken.
  package var lastInstants: [Int64]
  /// A column for each function that was asked for.
  package var columns: [AggregateFunction: [Double]]

  package init(labels: Labels, starts: [Int64], lastInstants: [Int64], columns: [AggregateFunction: [Double]]) {
    self.labels = labels
    self.starts = starts
    self.lastInstants = lastInstants
    self.columns = columns
  }
}

/// The windows of all series that meet the matchers, and what they were computed from.
package struct AggregateAnswer: Sendable {
  /// A part of the range and what answered for it.
  package struct Span: Hashable, Sendable {
    package var range: TimeRange
    /// Milliseconds of the roll-up's buckets; nil for the samples themselves.
    package var resolution: Int64?

    package init(range: TimeRange, resolution: Int64?) {
      self.range = range
      self.resolution = resolution
    }
  }

  /// Ascending by the labels' bytes; series without a sample in the range are left out.
  package var series: [AggregateSeries]
  /// The parts that had something to answer with, ascending; neighbours of one resolution are one.
  package var spans: [Span]
  /// How many samples and buckets were read for it.
  package var samplesRead = 0

  package init(series: [AggregateSeries], spans: [Span]) {
    self.series = series
    self.spans = spans
  }

  /// The coarsest roll-up that took part, in milliseconds; nil when the samples alone answered.
  package var resolution: Int64? { spans.compactMap(\.resolution).max() }
}
