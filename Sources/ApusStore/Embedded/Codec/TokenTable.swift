import ApusIO

/// How integers become tokens, and how often each token is expected: what both ends of coded integers agree on
/// (docs/format/store.md, "Coded integers").
///
/// A residual is folded so that small ones of either sign are small, then split: a token with the number's magnitude and
/// its leading bits, which is entropy-coded, and the bits below, which look like chance in measured values and are
/// written as they are.
package enum TokenTable {
  /// More tokens than this from the least to the greatest are not coded: the table would outweigh what it saves.
  package static let tokensMax = 64
  static let statesMax = 512
  /// In a run's header: all its residuals are multiples of a number that is told.
  static let unitFlag: UInt8 = 0x80
  /// The share of a token by its weight of four bits: half powers of two, from 1 to 128, by 16. Finer shares would cost
  /// more in the table than they save in the run.
  static let shares: [Int] = [
    0, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024, 1448, 2048,
  ]

  /// How many bits tell the states apart when so many tokens are in the range.
  @inline(__always) package static func stateBits(tokens: Int) -> Int { tokens <= 32 ? 8 : 9 }

  /// There are no tokens from here on: the number would have more than 64 bits.
  @inline(__always) package static func tokenEnd(leading: Int) -> Int {
    (2 << leading) + ((63 - leading) << leading)
  }

  @inline(__always) package static func fold(_ value: Int64) -> UInt64 {
    UInt64(bitPattern: (value << 1) ^ (value >> 63))
  }

  @inline(__always) package static func unfold(_ value: UInt64) -> Int64 {
    Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
  }

  /// The token of a folded number and how many of its bits are not in it. `leading` bits behind the highest one are.
  @inline(__always) package static func split(_ folded: UInt64, leading: Int) -> (token: Int, rest: Int) {
    let exponent = 63 - (folded | 1).leadingZeroBitCount
    if exponent <= leading { return (Int(truncatingIfNeeded: folded), 0) }
    let rest = exponent - leading
    // The highest bit is taken away by counting the octave from the first one that is split.
    let octave = (rest - 1) << leading
    return ((1 << leading) + octave + Int(truncatingIfNeeded: folded >> UInt64(rest)), rest)
  }

  /// The least number of a token, and how many bits are to be added to it.
  @inline(__always) package static func join(_ token: Int, leading: Int) -> (least: UInt64, rest: Int) {
    let direct = 2 << leading
    if token < direct { return (UInt64(token), 0) }
    let rest = (token - direct) >> leading + 1
    let lead = (1 << leading) | (token - direct) & ((1 << leading) - 1)
    return (UInt64(lead) << UInt64(rest), rest)
  }

  /// Turns weights into numbers of states that add up to all of them, each token that has a weight with one at least.
  /// False when no token has a weight.
  ///
  /// Invariant (unsafe memory): both have `count` elements.
  package static func normalise(
    _ weights: UnsafePointer<UInt8>, count: Int, stateBits: Int, into states: UnsafeMutablePointer<Int32>
  ) -> Bool {
    var sum = 0
    for index in 0..<count { sum += shares[Int(weights[index] & 15)] }
    guard sum > 0 else { return false }
    let total = 1 << stateBits
    var left = total
    for index in 0..<count {
      let share = shares[Int(weights[index] & 15)]
      let number = share == 0 ? 0 : max(1, share * total / sum)
      states[index] = Int32(truncatingIfNeeded: number)
      left -= number
    }
    // What rounding left over, or took too much of, is the commonest token's.
    while left != 0 {
      var greatest = 0
      for index in 1..<max(1, count) where states[index] > states[greatest] { greatest = index }
      let change = max(left, 1 - Int(states[greatest]))
      states[greatest] += Int32(truncatingIfNeeded: change)
      left -= change
    }
    return true
  }

  /// Spreads the tokens over the states; `body` is called with each token's index and the state.
  @inline(__always) static func spread(
    _ states: UnsafePointer<Int32>, count: Int, stateBits: Int, _ body: (_ index: Int, _ state: Int) -> Void
  ) {
    let total = 1 << stateBits
    // Odd, so that every state is met once.
    let step = total >> 1 + total >> 3 + 3
    var state = 0
    for index in 0..<count {
      for _ in 0..<states[index] {
        body(index, state)
        state = (state + step) & (total - 1)
      }
    }
  }
}
