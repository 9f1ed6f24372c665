import ApusIO
import ApusModel
import Synchronization

/// A store that keeps everything in plain arrays and nothing on disk: `memory://`, for development and tests.
///
/// What is taken in counts as durable at once, so that the log may drop it: after a restart the store is empty. When the
/// samples exceed their bound the oldest eighth of the time covered is dropped.
package final class MemoryStore: Store {
  /// What may be set of a store in memory.
  package struct Configuration: Sendable {
    /// The most samples that are kept; 16 bytes each.
    package var samplesMax = 50_000_000
    /// The most series; new ones beyond are refused.
    package var seriesLimit = 1_000_000
    /// Samples older than this, by their own time against the wall clock, are neither taken nor answered.
    package var retentionMilliseconds: Int64?

    package init() {}

    /// Whether the settings can be; the error names the setting.
    package func validate() throws(StoreError) {
      guard samplesMax > 0 else { throw .invalidConfiguration(setting: "samples maximum", reason: "must be above 0") }
      guard seriesLimit > 0 else { throw .invalidConfiguration(setting: "series limit", reason: "must be above 0") }
      if let retentionMilliseconds, retentionMilliseconds <= 0 {
        throw .invalidConfiguration(setting: "retention", reason: "must be above 0")
      }
    }
  }

  private struct Column {
    var timestamps: [Int64] = []
    var values: [Double] = []
  }

  private struct State {
    var series: [Labels: Column] = [:]
    var samples = 0
    var refused: Set<Labels> = []
    var positions: [LogPartition: Int64] = [:]
    var descriptors: [String: MetricDescriptor] = [:]
    var outOfOrder = 0
    var duplicate = 0
    var isClosed = false
  }

  private let configuration: Configuration
  private let clock: any WallClock
  private let state = Mutex(State())

  package init(clock: any WallClock, configuration: Configuration = Configuration()) throws(StoreError) {
    try configuration.validate()
    self.clock = clock
    self.configuration = configuration
  }

  private var oldestKept: Int64 {
    guard let retention = configuration.retentionMilliseconds else { return .min }
    let (oldest, overflow) = clock.now.subtractingReportingOverflow(retention)
    return overflow ? .min : oldest
  }

  private func open<Value: Sendable>(
    _ body: (inout State) throws(StoreError) -> Value
  ) throws(StoreError) -> Value {
    try state.withLock { state throws(StoreError) in
      if state.isClosed { throw .closed }
      return try body(&state)
    }
  }

  package func append(_ batch: StoreBatch) async throws(StoreError) -> AppendOutcome {
    let oldest = oldestKept
    return try open { state throws(StoreError) in
      var outcome = AppendOutcome()
      let appended = state.positions[batch.partition] ?? .min
      for item in batch.items {
        if item.offset < appended {
          outcome.recordsSkipped += 1
          continue
        }
        let before = (outcome.samplesOverSeriesLimit, outcome.samplesTooOld)
        defer { outcome.noteRefusal(at: item.offset, since: before) }
        for descriptor in item.descriptors { state.descriptors[descriptor.name] = descriptor }
        switch item.content {
        case .scrape(let scrape):
          for descriptor in scrape.set.descriptors { state.descriptors[descriptor.name] = descriptor }
          let timestamp = scrape.timestamp.milliseconds
          for (row, labels) in scrape.set.series.enumerated() where scrape.absent?[row] != true {
            put(labels, timestamp, scrape.values[row], oldest, &state, &outcome)
          }
        case .samples(let list):
          for samples in list {
            for (timestamp, value) in zip(samples.timestamps, samples.values) {
              put(samples.labels, timestamp, value, oldest, &state, &outcome)
            }
          }
        }
      }
      if batch.nextOffset > appended { state.positions[batch.partition] = batch.nextOffset }
      if state.samples > configuration.samplesMax { MemoryStore.evict(&state, to: configuration.samplesMax) }
      return outcome
    }
  }

  private func put(
    _ labels: Labels, _ timestamp: Int64, _ value: Double, _ oldest: Int64, _ state: inout State,
    _ outcome: inout AppendOutcome
  ) {
    guard timestamp >= oldest else {
      outcome.samplesTooOld += 1
      return
    }
    if state.series[labels] == nil {
      guard state.series.count < configuration.seriesLimit else {
        if state.refused.count < configuration.seriesLimit { state.refused.insert(labels) }
        outcome.samplesOverSeriesLimit += 1
        return
      }
      state.series[labels] = Column()
    }
    outcome.samplesAccepted += 1
    let last = state.series[labels]?.timestamps.last
    if last.map({ $0 < timestamp }) ?? true {
      state.series[labels]!.timestamps.append(timestamp)
      state.series[labels]!.values.append(value)
      state.samples += 1
      return
    }
    let place = state.series[labels]!.timestamps.firstIndex(atLeast: timestamp)
    if state.series[labels]!.timestamps[place] == timestamp {
      state.series[labels]!.values[place] = value
      state.duplicate += 1
    } else {
      state.series[labels]!.timestamps.insert(timestamp, at: place)
      state.series[labels]!.values.insert(value, at: place)
      state.samples += 1
      state.outOfOrder += 1
    }
  }

  /// Drops the oldest samples until there are no more than seven eighths of the bound.
  private static func evict(_ state: inout State, to bound: Int) {
    while state.samples > bound / 8 * 7 {
      var oldest = Int64.max
      var newest = Int64.min
      for column in state.series.values {
        oldest = min(oldest, column.timestamps.first ?? .max)
        newest = max(newest, column.timestamps.last ?? .min)
      }
      guard oldest < newest else { return }
      let cut = oldest + max(1, (newest / 8 - oldest / 8))
      keep(&state) { $0 >= cut }
    }
  }

  /// Keeps the samples whose timestamps meet a condition, and the series that still have some.
  private static func keep(_ state: inout State, where condition: (Int64) -> Bool) {
    for labels in Array(state.series.keys) {
      filter(&state, labels, condition)
    }
  }

  private static func filter(_ state: inout State, _ labels: Labels, _ condition: (Int64) -> Bool) {
    guard let column = state.series.removeValue(forKey: labels) else { return }
    var kept = Column()
    for (timestamp, value) in zip(column.timestamps, column.values) where condition(timestamp) {
      kept.timestamps.append(timestamp)
      kept.values.append(value)
    }
    state.samples -= column.values.count - kept.values.count
    if !kept.values.isEmpty { state.series[labels] = kept }
  }

  package func positions() async throws(StoreError) -> [LogPartition: StorePosition] {
    try open { state throws(StoreError) in state.positions.mapValues { StorePosition(appended: $0, durable: $0) } }
  }

  package func select(_ request: SelectRequest) async throws(StoreError) -> [SeriesColumn] {
    let oldest = oldestKept
    let matchers = [CompiledMatcher](request.matchers)
    return try open { state throws(StoreError) in
      var result: [SeriesColumn] = []
      var samples = 0
      for (labels, column) in state.series where matchers.matches(labels) {
        var rows = MemoryStore.rows(of: column, request.range, oldest)
        if let newest = request.newest {
          rows = max(rows.lowerBound, rows.upperBound - max(0, newest))..<rows.upperBound
        }
        if rows.isEmpty { continue }
        samples += rows.count
        if let limit = request.maxSamples, samples > limit {
          throw .tooManySamples(found: samples, limit: limit)
        }
        result.append(
          SeriesColumn(labels: labels, timestamps: Array(column.timestamps[rows]), values: Array(column.values[rows])))
      }
      result.sort { $0.labels < $1.labels }
      return result
    }
  }

  private static func rows(of column: Column, _ range: TimeRange, _ oldest: Int64) -> Range<Int> {
    let first = column.timestamps.firstIndex(atLeast: max(oldest, range.start.milliseconds))
    let end = range.end.milliseconds
    let last = end == .max ? column.timestamps.count : column.timestamps.firstIndex(atLeast: end + 1)
    return first..<max(first, last)
  }

  package func series(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [Labels] {
    let oldest = oldestKept
    let compiled = [CompiledMatcher](matchers)
    return try open { state throws(StoreError) in
      state.series.filter { compiled.matches($0.key) && !MemoryStore.rows(of: $0.value, range, oldest).isEmpty }
        .keys.sorted()
    }
  }

  package func labelNames(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [String] {
    LabelListing.names(try await series(matchers, in: range))
  }

  package func labelValues(
    _ label: String, _ matchers: [Matcher], in range: TimeRange
  ) async throws(StoreError) -> [String] {
    LabelListing.values(of: label, try await series(matchers, in: range))
  }

  package func descriptors() async throws(StoreError) -> [MetricDescriptor] {
    try open { state throws(StoreError) in state.descriptors.values.sorted { $0.name < $1.name } }
  }

  package func delete(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) {
    let compiled = [CompiledMatcher](matchers)
    try open { state throws(StoreError) in
      for labels in Array(state.series.keys) where compiled.matches(labels) {
        MemoryStore.filter(&state, labels) { !range.contains(Timestamp(milliseconds: $0)) }
      }
    }
  }

  /// Nothing is kept in files.
  @discardableResult
  package func flush() async throws(StoreError) -> StoreWork {
    try open { _ throws(StoreError) in }
    return StoreWork()
  }

  /// Drops what retention does not keep.
  @discardableResult
  package func compact() async throws(StoreError) -> StoreWork {
    let oldest = oldestKept
    try open { state throws(StoreError) in
      if oldest > .min { MemoryStore.keep(&state) { $0 >= oldest } }
    }
    return StoreWork()
  }

  package func snapshot(named name: SnapshotName) async throws(StoreError) -> SnapshotSummary {
    throw .refused("a store in memory has no files to make a snapshot of")
  }

  package func statistics() async throws(StoreError) -> StoreStatistics {
    try open { state throws(StoreError) in
      var result = StoreStatistics()
      result.seriesInHead = state.series.count
      result.samplesInHead = state.samples
      result.headBytes = state.samples * 16 + state.series.keys.reduce(0) { $0 + $1.bytes.count + 64 }
      result.oldestSample = state.series.values.compactMap(\.timestamps.first).min().map { Timestamp(milliseconds: $0) }
      result.newestSample = state.series.values.compactMap(\.timestamps.last).max().map { Timestamp(milliseconds: $0) }
      result.seriesRejected = state.refused.count
      result.samplesOutOfOrder = state.outOfOrder
      result.samplesDuplicate = state.duplicate
      return result
    }
  }

  package func close() async throws(StoreError) {
    try open { state throws(StoreError) in
      state = State()
      state.isClosed = true
    }
  }
}

/// Names and values of labels out of a list of series.
enum LabelListing {
  static func names(_ series: [Labels]) -> [String] {
    var names: Set<ArraySlice<UInt8>> = []
    for labels in series { labels.forEach { name, _ in names.insert(name) } }
    return names.sorted { $0.lexicographicallyPrecedes($1) }.map { String(decoding: $0, as: UTF8.self) }
  }

  static func values(of label: String, _ series: [Labels]) -> [String] {
    let wanted = Array(label.utf8)
    var values: Set<ArraySlice<UInt8>> = []
    for labels in series {
      labels.forEach { name, value in
        if name.elementsEqual(wanted) { values.insert(value) }
      }
    }
    return values.sorted { $0.lexicographicallyPrecedes($1) }.map { String(decoding: $0, as: UTF8.self) }
  }
}
