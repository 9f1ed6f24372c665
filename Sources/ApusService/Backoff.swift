/// How long to wait before the next try: doubling from `initial` to `maximum`, each wait drawn from its upper half, so
/// that many clients that lost one server do not come back in step. Pure: seeded, and without a clock.
package struct Backoff: Sendable {
  package let initial: Duration
  package let maximum: Duration
  /// Waits given since the last `reset`.
  package private(set) var attempts = 0
  private var random: SplitMix64

  /// - Precondition: `initial` is above zero and not above `maximum`.
  package init(initial: Duration = .milliseconds(100), maximum: Duration = .seconds(30), seed: UInt64) {
    precondition(initial > .zero && initial <= maximum, "backoff from \(initial) to \(maximum)")
    self.initial = initial
    self.maximum = maximum
    random = SplitMix64(seed: seed)
  }

  /// The next wait: at least half of, and at most, `initial` × 2ⁿ or `maximum`.
  package mutating func next() -> Duration {
    // 2^40 of the shortest wait is far beyond any maximum, so the shift cannot matter above it.
    let factor = Int64(1) << Int64(min(attempts, 40))
    attempts += 1
    let (product, overflow) = initial.wholeNanoseconds.multipliedReportingOverflow(by: factor)
    let ceiling = overflow ? maximum.wholeNanoseconds : min(product, maximum.wholeNanoseconds)
    let half = ceiling / 2
    return .nanoseconds(half + Int64.random(in: 0...(ceiling - half), using: &random))
  }

  /// Starts over after a success.
  package mutating func reset() { attempts = 0 }
}

/// A small, fast generator of numbers that look random: SplitMix64. The same seed gives the same numbers for ever.
package struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
