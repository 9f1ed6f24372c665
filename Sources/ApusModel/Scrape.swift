/// One answer of one source: the values of a set's series at one instant.
///
/// This pair of a shared set and a column is what a source emits, what a log record carries, what the head of the
/// store appends and, transposed, what a block on disk holds.
package struct Scrape: Sendable {
  package var set: SeriesSet
  package var timestamp: Timestamp
  /// One value for each series of the set, in its order. Where `absent` says so the value means nothing.
  package var values: [Double]
  /// The series that this scrape did not report; nil when all are there, which is the usual case.
  package var absent: Bitmap?

  /// - Precondition: as many values (and bits) as the set has series.
  package init(set: SeriesSet, timestamp: Timestamp, values: [Double], absent: Bitmap? = nil) {
    precondition(values.count == set.count, "\(values.count) values for a set of \(set.count) series")
    precondition(absent == nil || absent?.count == set.count, "bitmap does not fit the set")
    self.set = set
    self.timestamp = timestamp
    self.values = values
    self.absent = absent
  }

  /// How many samples there are: the series of the set less the absent ones.
  package var sampleCount: Int { values.count - (absent?.setCount ?? 0) }
}

/// Samples of one series with timestamps of their own: what has no stable order, such as remote write.
package struct SeriesSamples: Sendable {
  package var labels: Labels
  /// Ascending; two samples may share an instant, then the later in the array wins.
  package var timestamps: [Int64]
  package var values: [Double]

  /// - Precondition: as many timestamps as values.
  package init(labels: Labels, timestamps: [Int64], values: [Double]) {
    precondition(timestamps.count == values.count, "\(timestamps.count) timestamps for \(values.count) values")
    self.labels = labels
    self.timestamps = timestamps
    self.values = values
  }
}

/// A sample's special value. Prometheus marks the end of a series with this NaN; it must be compared by its bits.
package enum StaleMarker {
  package static let bitPattern: UInt64 = 0x7ff0_0000_0000_0002
  package static let value = Double(bitPattern: bitPattern)

  package static func isStale(_ value: Double) -> Bool { value.bitPattern == bitPattern }
}
