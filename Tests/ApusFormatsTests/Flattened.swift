import ApusFormats
import ApusModel

/// One sample, for comparisons: values by their bits, so that NaN equals itself.
struct FlatSample: Hashable, Comparable, CustomStringConvertible {
  var labels: Labels
  var timestamp: Int64
  var bits: UInt64

  init(_ labels: Labels, _ timestamp: Int64, _ value: Double) {
    self.labels = labels
    self.timestamp = timestamp
    bits = value.bitPattern
  }

  static func < (left: FlatSample, right: FlatSample) -> Bool {
    if left.labels != right.labels { return left.labels < right.labels }
    return (left.timestamp, left.bits) < (right.timestamp, right.bits)
  }

  var description: String { "\(labels) \(Double(bitPattern: bits)) @\(timestamp)" }
}

/// The samples of scrapes and of the per-series lane together, in a stable order.
func flatten(_ scrapes: [Scrape], _ samples: [SeriesSamples] = []) -> [FlatSample] {
  var result: [FlatSample] = []
  for scrape in scrapes {
    for index in 0..<scrape.set.count where !(scrape.absent?[index] ?? false) {
      result.append(FlatSample(scrape.set.series[index], scrape.timestamp.milliseconds, scrape.values[index]))
    }
  }
  for series in samples {
    for (index, timestamp) in series.timestamps.enumerated() {
      result.append(FlatSample(series.labels, timestamp, series.values[index]))
    }
  }
  return result.sorted()
}

func flatten(_ result: ExpositionResult) -> [FlatSample] { flatten(result.scrapes, result.samples) }

/// A series from a name and pairs.
func series(_ name: String, _ pairs: [String: String] = [:]) -> Labels {
  Labels(pairs.map { ($0.key, $0.value) } + [("__name__", name)])
}

let noon = Timestamp(milliseconds: 1_752_871_354_000)
