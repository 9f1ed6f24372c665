import ApusModel

/// Divides the range of an aggregate request among the roll-ups and, where there is none, the samples. Pure.
struct AggregatePlan {
  /// A part of the range, ascending and without overlap.
  struct Piece: Hashable {
    var range: TimeRange
    /// Which of the roll-ups, by its index; nil for the samples.
    var rollup: Int?
  }

  private(set) var pieces: [Piece] = []
  private var gaps: [TimeRange]

  init(_ range: TimeRange) { gaps = range.start <= range.end ? [range] : [] }

  /// Gives a roll-up those of its whole buckets that nothing coarser has: coarser ones must be offered before finer ones.
  mutating func offer(_ available: [TimeRange], of rollup: Int) {
    for part in available {
      var left: [TimeRange] = []
      for gap in gaps {
        let start = max(gap.start, part.start)
        let end = min(gap.end, part.end)
        if start > end {
          left.append(gap)
          continue
        }
        pieces.append(Piece(range: TimeRange(start: start, end: end), rollup: rollup))
        if gap.start < start {
          left.append(TimeRange(start: gap.start, end: Timestamp(milliseconds: start.milliseconds - 1)))
        }
        if end < gap.end {
          left.append(TimeRange(start: Timestamp(milliseconds: end.milliseconds + 1), end: gap.end))
        }
      }
      gaps = left
    }
  }

  /// Leaves the rest to the samples, of which there are none before `oldest`.
  mutating func finish(oldest: Int64) {
    for gap in gaps where gap.end.milliseconds >= oldest {
      let start = Timestamp(milliseconds: max(gap.start.milliseconds, oldest))
      pieces.append(Piece(range: TimeRange(start: start, end: gap.end), rollup: nil))
    }
    gaps = []
    pieces.sort { $0.range.start < $1.range.start }
  }
}

/// Which buckets of one roll-up may answer: those within the range that nothing has changed since they were made.
struct BucketAvailability {
  /// More pieces than this of one roll-up are not worth their overhead: its samples are read instead.
  static let piecesMax = 16

  private let meta: RollupMeta
  private let grid: TimeGrid
  /// The first bucket whose samples are all there.
  private let firstLiving: Int
  private var isClean: [Bool]

  /// - Parameters:
  ///   - oldest: samples before it are not answered any more.
  ///   - oldestBucket: buckets that end before it are not.
  init(_ meta: RollupMeta, in range: TimeRange, oldest: Int64, oldestBucket: Int64) {
    self.meta = meta
    grid = TimeGrid(step: meta.resolution)
    let count = Int((meta.end - meta.start) / meta.resolution)
    func ceiling(_ instant: Int64) -> Int {
      if instant <= meta.start { return 0 }
      if instant >= meta.end { return count }
      let below = Int((instant - meta.start) / meta.resolution)
      return meta.start + Int64(below) * meta.resolution == instant ? below : below + 1
    }
    firstLiving = ceiling(max(meta.floor, oldest))
    let first = max(ceiling(range.start.milliseconds), ceiling(oldestBucket))
    let end =
      range.end.milliseconds >= meta.end - 1
      ? count
      : range.end.milliseconds < meta.start ? 0 : Int((range.end.milliseconds + 1 - meta.start) / meta.resolution)
    isClean = (0..<count).map { $0 >= first && $0 < end }
  }

  /// The samples at these instants may not be what they were.
  mutating func exclude(_ instants: [Int64]) {
    for instant in instants where instant >= meta.start && instant < meta.end {
      let bucket = Int((instant - meta.start) / meta.resolution)
      if bucket >= firstLiving { isClean[bucket] = false }
    }
  }

  mutating func exclude(_ range: TimeRange) {
    guard range.overlaps(meta.range) else { return }
    let start = max(range.start.milliseconds, meta.start)
    let end = min(range.end.milliseconds, meta.end - 1)
    let first = max(firstLiving, Int((start - meta.start) / meta.resolution))
    let last = Int((end - meta.start) / meta.resolution)
    if first <= last { for bucket in first...last { isClean[bucket] = false } }
  }

  /// Leaves only the buckets that cannot be computed any more.
  mutating func excludeLiving() { exclude(meta.range) }

  var hasAny: Bool { isClean.contains(true) }

  /// The runs of buckets that may answer.
  var ranges: [TimeRange] {
    var copy = self
    let found = runs
    if found.count <= BucketAvailability.piecesMax { return found }
    copy.excludeLiving()
    return copy.runs
  }

  private var runs: [TimeRange] {
    var result: [TimeRange] = []
    var bucket = 0
    while bucket < isClean.count {
      if !isClean[bucket] {
        bucket += 1
        continue
      }
      let first = bucket
      while bucket < isClean.count && isClean[bucket] { bucket += 1 }
      result.append(
        TimeRange(
          start: Timestamp(milliseconds: meta.start + Int64(first) * meta.resolution),
          end: Timestamp(milliseconds: meta.start + Int64(bucket) * meta.resolution - 1)))
    }
    return result
  }
}
