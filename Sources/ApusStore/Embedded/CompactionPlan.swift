import ApusModel

/// Decides which blocks to merge and where to cut what comes out. Pure: lists of blocks in, lists of blocks out.
package struct CompactionPlan: Sendable {
  /// A block's samples belong to one of these spans of time where they are many enough.
  package var partitionMilliseconds: Int64
  /// Fewer samples than this do not deserve a block of their own: neighbouring spans share one.
  package var blockSamplesMin: Int
  /// A merge takes in no more than this.
  package var mergeSamplesMax: Int
  /// The background merges when so many blocks of like size have come together.
  package var fanIn = 4

  package init(partitionMilliseconds: Int64, blockSamplesMin: Int, mergeSamplesMax: Int) {
    self.partitionMilliseconds = partitionMilliseconds
    self.blockSamplesMin = blockSamplesMin
    self.mergeSamplesMax = mergeSamplesMax
  }

  private func partition(_ timestamp: Int64) -> Int64 {
    let quotient = timestamp / partitionMilliseconds
    return timestamp % partitionMilliseconds < 0 ? quotient - 1 : quotient
  }

  /// Where to cut samples into blocks, given how many lie in each partition: spans that follow one another and cover
  /// all of time. Their number is bounded by the number of samples, however wide these are scattered.
  package func spans(_ weights: [Int64: Int]) -> [TimeRange] {
    var starts: [Int64] = []
    var gathered = 0
    for (partition, weight) in weights.sorted(by: { $0.key < $1.key }) {
      // A large partition stands alone, and what was gathered before it ends there.
      if gathered > 0 && (gathered >= blockSamplesMin || weight >= blockSamplesMin) {
        starts.append(start(of: partition))
        gathered = 0
      }
      gathered += weight
    }
    var result: [TimeRange] = []
    var start = Int64.min
    for next in starts {
      result.append(TimeRange(start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: next - 1)))
      start = next
    }
    result.append(TimeRange(start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: .max)))
    return result
  }

  private func start(of partition: Int64) -> Int64 {
    let (product, overflow) = partition.multipliedReportingOverflow(by: partitionMilliseconds)
    return overflow ? .min + 1 : max(product, .min + 1)
  }

  /// How many samples the strips of some tracks have in each partition, absent ones counted.
  func weights(_ tracks: [Track], widths: [Int]) throws(StoreError) -> [Int64: Int] {
    var result: [Int64: Int] = [:]
    for (track, width) in zip(tracks, widths) {
      for strip in track.strips {
        if partition(strip.minimum) == partition(strip.maximum) {
          result[partition(strip.minimum), default: 0] += strip.rows * width
        } else {
          for timestamp in try strip.timestamps() { result[partition(timestamp), default: 0] += width }
        }
      }
    }
    return result
  }

  /// Blocks that lie over one another, in one partition, or side by side and small.
  package func components(_ blocks: [BlockMeta]) -> [[BlockMeta]] {
    var result: [[BlockMeta]] = []
    var maximum = Int64.min
    var lastIsSmall = false
    for block in blocks.sorted(by: { ($0.minimum, $0.id) < ($1.minimum, $1.id) }) {
      let isSmall = block.samples < blockSamplesMin
      let belongs =
        !result.isEmpty
        && (block.minimum <= maximum || partition(block.minimum) == partition(maximum) || isSmall && lastIsSmall)
      if belongs {
        result[result.count - 1].append(block)
        maximum = max(maximum, block.maximum)
      } else {
        result.append([block])
        maximum = block.maximum
      }
      lastIsSmall = isSmall
    }
    return result
  }

  /// The next merge when everything that can be merged shall be; nil when nothing is left. `settled` are blocks that
  /// came out of a merge that had to cut: they are merged again only together with one that did not, or it would not end.
  package func nextOfAll(_ blocks: [BlockMeta], tombstone: UInt64, settled: Set<UInt64>) -> [BlockMeta]? {
    for component in components(blocks) {
      if component.count > 1, let window = window(component, settled: settled) { return window }
      if let outdated = component.first(where: { $0.tombstonesApplied < tombstone }) {
        // Alone: a block may always be rewritten without its neighbours.
        return [outdated]
      }
    }
    return nil
  }

  /// With more tombstones than this the background rewrites the blocks that have not applied them, so that neither the
  /// manifest nor the work of a query grows with every delete.
  package static let tombstonesMax = 32

  /// The next merge that is worth its writing in the background; nil when there is none. `now` in milliseconds;
  /// `tombstones` are the numbers of all that are listed.
  package func nextInBackground(
    _ blocks: [BlockMeta], now: Int64, tombstones: [UInt64] = [], settled: Set<UInt64>
  ) -> [BlockMeta]? {
    if tombstones.count > CompactionPlan.tombstonesMax, let newest = tombstones.max() {
      let outdated = blocks.filter { $0.tombstonesApplied < newest }
      if let block = outdated.min(by: { $0.tombstonesApplied < $1.tombstonesApplied }) { return [block] }
    }
    for component in components(blocks) where component.count > 1 {
      if let run = likeSized(component, settled: settled) { return run }
      let maximum = component.reduce(Int64.min) { max($0, $1.maximum) }
      let isPast = maximum < now && partition(maximum) < partition(now)
      let sizes = component.map(\.samples)
      if isPast, let least = sizes.min(), let most = sizes.max(), least >= most / 16 {
        if let window = window(component, settled: settled) { return window }
      }
    }
    return nil
  }

  /// A run of at least `fanIn` blocks, one after another by sequence, of which none is much larger than another.
  private func likeSized(_ component: [BlockMeta], settled: Set<UInt64>) -> [BlockMeta]? {
    let ordered = CompactionPlan.bySequence(component)
    var start = 0
    while start + fanIn <= ordered.count {
      var least = ordered[start].samples
      var most = least
      var end = start + 1
      while end < ordered.count {
        let lower = min(least, ordered[end].samples)
        let upper = max(most, ordered[end].samples)
        if upper > max(blockSamplesMin, lower * 4) { break }
        least = lower
        most = upper
        end += 1
      }
      if end - start >= fanIn,
        let run = window(Array(ordered[start..<end]), within: ordered, countMin: fanIn, settled: settled)
      {
        return run
      }
      start += 1
    }
    return nil
  }

  private static func bySequence(_ blocks: [BlockMeta]) -> [BlockMeta] {
    blocks.sorted { ($0.sequence, $0.minimum) < ($1.sequence, $1.minimum) }
  }

  private func window(_ component: [BlockMeta], settled: Set<UInt64>) -> [BlockMeta]? {
    let ordered = CompactionPlan.bySequence(component)
    return window(ordered, within: ordered, countMin: 2, settled: settled)
  }

  /// The longest prefix of `wanted` that fits the bound, else a later run that does.
  ///
  /// What comes out takes the highest sequence that went in, so a run must be one of consecutive sequences, and must not
  /// leave out a block that shares the sequence of its first or last one.
  private func window(
    _ wanted: [BlockMeta], within ordered: [BlockMeta], countMin: Int, settled: Set<UInt64>
  ) -> [BlockMeta]? {
    for start in wanted.indices {
      var run: [BlockMeta] = []
      var samples = 0
      for block in wanted[start...] {
        if samples + block.samples > mergeSamplesMax { break }
        samples += block.samples
        run.append(block)
      }
      guard run.count >= countMin else { continue }
      let low = run[0].sequence
      let high = run[run.count - 1].sequence
      let closed = ordered.filter { $0.sequence >= low && $0.sequence <= high }
      if closed.reduce(0, { $0 + $1.samples }) > mergeSamplesMax { continue }
      if closed.contains(where: { !settled.contains($0.id) }) { return closed }
    }
    return nil
  }
}
