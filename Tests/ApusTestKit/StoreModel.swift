import ApusModel
import ApusStore

/// What a store should hold, in the plainest form there is: for each series and instant the bits of one value.
package struct StoreModel: Sendable {
  package private(set) var samples: [Labels: [Int64: UInt64]] = [:]
  package private(set) var appended: [LogPartition: Int64] = [:]

  package init() {}

  package var count: Int { samples.values.reduce(0) { $0 + $1.count } }

  /// Takes in a batch as `Store.append` should: what was taken in before is skipped, the later sample wins.
  package mutating func append(_ batch: StoreBatch) {
    let before = appended[batch.partition] ?? .min
    for item in batch.items where item.offset >= before {
      switch item.content {
      case .scrape(let scrape):
        for (row, labels) in scrape.set.series.enumerated() where scrape.absent?[row] != true {
          samples[labels, default: [:]][scrape.timestamp.milliseconds] = scrape.values[row].bitPattern
        }
      case .samples(let list):
        for series in list {
          for (timestamp, value) in zip(series.timestamps, series.values) {
            samples[series.labels, default: [:]][timestamp] = value.bitPattern
          }
        }
      }
    }
    appended[batch.partition] = max(before, batch.nextOffset)
  }

  package mutating func delete(_ matchers: [Matcher], in range: TimeRange) {
    for labels in Array(samples.keys) where matchers.allSatisfy({ $0.matches(labels) }) {
      let kept = samples[labels]!.filter { !range.contains(Timestamp(milliseconds: $0.key)) }
      samples[labels] = kept.isEmpty ? nil : kept
    }
  }

  /// The answer that a store should give.
  package func select(_ request: SelectRequest) -> [SeriesColumn] {
    var result: [SeriesColumn] = []
    for (labels, column) in samples where request.matchers.allSatisfy({ $0.matches(labels) }) {
      var instants = column.keys.filter { request.range.contains(Timestamp(milliseconds: $0)) }.sorted()
      if let newest = request.newest { instants = Array(instants.suffix(newest)) }
      if instants.isEmpty { continue }
      result.append(
        SeriesColumn(
          labels: labels, timestamps: instants, values: instants.map { Double(bitPattern: column[$0]!) }))
    }
    return result.sorted { $0.labels < $1.labels }
  }

  /// The first difference between an answer and what it should be, as a sentence; nil when there is none.
  package static func difference(_ got: [SeriesColumn], _ wanted: [SeriesColumn]) -> String? {
    for (index, want) in wanted.enumerated() {
      guard index < got.count else { return "series \(want.labels) is missing" }
      let have = got[index]
      if have.labels != want.labels { return "series \(have.labels) where \(want.labels) should be" }
      if have.timestamps != want.timestamps {
        let place = zip(have.timestamps, want.timestamps).enumerated().first { $0.element.0 != $0.element.1 }?.offset
        return "\(want.labels) has \(have.timestamps.count) samples where \(want.timestamps.count) should be"
          + " (first differing at \(place ?? min(have.timestamps.count, want.timestamps.count)))"
      }
      if have.values.count != want.values.count { return "\(want.labels) has \(have.values.count) values" }
      for (row, value) in want.values.enumerated() where have.values[row].bitPattern != value.bitPattern {
        return "\(want.labels) at \(want.timestamps[row]) is \(have.values[row]) where \(value) should be"
      }
    }
    if got.count > wanted.count { return "series \(got[wanted.count].labels) should not be there" }
    return nil
  }
}
