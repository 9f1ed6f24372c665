/// A small deterministic random generator (SplitMix64): one word of state, and every state is a good one, so that
/// each simulated node can have a stream of its own, derived from the seed and the node's index.
package struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64

  package init(seed: UInt64) {
    state = seed
  }

  /// The stream number `stream` of a seed.
  package init(seed: UInt64, stream: UInt64) {
    var mixer = SeededGenerator(seed: seed ^ 0x6a09_e667_f3bc_c909)
    state = mixer.next() ^ (stream &* 0xd134_2543_de82_ef95)
    _ = next()
  }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// Uniform in 0 ..< 1, of 53 bits.
  package mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// Uniform between two bounds.
  package mutating func uniform(_ low: Double, _ high: Double) -> Double { low + (high - low) * unit() }

  /// Uniform in 0 ..< `bound`. The bias of the multiply-shift is below 2⁻³² for the bounds used here.
  package mutating func below(_ bound: Int) -> Int { Int(((next() >> 32) &* UInt64(bound)) >> 32) }

  /// Close to the standard normal distribution, within ±3.47: the sum of four uniform 16-bit parts of one draw.
  /// No logarithm or root is taken, so the result is the same on every machine.
  package mutating func normal() -> Double {
    let draw = next()
    let sum = (draw & 0xffff) + (draw >> 16 & 0xffff) + (draw >> 32 & 0xffff) + (draw >> 48)
    return (Double(sum) - 131_070) * (1.732_050_807_568_877_2 / 65_536)
  }
}
