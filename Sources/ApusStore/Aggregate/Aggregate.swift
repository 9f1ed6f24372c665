import ApusModel

/// What is kept of the samples in a bucket or window, so that the functions of a longer one can be computed from those
/// of its parts. Samples and parts are added in ascending order of time.
struct Aggregate: Sendable {
  /// How many numbers there were; the fields up to `resets` are of numbers only.
  var count = 0
  var minimum = Double.nan
  var maximum = Double.nan
  var sum = CompensatedSum()
  var first = Double.nan
  var lastNumber = Double.nan
  /// The sum of the values from which a counter fell.
  var resets = 0.0
  /// The last sample that is no stale marker; the last marker where there is nothing else.
  var last = Double.nan
  var lastInstant = Int64.min
  var isEmpty = true

  init() {}

  mutating func add(_ value: Double, at instant: Int64) {
    if isEmpty || !StaleMarker.isStale(value) || StaleMarker.isStale(last) {
      last = value
      lastInstant = instant
    }
    isEmpty = false
    if value.isNaN { return }
    if count == 0 {
      first = value
      minimum = value
      maximum = value
    } else {
      if value < minimum { minimum = value }
      if value > maximum { maximum = value }
      if value < lastNumber { resets += lastNumber }
    }
    count += 1
    sum.add(value)
    lastNumber = value
  }

  /// Adds what follows in time.
  mutating func add(_ later: Aggregate) {
    if later.isEmpty { return }
    if isEmpty {
      self = later
      return
    }
    if !StaleMarker.isStale(later.last) || StaleMarker.isStale(last) {
      last = later.last
      lastInstant = later.lastInstant
    }
    if later.count == 0 { return }
    if count == 0 {
      first = later.first
    } else if later.first < lastNumber {
      resets += lastNumber
    }
    resets += later.resets
    count += later.count
    if !(minimum <= later.minimum) { minimum = later.minimum }
    if !(maximum >= later.maximum) { maximum = later.maximum }
    sum.add(later.sum.value)
    lastNumber = later.lastNumber
  }

  var increase: Double { (lastNumber - first) + resets }

  func value(_ function: AggregateFunction) -> Double {
    switch function {
    case .minimum: minimum
    case .maximum: maximum
    case .sum: sum.value
    case .count: Double(count)
    case .last: last
    case .first: first
    case .increase: increase
    }
  }
}
