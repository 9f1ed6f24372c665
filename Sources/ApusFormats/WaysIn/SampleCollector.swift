import ApusModel

/// Collects the samples of one request, in whatever order they come, and hands them out series by series.
struct SampleCollector {
  private var labels: [Labels] = []
  /// For each sample the number of its series.
  private var ids: [Int32] = []
  private var timestamps: [Int64] = []
  private var values: [Double] = []
  /// How often the series changes from one sample to the next, the first included.
  private var runs = 0
  private var lastID: Int32 = -1

  var seriesCount: Int { labels.count }
  var sampleCount: Int { ids.count }

  /// A new series; its number.
  mutating func addSeries(_ series: Labels) -> Int32 {
    labels.append(series)
    return Int32(labels.count - 1)
  }

  func labels(of id: Int32) -> Labels { labels[Int(id)] }

  @inline(__always)
  mutating func append(series id: Int32, timestamp: Int64, value: Double) {
    if id != lastID {
      runs += 1
      lastID = id
    }
    ids.append(id)
    timestamps.append(timestamp)
    values.append(value)
  }

  /// Sets the time of all samples from a place on: a line's time stands behind its values.
  mutating func setTimestamp(_ timestamp: Int64, from start: Int) {
    for index in start..<timestamps.count { timestamps[index] = timestamp }
  }

  /// Takes the samples back that came after the first `count`.
  mutating func truncate(toSamples count: Int) {
    guard count < ids.count else { return }
    ids.removeSubrange(count...)
    timestamps.removeSubrange(count...)
    values.removeSubrange(count...)
    lastID = ids.last ?? -1
    // A run too many only costs the sort; it never makes it be left out wrongly.
  }

  /// All series that have samples, and an empty collector that keeps its memory.
  mutating func finish() -> [SeriesSamples] {
    defer {
      labels.removeAll(keepingCapacity: true)
      ids.removeAll(keepingCapacity: true)
      timestamps.removeAll(keepingCapacity: true)
      values.removeAll(keepingCapacity: true)
      runs = 0
      lastID = -1
    }
    if runs == labels.count, isInOrderOfSeries() { return gather(order: nil) }
    return gather(order: sortedBySeries())
  }

  /// Whether each series' samples lie together, in the order in which the series were added.
  private func isInOrderOfSeries() -> Bool {
    var previous: Int32 = -1
    for id in ids {
      if id < previous { return false }
      previous = id
    }
    return true
  }

  /// The samples' places, by series, in the order of the request within one (counting sort).
  private func sortedBySeries() -> [Int32] {
    var starts = [Int32](repeating: 0, count: labels.count + 1)
    for id in ids { starts[Int(id) + 1] += 1 }
    for index in 0..<labels.count { starts[index + 1] += starts[index] }
    var order = [Int32](repeating: 0, count: ids.count)
    for (place, id) in ids.enumerated() {
      order[Int(starts[Int(id)])] = Int32(place)
      starts[Int(id)] += 1
    }
    return order
  }

  /// The samples of each series as columns, taken in `order` (nil: as they came).
  ///
  /// A sender's series mostly share their instants: one array of timestamps then serves all that follow one another. The
  /// label sets are moved out, not copied: their counts of owners lie all over memory.
  private mutating func gather(order: [Int32]?) -> [SeriesSamples] {
    if let order {
      timestamps = order.map { timestamps[Int($0)] }
      values = order.map { values[Int($0)] }
      ids = order.map { ids[Int($0)] }
    }
    var result: [SeriesSamples] = []
    result.reserveCapacity(labels.count)
    var shared: [Int64] = []
    var start = 0
    let count = ids.count
    while start < count {
      let id = ids[start]
      var end = start + 1
      var isAscending = true
      while end < count, ids[end] == id {
        if timestamps[end] < timestamps[end - 1] { isAscending = false }
        end += 1
      }
      if !isAscending { sortByTime(start..<end) }
      if !isEqual(shared, start..<end) { shared = Array(timestamps[start..<end]) }
      var taken = Labels.empty
      swap(&taken, &labels[Int(id)])
      result.append(SeriesSamples(labels: consume taken, timestamps: shared, values: Array(values[start..<end])))
      start = end
    }
    return result
  }

  /// Stable, so that of two samples of one instant the later stays behind.
  private mutating func sortByTime(_ range: Range<Int>) {
    let places = range.sorted { (timestamps[$0], $0) < (timestamps[$1], $1) }
    let sortedTimestamps = places.map { timestamps[$0] }
    let sortedValues = places.map { values[$0] }
    timestamps.replaceSubrange(range, with: sortedTimestamps)
    values.replaceSubrange(range, with: sortedValues)
  }

  private func isEqual(_ shared: [Int64], _ range: Range<Int>) -> Bool {
    guard shared.count == range.count else { return false }
    for index in 0..<shared.count where timestamps[range.lowerBound + index] != shared[index] { return false }
    return true
  }
}
