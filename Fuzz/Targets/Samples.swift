import ApusModel

/// One sample, for comparisons: values by their bits, so that NaN equals itself.
struct Sample: Hashable {
  var labels: Labels
  var timestamp: Int64
  var bits: UInt64
}

/// How often each sample occurs in scrapes and in the per-series lane together, in whichever order.
func counted(_ scrapes: [Scrape], _ samples: [SeriesSamples]) -> [Sample: Int] {
  var result: [Sample: Int] = [:]
  for scrape in scrapes {
    for index in 0..<scrape.set.count where !(scrape.absent?[index] ?? false) {
      let sample = Sample(
        labels: scrape.set.series[index], timestamp: scrape.timestamp.milliseconds,
        bits: scrape.values[index].bitPattern)
      result[sample, default: 0] += 1
    }
  }
  for series in samples {
    for (index, timestamp) in series.timestamps.enumerated() {
      let sample = Sample(labels: series.labels, timestamp: timestamp, bits: series.values[index].bitPattern)
      result[sample, default: 0] += 1
    }
  }
  return result
}

/// Every label set that leaves a decoder must be one that may be stored.
func checkLabels(_ labels: Labels) {
  precondition(Labels(validating: labels.bytes) == labels, "labels that are not canonical: \(labels.bytes)")
}
