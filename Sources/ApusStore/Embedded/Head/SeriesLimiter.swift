import ApusModel

/// Decides which new series may come in. What was there lately always may: a flood of new series never stops the old.
///
/// Counted are the series of the head and those of the heads of the last one to two windows. Beyond the limit a series
/// is still taken when a block has it.
struct SeriesLimiter {
  let limit: Int
  let windowMilliseconds: Int64
  /// Hashes of the series of past heads, with the window in which each was last seen.
  private var recent: [Int: Int64] = [:]
  private var window = Int64.min
  /// Series of the head that are not among the recent ones.
  private var fresh = 0
  /// Hashes of series that were refused since the head began, so that each is looked for in the blocks once.
  private var refused: Set<Int> = []
  private(set) var refusals = 0

  init(limit: Int, windowMilliseconds: Int64) {
    self.limit = limit
    self.windowMilliseconds = windowMilliseconds
  }

  /// Whether a series that the head does not have yet may come in. `isStored` looks into the blocks.
  mutating func admit(_ series: Labels, isStored: (Labels) -> Bool) -> Bool {
    let hash = series.hashValue
    if recent[hash] != nil { return true }
    if recent.count + fresh < limit {
      fresh += 1
      return true
    }
    if refused.contains(hash) { return false }
    if isStored(series) { return true }
    // Beyond this many the same series may be counted again.
    if refused.count < 1 << 20 { refused.insert(hash) }
    refusals += 1
    return false
  }

  /// The head with these series is being sealed and a new one begins.
  mutating func headEnds(_ series: [Labels], now: Int64) {
    let current = now / windowMilliseconds
    if current != window {
      window = current
      recent = recent.filter { $0.value >= current - 1 }
    }
    for labels in series { recent[labels.hashValue] = current }
    fresh = 0
    refused = []
  }
}
