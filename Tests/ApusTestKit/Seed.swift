/// A small generator of random numbers (SplitMix64): the same seed gives the same run, byte for byte.
package struct Seed: RandomNumberGenerator, Sendable {
  package let start: UInt64
  private var state: UInt64

  package init(_ start: UInt64) {
    self.start = start
    state = start
  }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// True once in `n` times.
  package mutating func oneIn(_ n: Int) -> Bool { Int.random(in: 0..<n, using: &self) == 0 }

  package mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
}

/// How many seeded schedules a simulation runs: few in an ordinary run, more when the environment asks.
package enum SeedRange {
  /// `APUS_SEED=n` runs that one seed, to look into a failure; `APUS_SEEDS=n` runs the seeds 0 to n−1.
  package static func schedules(_ ordinary: Int, environment: [String: String]) -> Range<UInt64> {
    if let single = environment["APUS_SEED"].flatMap({ UInt64($0) }) { return single..<single + 1 }
    return 0..<(environment["APUS_SEEDS"].flatMap { UInt64($0) } ?? UInt64(ordinary))
  }
}
