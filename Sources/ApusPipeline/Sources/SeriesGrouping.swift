import ApusModel

/// Puts single samples together by series. The order of two samples of one instant is kept.
struct SeriesGrouping {
  private var index: [Labels: Int] = [:]
  private var series: [SeriesSamples] = []
  private var isSorted = true

  mutating func add(_ labels: Labels, timestamp: Int64, value: Double) {
    if let position = index[labels] {
      if let last = series[position].timestamps.last, last > timestamp { isSorted = false }
      series[position].timestamps.append(timestamp)
      series[position].values.append(value)
    } else {
      index[labels] = series.count
      series.append(SeriesSamples(labels: labels, timestamps: [timestamp], values: [value]))
    }
  }

  mutating func add(_ samples: [SeriesSamples]) {
    for series in samples {
      for (timestamp, value) in zip(series.timestamps, series.values) {
        add(series.labels, timestamp: timestamp, value: value)
      }
    }
  }

  /// The series in the order of their first sample, each ascending by time.
  consuming func finish() -> [SeriesSamples] {
    if isSorted { return series }
    return series.map { samples in
      let order = samples.timestamps.indices.sorted {
        (samples.timestamps[$0], $0) < (samples.timestamps[$1], $1)
      }
      return SeriesSamples(
        labels: samples.labels, timestamps: order.map { samples.timestamps[$0] },
        values: order.map { samples.values[$0] }
      )
    }
  }
}
