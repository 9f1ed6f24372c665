import ApusModel

/// Decides which set the samples of a source belong to, so that sets do not multiply: a series that is missing becomes
/// an absent bit, new ones are added to the set that there is, and a set is cut anew only when a quarter of it is absent
/// or it was added to eight times.
///
/// A source may show several lists in turn (a page that carries several timestamps, a file whose hosts report their
/// metrics at different seconds), so a few sets are kept. A source that changes its list all the time does not get new
/// sets for it: what its set does not hold is handed back, for the per-series lane.
struct SetKeeper: Sendable {
  /// Samples laid out as a set's column.
  struct Fitted {
    var set: SeriesSet
    var values: [Double]
    var absent: Bitmap?
  }

  /// Additions to a set before it is cut anew.
  static let chainMax = 8
  /// Sets kept for one source.
  static let setsMax = 8
  /// New sets that a source may make at once; each call earns a quarter of one back.
  static let changesMax = 8.0
  static let changesPerCall = 0.25

  private var candidates: [Candidate] = []
  private var changesLeft = SetKeeper.changesMax
  /// Sets made so far, for a metric.
  private(set) var setsMade = 0

  /// One of the source's sets.
  private struct Candidate: Sendable {
    var set: SeriesSet
    /// The numbers of the set's series, in its order.
    var order: [Int32]
    /// The number for which `positions` has its first place.
    var first: Int32
    /// The position of each numbered series in the set, -1 for those that are not in it: from the set's lowest number to
    /// its highest, so that the sets of many hosts on one page do not each take a place for every series of the page.
    var positions: [Int32]
    /// The same for a set whose numbers lie far apart.
    var scattered: [Int32: Int32]
    /// Additions since the set was cut.
    var chain: Int

    init(set: SeriesSet, order: [Int32], chain: Int) {
      self.set = set
      self.order = order
      self.chain = chain
      first = order.min() ?? 0
      positions = []
      scattered = [:]
      let span = Int(order.max() ?? 0) - Int(first) + 1
      guard span <= 4 * order.count + 64 else {
        scattered.reserveCapacity(order.count)
        for (position, number) in order.enumerated() { scattered[number] = Int32(position) }
        return
      }
      positions = [Int32](repeating: -1, count: span)
      for (position, number) in order.enumerated() { positions[Int(number - first)] = Int32(position) }
    }

    func position(of number: Int32) -> Int? {
      if positions.isEmpty { return scattered[number].map { Int($0) } }
      let index = Int(number) - Int(first)
      guard index >= 0, index < positions.count, positions[index] >= 0 else { return nil }
      return Int(positions[index])
    }
  }

  /// Whether `fit` would take these series, in this order, as they are.
  func isCurrent(_ series: [Int32]) -> Bool { candidates.first?.order == series }

  /// Lays out one instant's samples.
  ///
  /// - Parameters:
  ///   - series: the numbers of the series, none twice.
  ///   - values: as many values.
  ///   - blanks: the indices, ascending, of those that have no value after all.
  /// - Returns: the column (nil when nothing fits in a set), and the indices of the samples that are not in it.
  mutating func fit(
    _ series: [Int32], _ values: consuming [Double], blanks: [Int], directory: SeriesDirectory,
    families: MetricFamilies
  ) -> (column: Fitted?, strangers: [Int]) {
    changesLeft = min(changesLeft + SetKeeper.changesPerCall, SetKeeper.changesMax)
    if let index = candidates.firstIndex(where: { $0.order == series }) {
      moveToFront(index)
      let absent = blanks.isEmpty ? nil : SetKeeper.bitmap(blanks, count: series.count)
      return (Fitted(set: candidates[0].set, values: values, absent: absent), [])
    }
    guard !series.isEmpty else { return (nil, []) }

    let best = bestCandidate(for: series)
    if let best, best.isGood {
      moveToFront(best.index)
      if best.strangers == 0 || changesLeft < 1 {
        return layOut(series, values, blanks)
      }
      if candidates[0].chain < SetKeeper.chainMax {
        extendFirst(series, directory, families)
      } else {
        candidates.removeFirst()
        cut(series, directory, families)
      }
      return layOut(series, values, blanks)
    }
    if changesLeft >= 1 {
      cut(series, directory, families)
      return layOut(series, values, blanks)
    }
    guard let best, best.strangers < series.count else { return (nil, Array(series.indices)) }
    moveToFront(best.index)
    return layOut(series, values, blanks)
  }

  /// The set that needs the fewest additions, then has the fewest absent; `isGood` when less than a quarter is absent.
  private func bestCandidate(for series: [Int32]) -> (index: Int, strangers: Int, isGood: Bool)? {
    var best: (index: Int, strangers: Int, absent: Int, isGood: Bool)?
    for (index, candidate) in candidates.enumerated() {
      var shared = 0
      for number in series where candidate.position(of: number) != nil { shared += 1 }
      let strangers = series.count - shared
      let absent = candidate.order.count - shared
      let isGood = absent * 4 < candidate.order.count + strangers && shared > 0
      if let best, (best.isGood && !isGood) { continue }
      if let best, best.isGood == isGood, (best.strangers, best.absent) <= (strangers, absent) { continue }
      best = (index, strangers, absent, isGood)
    }
    return best.map { ($0.index, $0.strangers, $0.isGood) }
  }

  private mutating func moveToFront(_ index: Int) {
    if index > 0 { candidates.insert(candidates.remove(at: index), at: 0) }
  }

  private mutating func cut(_ series: [Int32], _ directory: SeriesDirectory, _ families: MetricFamilies) {
    add(order: series, chain: 0, directory, families)
    if candidates.count > SetKeeper.setsMax { candidates.removeLast() }
  }

  private mutating func extendFirst(_ series: [Int32], _ directory: SeriesDirectory, _ families: MetricFamilies) {
    let old = candidates.removeFirst()
    let order = old.order + series.filter { old.position(of: $0) == nil }
    add(order: order, chain: old.chain + 1, directory, families)
  }

  private mutating func add(
    order: [Int32], chain: Int, _ directory: SeriesDirectory, _ families: MetricFamilies
  ) {
    changesLeft -= 1
    setsMade += 1
    let series = order.map { directory.labels[Int($0)] }
    let set = SeriesSet(series: series, descriptors: families.descriptors(of: series))
    candidates.insert(Candidate(set: set, order: order, chain: chain), at: 0)
  }

  /// Puts the samples in the places that the first candidate has for them.
  private func layOut(
    _ series: [Int32], _ values: [Double], _ blanks: [Int]
  ) -> (column: Fitted?, strangers: [Int]) {
    let candidate = candidates[0]
    var column = [Double](repeating: 0, count: candidate.order.count)
    var absent = Bitmap(allSet: candidate.order.count)
    var strangers: [Int] = []
    var nextBlank = 0
    for (index, number) in series.enumerated() {
      if nextBlank < blanks.count, blanks[nextBlank] == index {
        nextBlank += 1
        continue
      }
      guard let position = candidate.position(of: number) else {
        strangers.append(index)
        continue
      }
      column[position] = values[index]
      absent[position] = false
    }
    let isWhole = absent.setCount == 0
    return (Fitted(set: candidate.set, values: column, absent: isWhole ? nil : absent), strangers)
  }

  private static func bitmap(_ indices: [Int], count: Int) -> Bitmap {
    var bitmap = Bitmap(count: count)
    for index in indices { bitmap[index] = true }
    return bitmap
  }
}

extension Bitmap {
  /// All bits set.
  init(allSet count: Int) {
    self.init(count: count)
    for index in 0..<count { self[index] = true }
  }
}
