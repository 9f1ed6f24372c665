import ApusIO
import ApusModel

/// Rolls up one span: reads the samples once, keeps from the roll-ups before what can no longer be computed, and writes a
/// file for each resolution.
struct RollupBuild {
  /// One resolution of the span.
  struct Target {
    var resolution: Int64
    /// What there is of it; its buckets that begin before the floor are taken over.
    var old: Rollup?
    /// Tombstones that the old one has not applied.
    var tombstones: [Tombstone] = []
    var path: String
    var id: UInt64
    var options: BlockWriter.Options

    var floor: Int64 { old?.meta.floor ?? .min }
  }

  let work: RollupPlan.Work
  let tracks: [Track]
  let table: SeriesTable
  let masks: MaskTable
  let sequence: UInt64
  let tombstonesApplied: UInt64
  /// Fewer samples a bucket than this are not worth the buckets; 0 where the samples will go.
  let samplesPerBucketMin: Int
  var counters: CounterRule

  /// Writes the file of a target. Its series are those of the samples and, behind them, those that only the old one has.
  /// Nil when there is nothing to write or it is not worth it; then there is no file.
  mutating func write(
    _ target: Target, disk: any Disk, shouldStop: () -> Bool
  ) throws(StoreError) -> BlockMeta? {
    var writer = try RollupWriter(disk, path: target.path, options: target.options)
    var past = try Past(target)
    let grid = TimeGrid(step: target.resolution)
    let range = TimeRange(
      start: Timestamp(milliseconds: work.start), end: Timestamp(milliseconds: work.end - 1))
    var assembler = ColumnAssembler()
    var samples = 0
    var isPossible = true
    for cohort in table.cohorts() {
      if shouldStop() { throw .closed }
      let plan = try MergePlan(tracks, members: cohort.members, range: range)
      let segments = grid.segments(plan.timestamps).filter { $0.start >= target.floor }
      for series in cohort.series {
        let labels = table.labels[series]
        isPossible = isPossible && !RollupColumn.isInTheWay(of: labels)
        let present = try assembler.assemble(plan, table.places[series], masks: masks)
        samples += present
        var buckets = try past.take(labels)
        let isWhole = present == plan.timestamps.count
        for segment in segments {
          var bucket = Aggregate()
          for row in segment.rows where isWhole || assembler.presence[row] != 0 {
            bucket.add(assembler.values[row], at: plan.timestamps[row])
          }
          if !bucket.isEmpty { buckets.append(bucket) }
        }
        try writer.add(labels, buckets, isCounter: counters.isCounter(labels))
      }
    }
    for labels in past.rest {
      try writer.add(labels, try past.take(labels), isCounter: counters.isCounter(labels))
    }
    let isWorth = past.hasSeries || samples >= samplesPerBucketMin * writer.buckets
    return try writer.finish(
      id: target.id, sequence: sequence, tombstonesApplied: tombstonesApplied, isWanted: isPossible && isWorth)
  }

  /// The buckets of an old roll-up whose samples are gone.
  private struct Past {
    private let target: Target
    private var series: [Rollup.Series] = []
    private var numbers: [Labels: Int] = [:]
    private var taken: Set<Int> = []
    private var scratch = Rollup.Scratch()

    init(_ target: Target) throws(StoreError) {
      self.target = target
      guard let old = target.old, old.meta.floor > old.meta.start else { return }
      series = try old.series([])
      for (number, found) in series.enumerated() { numbers[found.labels] = number }
    }

    /// What is kept of a series.
    mutating func take(_ labels: Labels) throws(StoreError) -> [Aggregate] {
      guard let number = numbers[labels], let old = target.old else { return [] }
      taken.insert(number)
      var result: [Aggregate] = []
      let concerned = target.tombstones.filter { $0.matchers.allSatisfy { $0.matches(labels) } }
      let range = TimeRange(
        start: Timestamp(milliseconds: old.meta.start), end: Timestamp(milliseconds: old.meta.floor - 1))
      try old.read(
        series[number], beginningIn: range, columns: Set(RollupColumn.allCases), scratch: &scratch
      ) { start, bucket in
        // A bucket that cannot be made again goes as a whole when a delete takes a part of it.
        let bucketRange = TimeRange(
          start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: start + target.resolution - 1))
        if !concerned.contains(where: { $0.range.overlaps(bucketRange) }) { result.append(bucket) }
      }
      return result
    }

    var hasSeries: Bool { !series.isEmpty }

    /// The series that have not been taken.
    var rest: [Labels] { series.indices.filter { !taken.contains($0) }.map { series[$0].labels } }
  }
}
