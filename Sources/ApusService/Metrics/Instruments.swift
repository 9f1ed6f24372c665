import Synchronization

/// A number that only grows. Adding is one atomic instruction; any thread may.
package final class Counter: Sendable {
  private let raw = Atomic<UInt64>(0)

  /// A counter that no registry shows; its owner adds it to a family of his own.
  package init() {}

  package func add(_ number: UInt64 = 1) { raw.wrappingAdd(number, ordering: .relaxed) }

  package var value: UInt64 { raw.load(ordering: .relaxed) }
}

/// A number that goes up and down.
package final class Gauge: Sendable {
  private let bits = Atomic<UInt64>(0)

  init() {}

  package func set(_ value: Double) { bits.store(value.bitPattern, ordering: .relaxed) }

  package func add(_ difference: Double) {
    var old = bits.load(ordering: .relaxed)
    while true {
      let new = (Double(bitPattern: old) + difference).bitPattern
      let (exchanged, current) = bits.weakCompareExchange(expected: old, desired: new, ordering: .relaxed)
      if exchanged { return }
      old = current
    }
  }

  package var value: Double { Double(bitPattern: bits.load(ordering: .relaxed)) }
}

/// How often values fell below each of a few bounds, with their sum.
package final class Histogram: Sendable {
  /// Upper bounds, ascending and finite; above the last one there is `+Inf`.
  package let bounds: [Double]
  private let counts: [Counter]
  private let total = Gauge()

  init(bounds: [Double]) {
    precondition(zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }, "bounds must ascend: \(bounds)")
    precondition(bounds.allSatisfy { $0.isFinite }, "bounds must be finite: \(bounds)")
    self.bounds = bounds
    counts = (0...bounds.count).map { _ in Counter() }
  }

  package func observe(_ value: Double) {
    var index = 0
    while index < bounds.count, !(value <= bounds[index]) { index += 1 }
    counts[index].add()
    total.add(value)
  }

  package var sum: Double { total.value }

  package var count: UInt64 { counts.reduce(0) { $0 + $1.value } }

  /// How many values were at or below each bound, then all of them.
  package var cumulativeCounts: [UInt64] {
    var running: UInt64 = 0
    return counts.map { counter in
      running += counter.value
      return running
    }
  }

  /// Bounds for waiting times in seconds, from a tenth of a millisecond to a minute.
  package static let latencyBounds = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
  ]
}
