import ApusModel
import ApusStore

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

  private mutating func select(_ request: SelectRequest) async throws(StoreError) -> [SeriesColumn] {
    let columns = try await store.select(request)
    let count = columns.reduce(0) { $0 + $1.values.count }
    samplesRead += count
    metrics.samplesRead.add(UInt64(count))
    guard samplesRead <= samplesPerRequestMax else {
      throw .tooManySamples(found: samplesRead, limit: samplesPerRequestMax)
    }
    return columns
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
      if try await !store.series(matchers, in: .all).isEmpty { result.alternatives.append(matchers) }
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
