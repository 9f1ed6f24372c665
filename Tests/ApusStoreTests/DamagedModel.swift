import ApusModel
import ApusStore
import ApusTestKit

/// What a store should hold some of whose blocks were hit by flipped bits: a sample whose newest copy lay in a block that
/// was set aside may be missing, or an earlier one may be answered in its place; every other is there.
struct DamagedModel {
  private var model = StoreModel()
  /// All values that were ever written at an instant since it was last deleted.
  private var written: [Labels: [Int64: Set<UInt64>]] = [:]
  /// The samples that may be missing.
  private var excused: [Labels: Set<Int64>] = [:]

  mutating func append(_ batch: StoreBatch) {
    let before = model.appended[batch.partition] ?? .min
    for item in batch.items where item.offset >= before {
      switch item.content {
      case .scrape(let scrape):
        for (row, labels) in scrape.set.series.enumerated() where scrape.absent?[row] != true {
          write(labels, scrape.timestamp.milliseconds, scrape.values[row])
        }
      case .samples(let list):
        for series in list {
          for (timestamp, value) in zip(series.timestamps, series.values) { write(series.labels, timestamp, value) }
        }
      }
    }
    model.append(batch)
  }

  private mutating func write(_ labels: Labels, _ timestamp: Int64, _ value: Double) {
    written[labels, default: [:]][timestamp, default: []].insert(value.bitPattern)
    // It is newer than any block there is.
    excused[labels]?.remove(timestamp)
  }

  mutating func delete(_ matchers: [Matcher], in range: TimeRange) {
    model.delete(matchers, in: range)
    for labels in Array(written.keys) where matchers.allSatisfy({ $0.matches(labels) }) {
      written[labels] = written[labels]?.filter { !range.contains(Timestamp(milliseconds: $0.key)) }
      excused[labels] = excused[labels]?.filter { !range.contains(Timestamp(milliseconds: $0)) }
    }
  }

  /// A block with these samples was set aside. Where a newer block has another value the loss must not show.
  mutating func lose(_ columns: [SeriesColumn]) {
    for column in columns {
      guard let samples = model.samples[column.labels] else { continue }
      for (timestamp, value) in zip(column.timestamps, column.values)
      where samples[timestamp] == value.bitPattern {
        excused[column.labels, default: []].insert(timestamp)
      }
    }
  }

  /// What is wrong with an answer to a question for everything; nil when it may be.
  func difference(_ answer: [SeriesColumn]) -> String? {
    if excused.allSatisfy({ $0.value.isEmpty }) {
      return StoreModel.difference(answer, model.select(SelectRequest([])))
    }
    var got: [Labels: [Int64: UInt64]] = [:]
    for (index, column) in answer.enumerated() {
      if index > 0, !(answer[index - 1].labels < column.labels) { return "\(column.labels) is out of order" }
      for (row, timestamp) in column.timestamps.enumerated() {
        if row > 0, column.timestamps[row - 1] >= timestamp { return "\(column.labels): \(timestamp) is out of order" }
        guard model.samples[column.labels]?[timestamp] != nil else {
          return "\(column.labels) at \(timestamp) should not be there"
        }
        got[column.labels, default: [:]][timestamp] = column.values[row].bitPattern
      }
    }
    for (labels, samples) in model.samples {
      for (timestamp, bits) in samples {
        let found = got[labels]?[timestamp]
        if found == bits { continue }
        let isExcused = excused[labels]?.contains(timestamp) == true
        guard isExcused else {
          return "\(labels) at \(timestamp) is \(found == nil ? "missing" : "wrong") and was in no block that was hit"
        }
        if let found, written[labels]?[timestamp]?.contains(found) != true {
          return "\(labels) at \(timestamp) has a value that was never written"
        }
      }
    }
    return nil
  }
}
