import ApusModel

/// What is known of a chunk without decoding it, so that an aggregate over whole chunks need not.
package struct ChunkStatistics: Hashable, Sendable {
  /// Samples that are there; the rest of this is meaningless when there are none.
  package var count = 0
  package var first = 0.0
  package var last = 0.0
  /// The extremes of what is not NaN; NaN when all are.
  package var minimum = Double.nan
  package var maximum = Double.nan
  /// The compensated sum (Neumaier) of what is not NaN. Infinities make it what adding them makes it.
  package var sum = 0.0
  /// A NaN is inside, stale markers included: the extremes and the sum are of the others only.
  package var hasNaN = false
  /// A stale marker is inside.
  package var hasStale = false

  package init() {}

  /// Computed from the values themselves. Cost: one pass.
  package init(of values: UnsafePointer<Double>, count: Int) {
    var summation = CompensatedSum()
    for index in 0..<count {
      let value = values[index]
      if value.isNaN {
        hasNaN = true
        if StaleMarker.isStale(value) { hasStale = true }
        continue
      }
      summation.add(value)
      if !(minimum <= value) { minimum = value }
      if !(maximum >= value) { maximum = value }
    }
    self.count = count
    first = values[0]
    last = values[count - 1]
    sum = summation.value
  }

  /// Statistics are the same when their bits are: NaN equals itself.
  package static func == (left: ChunkStatistics, right: ChunkStatistics) -> Bool {
    left.count == right.count && left.hasNaN == right.hasNaN && left.hasStale == right.hasStale
      && left.first.bitPattern == right.first.bitPattern && left.last.bitPattern == right.last.bitPattern
      && left.minimum.bitPattern == right.minimum.bitPattern && left.maximum.bitPattern == right.maximum.bitPattern
      && left.sum.bitPattern == right.sum.bitPattern
  }
}

/// Adds many doubles with the error of each addition kept and added at the end (Neumaier 1974).
struct CompensatedSum {
  private var total = 0.0
  private var error = 0.0

  mutating func add(_ value: Double) {
    let next = total + value
    error += total.magnitude >= value.magnitude ? (total - next) + value : (value - next) + total
    total = next
  }

  /// An infinity or an overflow leaves a meaningless error behind, so then the plain total counts.
  var value: Double { error.isFinite ? total + error : total }
}
