/// Decides where a chunk of coded integers is cut into runs: pieces of equal length are joined while one table for both
/// costs less than a table for each.
///
/// Invariant (unsafe memory): `counts` is owned by this value and has a row of 64 for each piece there may be.
struct RunCutter: ~Copyable {
  static let pieceRows = 60
  private static let piecesMax = ValueChunk.rowsMax / pieceRows + 1

  /// A run so far: its histogram of magnitudes in `counts`, by the number of its first piece.
  private struct Run {
    var piece: Int
    var end: Int
    var rows: Int
    /// What its tokens and its table take, in 256ths of a bit.
    var cost: Int
  }

  private let counts: UnsafeMutablePointer<Int32>

  init() { counts = .allocate(capacity: RunCutter.piecesMax * 64) }

  deinit { counts.deallocate() }

  /// The ends of the runs, ascending; the last is `count`. The first run begins at 1.
  mutating func cut(_ values: UnsafePointer<Int64>, count: Int) -> [Int] {
    var runs: [Run] = []
    let order = RunCutter.order(values, count)
    var start = 1
    while start < count {
      // The last piece takes what is left, so that none is short.
      let end = count - start < 2 * RunCutter.pieceRows ? count : start + RunCutter.pieceRows
      let piece = runs.count
      measure(values, start..<end, order: order, into: counts + piece * 64)
      var run = Run(piece: piece, end: end, rows: end - start, cost: 0)
      run.cost = cost(counts + piece * 64, nil, rows: run.rows)
      runs.append(run)
      start = end
    }
    while runs.count > 1 {
      var best = (gain: 0, index: -1)
      for index in 0..<runs.count - 1 {
        let joined = cost(
          counts + runs[index].piece * 64, counts + runs[index + 1].piece * 64,
          rows: runs[index].rows + runs[index + 1].rows)
        let gain = runs[index].cost + runs[index + 1].cost - joined
        if gain > best.gain { best = (gain, index) }
      }
      if best.index < 0 { break }
      join(&runs, best.index)
    }
    return runs.map(\.end)
  }

  private func join(_ runs: inout [Run], _ index: Int) {
    let next = runs.remove(at: index + 1)
    let target = counts + runs[index].piece * 64
    let source = counts + next.piece * 64
    for exponent in 0..<64 { target[exponent] += source[exponent] }
    runs[index].end = next.end
    runs[index].rows += next.rows
    runs[index].cost = cost(target, nil, rows: runs[index].rows)
  }

  /// Whether the noise shows best in the differences or in the differences of those.
  private static func order(_ values: UnsafePointer<Int64>, _ count: Int) -> Int {
    var first = 0
    var second = 0
    var before: Int64 = 0
    for row in 1..<count {
      let step = values[row] &- values[row - 1]
      first -= TokenTable.fold(step).leadingZeroBitCount
      second -= TokenTable.fold(step &- before).leadingZeroBitCount
      before = step
    }
    return second < first ? 2 : 1
  }

  /// Counts the magnitudes of a piece.
  private func measure(
    _ values: UnsafePointer<Int64>, _ rows: Range<Int>, order: Int, into counts: UnsafeMutablePointer<Int32>
  ) {
    counts.update(repeating: 0, count: 64)
    for row in rows {
      var number = values[row] &- values[row - 1]
      if order == 2 && row > 1 { number = number &- (values[row - 1] &- values[row - 2]) }
      counts[63 - (TokenTable.fold(number) | 1).leadingZeroBitCount] += 1
    }
  }

  /// What the magnitudes of one or two histograms take by their entropy, and their table.
  private func cost(_ left: UnsafePointer<Int32>, _ right: UnsafePointer<Int32>?, rows: Int) -> Int {
    var sum = RunCutter.weight(rows)
    var least = 63
    var greatest = 0
    for exponent in 0..<64 {
      let number = Int(left[exponent] + (right?[exponent] ?? 0))
      if number == 0 { continue }
      sum -= RunCutter.weight(number)
      least = min(least, exponent)
      greatest = exponent
    }
    // Six bytes at the head of a run, and two tokens of four bits an octave.
    return sum + 256 * (48 + 8 * (greatest - least + 1))
  }

  /// n · log2(n), in 256ths.
  private static func weight(_ number: Int) -> Int {
    guard number > 1 else { return 0 }
    let exponent = Int.bitWidth - 1 - number.leadingZeroBitCount
    // Between powers of two the logarithm is nearly a straight line with a bulge: 0.086 at most, in the middle.
    let fraction = ((number - 1 << exponent) << 8) >> exponent
    let bulge = (fraction * (256 - fraction) * 22) >> 14
    return number * (exponent << 8 + fraction + bulge)
  }
}
