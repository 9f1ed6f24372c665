import ApusIO

extension ByteReader {
  /// What a state of the entropy decoder stands for.
  private struct State {
    /// The least folded number of its token.
    var least: UInt64
    /// The next state, but for the bits that are read.
    var next: UInt16
    var stepBits: UInt8
    /// The bits below the token.
    var restBits: UInt8
  }

  /// Reads `count` integers that `CodedIntegerEncoder.encode` wrote.
  ///
  /// Invariant (unsafe memory): `target` has room for `count` integers; the callers allocate by the same count. The table
  /// has `TokenTable.statesMax` states; a state read from it is below the number of those that are in use, because a
  /// token's next states are made from that number here and never read.
  mutating func readCodedIntegers(
    into target: UnsafeMutablePointer<Int64>, count: Int
  ) throws(ByteReaderError) {
    guard count > 0 else { return }
    target[0] = try readZigzag()
    var start = 1
    while start < count {
      let rows = try readCount(max: count - start)
      guard rows > 0 else { throw ByteReaderError(kind: .outOfBounds, offset: position) }
      try readRun(into: target + start, count: rows)
      start += rows
    }
  }

  /// Reads one run; `target[-1]` is the integer before it.
  private mutating func readRun(into target: UnsafeMutablePointer<Int64>, count: Int) throws(ByteReaderError) {
    let header = try read(UInt8.self)
    let leading = Int((header & ~TokenTable.unitFlag) >> 3)
    guard let predictor = Predictor(rawValue: header & 7), leading <= 2 else {
      throw ByteReaderError(kind: .outOfBounds, offset: position - 1)
    }
    let base = try readZigzag()
    let unit = header & TokenTable.unitFlag == 0 ? 1 : Int64(bitPattern: try readVarint())
    let least = Int(try read(UInt8.self))
    let range = Int(try read(UInt8.self))
    guard range > 0, range <= TokenTable.tokensMax, least + range <= TokenTable.tokenEnd(leading: leading) else {
      throw ByteReaderError(kind: .outOfBounds, offset: position - 2)
    }
    let packed = try readBytes((range + 1) / 2)
    let stateBits = TokenTable.stateBits(tokens: range)
    let start = position
    var isWhole = false
    // The error is made outside of the closure, which may not throw a typed one.
    withUnsafeTemporaryAllocation(of: State.self, capacity: TokenTable.statesMax) { table in
      let states = table.baseAddress!
      guard ByteReader.makeStates(packed, least, range, leading, stateBits, into: states) else { return }
      isWhole = readResiduals(states, stateBits, into: target, count: count)
    }
    guard isWhole else { throw ByteReaderError(kind: .outOfBounds, offset: start) }
    if unit != 1 { for row in 0..<count { target[row] = target[row] &* unit } }
    Predictor.restore(predictor, target, count: count, base: base)
  }

  /// Builds the decoder's table; false when the weights are none.
  private static func makeStates(
    _ packed: UnsafeRawBufferPointer, _ least: Int, _ range: Int, _ leading: Int, _ stateBits: Int,
    into table: UnsafeMutablePointer<State>
  ) -> Bool {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: TokenTable.tokensMax) { weights in
      withUnsafeTemporaryAllocation(of: Int32.self, capacity: TokenTable.tokensMax) { states in
        for index in 0..<range { weights[index] = (packed[index >> 1] >> UInt8((index & 1) * 4)) & 15 }
        let numbers = states.baseAddress!
        guard TokenTable.normalise(weights.baseAddress!, count: range, stateBits: stateBits, into: numbers) else {
          return false
        }
        TokenTable.spread(numbers, count: range, stateBits: stateBits) { index, state in
          let (number, rest) = TokenTable.join(least + index, leading: leading)
          // The token's index stays here until its states are numbered in ascending order below.
          table[state] = State(
            least: number, next: UInt16(truncatingIfNeeded: index), stepBits: 0, restBits: UInt8(rest))
        }
        let total = 1 << stateBits
        for state in 0..<total {
          let index = Int(table[state].next)
          let number = numbers[index]
          numbers[index] += 1
          let bits = stateBits - (31 - number.leadingZeroBitCount)
          table[state].stepBits = UInt8(truncatingIfNeeded: bits)
          table[state].next = UInt16(truncatingIfNeeded: Int(number) << bits - total)
        }
        return true
      }
    }
  }

  /// Decodes the rows of a run into residuals; false when the bits end too early.
  private mutating func readResiduals(
    _ table: UnsafePointer<State>, _ stateBits: Int, into target: UnsafeMutablePointer<Int64>, count: Int
  ) -> Bool {
    let source = UnsafeRawBufferPointer(rebasing: bytes[position...])
    guard let start = source.baseAddress, source.count * 8 >= stateBits else { return false }
    var bit = stateBits
    var state = Int(ByteReader.bits(of: source, from: 0, width: stateBits))
    // Up to here a whole word may be loaded from every bit.
    let wordsEnd = (source.count - 8) * 8
    let end = source.count * 8
    for row in 0..<count {
      let entry = table[state]
      let rest = Int(entry.restBits)
      let step = Int(entry.stepBits)
      let folded: UInt64
      if bit <= wordsEnd && rest + step <= 56 {
        let word =
          UInt64(littleEndian: start.loadUnaligned(fromByteOffset: bit >> 3, as: UInt64.self)) &>> UInt64(bit & 7)
        folded = entry.least &+ (word & ((1 &<< UInt64(rest)) &- 1))
        state = Int(entry.next) + Int((word &>> UInt64(rest)) & ((1 &<< UInt64(step)) &- 1))
      } else {
        if bit + rest + step > end { return false }
        folded = entry.least &+ ByteReader.bits(of: source, from: bit, width: rest)
        state = Int(entry.next) + Int(ByteReader.bits(of: source, from: bit + rest, width: step))
      }
      bit += rest + step
      target[row] = TokenTable.unfold(folded)
    }
    position += (bit + 7) / 8
    return true
  }
}
