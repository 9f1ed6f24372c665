import ApusModel
import ApusStore

/// The newest sample of a series.
struct NewestSample: Sendable {
  var labels: Labels
  var timestamp: Int64
  var value: Double
  /// A stale marker stands behind the sample: the series has ended.
  var isEnded: Bool
}

/// Reads the store for one request, and counts what it reads against the request's bound.
///
/// Not shared between requests. Every select names the most samples that it may bring, so that a question too wide
/// fails before it takes the memory.
struct FleetReader: Sendable {
  let store: any Store
  let metrics: APIMetrics
  /// The most samples that one select may bring.
  let samplesPerSelectMax: Int
  /// The most samples that the whole request may read.
  let samplesPerRequestMax: Int
  private(set) var samplesRead = 0
  /// What answered `lastSamples` so far: the length of the roll-ups' buckets in milliseconds, or 0 for the samples.
  private(set) var resolutions: Set<Int64> = []

  init(store: any Store, metrics: APIMetrics, samplesPerSelectMax: Int, samplesPerRequestMax: Int) {
    self.store = store
    self.metrics = metrics
    self.samplesPerSelectMax = samplesPerSelectMax
    self.samplesPerRequestMax = samplesPerRequestMax
  }

  /// The samples of a selection.
  mutating func select(
    _ selection: SeriesSelection, in range: TimeRange = .all, newest: Int? = nil
  ) async throws(StoreError) -> [SeriesColumn] {
    var columns: [SeriesColumn] = []
    for matchers in selection.alternatives {
      columns += try await select(
        SelectRequest(matchers, in: range, newest: newest, maxSamples: samplesPerSelectMax))
    }
    return columns
  }

  /// The newest sample of each series of a selection, ascending within each of its alternatives. A stale marker is no
  /// sample: where one stands last, the sample before it is looked for.
  mutating func newest(_ selection: SeriesSelection) async throws(StoreError) -> [NewestSample] {
    var result: [NewestSample] = []
    var ended: [Labels: Int] = [:]
    for column in try await select(selection, newest: 1) {
      guard let timestamp = column.timestamps.last, let value = column.values.last else { continue }
      let isEnded = StaleMarker.isStale(value)
      if isEnded { ended[column.labels] = result.count }
      result.append(NewestSample(labels: column.labels, timestamp: timestamp, value: value, isEnded: isEnded))
    }
    // Mostly one marker ends a series; a writer that repeats it is followed so far back.
    var count = 2
    while !ended.isEmpty, count <= FleetReader.markersMax {
      for column in try await select(selection.narrowed(to: ended.keys), newest: count) {
        guard let place = ended[column.labels],
          let index = column.values.lastIndex(where: { !StaleMarker.isStale($0) })
        else { continue }
        result[place].timestamp = column.timestamps[index]
        result[place].value = column.values[index]
        ended[column.labels] = nil
      }
      count *= 8
    }
    // What is left has no sample but markers: the rest is older than the store keeps.
    return ended.isEmpty ? result : result.filter { ended[$0.labels] == nil }
  }

  /// Markers in a row behind which a sample is looked for.
  private static let markersMax = 128

  /// Of each series the last sample in every whole interval of a step, in milliseconds. Where the store has them rolled
  /// up it answers from there, and `resolutions` tells.
  mutating func lastSamples(
    _ selection: SeriesSelection, in range: TimeRange, step: Int64
  ) async throws(StoreError) -> [SeriesColumn] {
    var columns: [SeriesColumn] = []
    for matchers in selection.alternatives {
      let answer = try await store.aggregate(
        AggregateRequest(matchers, in: range, step: step, functions: [.last], maxSamples: samplesPerSelectMax))
      try count(answer.samplesRead)
      for span in answer.spans { resolutions.insert(span.resolution ?? 0) }
      columns += answer.series.map {
        SeriesColumn(labels: $0.labels, timestamps: $0.lastInstants, values: $0.columns[.last] ?? [])
      }
    }
    return columns
  }

  private mutating func select(_ request: SelectRequest) async throws(StoreError) -> [SeriesColumn] {
    let columns = try await store.select(request)
    try count(columns.reduce(0) { $0 + $1.values.count })
    return columns
  }

  private mutating func count(_ samples: Int) throws(StoreError) {
    samplesRead += samples
    metrics.samplesRead.add(UInt64(samples))
    guard samplesRead <= samplesPerRequestMax else {
      throw .tooManySamples(found: samplesRead, limit: samplesPerRequestMax)
    }
  }

  /// The label sets of a selection, ascending within each of its alternatives.
  func series(_ selection: SeriesSelection) async throws(StoreError) -> [Labels] {
    var result: [Labels] = []
    for matchers in selection.alternatives { result += try await store.series(matchers, in: .all) }
    return result
  }

  /// The selection without the alternatives that no series meets, so that later selects do not ask for them again.
  func existing(_ selection: SeriesSelection) async throws(StoreError) -> SeriesSelection {
    var result = SeriesSelection(alternatives: [])
    for matchers in selection.alternatives {
      if try await !store.labelNames(matchers, in: .all).isEmpty { result.alternatives.append(matchers) }
    }
    return result
  }

  /// From the oldest to the newest sample there is, or nil where the store is empty or does not know.
  func extent() async throws(StoreError) -> TimeRange? {
    let statistics = try await store.statistics()
    guard let oldest = statistics.oldestSample, let newest = statistics.newestSample else { return nil }
    return TimeRange(start: oldest, end: newest)
  }
}
