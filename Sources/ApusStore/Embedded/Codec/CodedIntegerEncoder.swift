import ApusIO

/// Encodes noisy integers near to their entropy (docs/format/store.md, "Coded integers"): by a finite-state entropy coder
/// (after Duda, "Asymmetric numeral systems", arXiv:1311.2540) over the magnitudes of residuals.
///
/// Mini-blocks of one width spend a bit and a half a value too much on Gaussian noise, and more on what is mostly still.
/// Here a chunk is cut into runs where its noise changes, as when a job begins, and each run has the predictor and the
/// table that suit it.
///
/// Invariant (unsafe memory): the scratch buffers are owned by this value; those by row have `ValueChunk.rowsMax`
/// elements and no run is longer (checked on entry), those by token `TokenTable.tokensMax` or all 256 of them.
struct CodedIntegerEncoder: ~Copyable {
  /// Fewer integers do not earn back their table.
  static let countMin = 128

  private let folded: UnsafeMutablePointer<UInt64>
  private let tokens: UnsafeMutablePointer<UInt8>
  private let histogram: UnsafeMutablePointer<Int32>
  private let weights: UnsafeMutablePointer<UInt8>
  private let states: UnsafeMutablePointer<Int32>
  /// Where the next states of each token begin in `successors`.
  private let starts: UnsafeMutablePointer<Int32>
  private let successors: UnsafeMutablePointer<UInt16>
  /// For each row the bits that lead from its state to the next one, and how many they are.
  private let steps: UnsafeMutablePointer<UInt32>
  private var cutter = RunCutter()

  init() {
    folded = .allocate(capacity: ValueChunk.rowsMax)
    tokens = .allocate(capacity: ValueChunk.rowsMax)
    histogram = .allocate(capacity: 256)
    weights = .allocate(capacity: TokenTable.tokensMax + 1)
    states = .allocate(capacity: TokenTable.tokensMax)
    starts = .allocate(capacity: TokenTable.tokensMax)
    successors = .allocate(capacity: TokenTable.statesMax)
    steps = .allocate(capacity: ValueChunk.rowsMax)
  }

  deinit {
    folded.deallocate()
    tokens.deallocate()
    histogram.deallocate()
    weights.deallocate()
    states.deallocate()
    starts.deallocate()
    successors.deallocate()
    steps.deallocate()
  }

  /// Appends `count` integers to `out`; false, with nothing appended, when they are too few or too far apart for it.
  /// - Precondition: all within ±2^52, so that no sum of them overflows.
  mutating func encode(_ values: UnsafePointer<Int64>, count: Int, to out: inout OutputBuffer) -> Bool {
    precondition(count <= ValueChunk.rowsMax, "a run of \(count) integers")
    if count < CodedIntegerEncoder.countMin { return false }
    let begin = out.count
    out.putZigzag(values[0])
    var start = 1
    for end in cutter.cut(values, count: count) {
      guard encodeRun(values + start, count: end - start, to: &out) else {
        out.truncate(to: begin)
        return false
      }
      start = end
    }
    return true
  }

  /// `values[-1]` is the integer before the run.
  private func encodeRun(_ values: UnsafePointer<Int64>, count: Int, to out: inout OutputBuffer) -> Bool {
    let (predictor, base) = choosePredictor(values, count)
    var widest: UInt64 = 0
    Predictor.residuals(predictor, values, count: count, base: base) { row, residual in
      let number = TokenTable.fold(residual)
      folded[row] = number
      widest |= number
    }
    let unit = commonUnit(count)
    if unit > 1 {
      for row in 0..<count { folded[row] = TokenTable.fold(TokenTable.unfold(folded[row]) / unit) }
      widest /= UInt64(unit)
    }
    // Where the numbers are small each deserves a token of its own.
    let leading = widest < 1024 ? 2 : 1
    let (least, range) = tokenize(count, leading: leading)
    if range > TokenTable.tokensMax { return false }
    out.putVarint(UInt64(count))
    out.put(predictor.rawValue | UInt8(leading << 3) | (unit > 1 ? TokenTable.unitFlag : 0))
    out.putZigzag(base)
    if unit > 1 { out.putVarint(UInt64(unit)) }
    out.put(UInt8(least))
    out.put(UInt8(range))
    putWeights(least, range, to: &out)
    let stateBits = TokenTable.stateBits(tokens: range)
    let first = walkBack(count, least: least, range: range, stateBits: stateBits)
    putBits(count, leading: leading, first: first, stateBits: stateBits, to: &out)
    return true
  }

  /// The predictor and the base whose residuals have the fewest bits.
  private func choosePredictor(_ values: UnsafePointer<Int64>, _ count: Int) -> (predictor: Predictor, base: Int64) {
    var sum: Int64 = 0
    for row in 0..<count { sum &+= values[row] &- values[-1] }
    let step = values[0] &- values[-1]
    let candidates: [(Predictor, Int64)] = [
      (.slope, 0), (.slope, (values[count - 1] &- values[-1]) / Int64(count)), (.level, sum / Int64(count)),
      (.level, CodedIntegerEncoder.majority(values, count) &- values[-1]), (.differences, step), (.mean, step),
      (.meanSlope, step),
    ]
    var best = (Predictor.slope, Int64(0), Int.max)
    for (predictor, base) in candidates {
      var bits = count * 64
      Predictor.residuals(predictor, values, count: count, base: base) { _, residual in
        bits -= TokenTable.fold(residual).leadingZeroBitCount
      }
      if bits < best.2 { best = (predictor, base, bits) }
    }
    return (best.0, best.1)
  }

  /// The value of more than half of the rows where there is one, else one of them (Boyer and Moore's vote).
  private static func majority(_ values: UnsafePointer<Int64>, _ count: Int) -> Int64 {
    var leader = values[0]
    var lead = 0
    for row in 0..<count {
      if lead == 0 { leader = values[row] }
      lead += values[row] == leader ? 1 : -1
    }
    return leader
  }

  /// What all residuals are multiples of: clocks move in steps of 15 MHz, and memory in pages.
  private func commonUnit(_ count: Int) -> Int64 {
    var unit: Int64 = 0
    for row in 0..<count {
      var rest = TokenTable.unfold(folded[row])
      while rest != 0 { (unit, rest) = (rest, unit % rest) }
      if unit == 1 || unit == -1 { return 1 }
    }
    return max(1, abs(unit))
  }

  /// Finds each row's token and counts them. Returns the least one, and how many there are up to the greatest.
  private func tokenize(_ count: Int, leading: Int) -> (least: Int, range: Int) {
    histogram.update(repeating: 0, count: 256)
    var least = 255
    var greatest = 0
    for row in 0..<count {
      let token = TokenTable.split(folded[row], leading: leading).token
      tokens[row] = UInt8(truncatingIfNeeded: token)
      histogram[token & 255] += 1
      least = min(least, token)
      greatest = max(greatest, token)
    }
    return (least, greatest - least + 1)
  }

  /// Writes how common each token is, rounded to half powers of two of the commonest one's number.
  private func putWeights(_ least: Int, _ range: Int, to out: inout OutputBuffer) {
    var most: Int32 = 1
    for index in 0..<range { most = max(most, histogram[least + index]) }
    for index in 0..<range {
      let number = histogram[least + index]
      var weight = 0
      if number > 0 {
        // In the shares' unit; the next share is right from the geometric mean of both on, which is 1.19 of the lower.
        let share = Int(number) * TokenTable.shares[15] / Int(most)
        weight = 1
        while weight < 15 && share * 84 >= TokenTable.shares[weight] * 100 { weight += 1 }
      }
      weights[index] = UInt8(truncatingIfNeeded: weight)
    }
    weights[range] = 0
    for index in stride(from: 0, to: range, by: 2) { out.put(weights[index] | weights[index + 1] << 4) }
  }

  /// Goes over the tokens from the last to the first, as the coder must, and keeps the bits of each. Returns the state
  /// that reading begins with.
  private func walkBack(_ count: Int, least: Int, range: Int, stateBits: Int) -> Int {
    let isNormal = TokenTable.normalise(weights, count: range, stateBits: stateBits, into: states)
    precondition(isNormal, "no token has a weight")
    let total = 1 << stateBits
    var start: Int32 = 0
    for index in 0..<range {
      starts[index] = start
      start += states[index]
    }
    // A token's next states ascend; the histogram is not needed any more and says where the next one goes.
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: total) { owners in
      TokenTable.spread(states, count: range, stateBits: stateBits) { index, state in
        owners[state] = UInt8(truncatingIfNeeded: index)
      }
      for index in 0..<range { histogram[index] = starts[index] }
      for state in 0..<total {
        let owner = Int(owners[state])
        successors[Int(histogram[owner])] = UInt16(truncatingIfNeeded: total + state)
        histogram[owner] += 1
      }
    }
    // Its last use: how many bits a token's number of states takes from a state, at most.
    for index in 0..<range {
      histogram[index] = Int32(stateBits - (31 - max(1, states[index]).leadingZeroBitCount))
    }
    var state = total
    var row = count - 1
    while row >= 0 {
      let index = Int(tokens[row]) - least
      let number = Int(states[index])
      var bits = Int(histogram[index])
      if state >> bits < number { bits -= 1 }
      steps[row] = UInt32(truncatingIfNeeded: (state & ((1 << bits) - 1)) << 8 | bits)
      state = Int(successors[Int(starts[index]) + state >> bits - number])
      row -= 1
    }
    return state - total
  }

  /// Writes the first state, then for each row the bits below its token and those that lead to the next state.
  private func putBits(_ count: Int, leading: Int, first: Int, stateBits: Int, to out: inout OutputBuffer) {
    out.reserve(16 + count * 10)
    let base = out.base
    var position = out.count
    var word = UInt64(first)
    var used = stateBits
    @inline(__always) func put(_ bits: UInt64, _ number: Int) {
      word |= bits << UInt64(used)
      used += number
      if used >= 64 {
        base.storeBytes(of: word.littleEndian, toByteOffset: position, as: UInt64.self)
        position += 8
        used -= 64
        // A shift by 64, when the bits ended at the word's end, gives zero, as it should.
        word = bits >> UInt64(number - used)
      }
    }
    for row in 0..<count {
      let rest = TokenTable.split(folded[row], leading: leading).rest
      put(folded[row] & ((1 << UInt64(rest)) - 1), rest)
      put(UInt64(steps[row] >> 8), Int(steps[row] & 255))
    }
    base.storeBytes(of: word.littleEndian, toByteOffset: position, as: UInt64.self)
    out.advance(to: position + (used + 7) / 8)
  }
}
