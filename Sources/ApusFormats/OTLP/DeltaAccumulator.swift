import ApusModel

/// Adds up the deltas of series that report only what was new since their last report, so that they can be stored as
/// counters. After a restart, or when a series was forgotten, counting begins at 0 again, which every query takes for a
/// counter's reset.
///
/// What one request adds is pending until `commit`: a request that could not be made durable is rolled back, and its
/// repetition is not taken for a duplicate.
struct DeltaAccumulator {
  /// How many series are added up at once; deltas of further ones are refused.
  static let seriesMax = 100_000
  /// A series that has not reported for so long, by the time of the reports, may be forgotten when the bound is reached.
  static let idleNanoseconds: UInt64 = 3_600_000_000_000
  /// The bound is looked at again only when so much time has passed in the reports.
  private static let sweepNanoseconds: UInt64 = 60_000_000_000

  private struct State {
    var sum: Double
    /// The end of the last interval that was added, in nanoseconds since 1970.
    var time: UInt64
  }

  private var states: [Labels: State] = [:]
  private var pending: [Labels: State] = [:]
  /// What the data point at hand changed in `pending`, to take it back.
  private var journal: [(labels: Labels, before: State?)] = []
  private var newSeries = 0
  private var newest: UInt64 = 0
  private var sweptAt: UInt64 = 0

  /// Begins a data point: all of it is added or none.
  mutating func beginPoint() { journal.removeAll(keepingCapacity: true) }

  /// Takes back what was added since `beginPoint`.
  mutating func abandonPoint() {
    for change in journal.reversed() {
      if change.before == nil, states[change.labels] == nil { newSeries -= 1 }
      pending[change.labels] = change.before
    }
    journal.removeAll(keepingCapacity: true)
  }

  /// The series' sum once `delta`, of the interval from `start` (0: not told) to `time`, is in it.
  mutating func add(
    _ labels: Labels, _ delta: Double, from start: UInt64, to time: UInt64
  ) throws(IngestProblem) -> Double {
    let before = pending[labels]
    var state = State(sum: 0, time: 0)
    if let known = before ?? states[labels] {
      guard time > known.time, start == 0 || start >= known.time else { throw .deltaOutOfOrder }
      state = known
    } else {
      if states.count + newSeries >= DeltaAccumulator.seriesMax { sweep() }
      guard states.count + newSeries < DeltaAccumulator.seriesMax else {
        throw .tooManyDeltaSeries(limit: DeltaAccumulator.seriesMax)
      }
      newSeries += 1
    }
    state.sum += delta
    state.time = time
    newest = max(newest, time)
    journal.append((labels, before))
    pending[labels] = state
    return state.sum
  }

  /// Whether anything was added that is neither durable nor taken back.
  var hasPending: Bool { !pending.isEmpty }

  /// What was added since the last call is durable.
  mutating func commit() {
    for (labels, state) in pending { states[labels] = state }
    rollback()
  }

  /// What was added since the last call never happened.
  mutating func rollback() {
    pending.removeAll(keepingCapacity: true)
    journal.removeAll(keepingCapacity: true)
    newSeries = 0
  }

  private mutating func sweep() {
    guard newest >= sweptAt &+ DeltaAccumulator.sweepNanoseconds else { return }
    sweptAt = newest
    let newest = newest
    states = states.filter { entry in
      entry.value.time &+ DeltaAccumulator.idleNanoseconds >= newest || pending[entry.key] != nil
    }
  }
}
