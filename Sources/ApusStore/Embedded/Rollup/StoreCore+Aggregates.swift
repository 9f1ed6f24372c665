import ApusModel

extension StoreCore {
  /// A roll-up that a request may use, and its series that the request is for.
  private struct Candidate {
    var rollup: Rollup
    var series: [Rollup.Series]
    /// Deletes that have not reached its file. Buckets whose samples are there are not read where one hides something;
    /// of others the whole bucket is hidden.
    var tombstones: [Tombstone]
  }

  func aggregate(_ request: AggregateRequest) throws(StoreError) -> AggregateAnswer {
    let compiled = [CompiledMatcher](request.matchers)
    let now = clock.now
    let oldest = oldestKept(now: now)
    let snapshot = try snapshot(compiled, in: request.range)
    var plan = AggregatePlan(request.range)
    var candidates: [Candidate] = []
    for rollup in snapshot.rollups.sorted(by: {
      ($1.meta.resolution, $0.meta.start) < ($0.meta.resolution, $1.meta.start)
    }) where request.grid.isMade(of: TimeGrid(step: rollup.meta.resolution)) {
      let (available, candidate) = try availability(
        of: rollup, request, compiled, snapshot, oldest: oldest, now: now)
      guard !available.isEmpty, let candidate else { continue }
      plan.offer(available, of: candidates.count)
      candidates.append(candidate)
    }
    plan.finish(oldest: oldest)
    var collector = AggregateCollector(request)
    var isRolledUp = false
    for piece in plan.pieces {
      let before = collector.readSoFar
      if let index = piece.rollup {
        try addBuckets(candidates[index], request, piece.range, &collector)
      } else {
        try addSamples(snapshot, compiled, request, piece.range, &collector)
      }
      guard collector.readSoFar > before else { continue }
      isRolledUp = isRolledUp || piece.rollup != nil
      collector.note(piece.range, resolution: piece.rollup.map { candidates[$0].rollup.meta.resolution })
    }
    if isRolledUp { state.withLock { $0.rollupAnswers += 1 } }
    return collector.finish()
  }

  private func availability(
    of rollup: Rollup, _ request: AggregateRequest, _ compiled: [CompiledMatcher], _ snapshot: Snapshot,
    oldest: Int64, now: Int64
  ) throws(StoreError) -> ([TimeRange], Candidate?) {
    let retention = configuration.rollups.first { $0.resolutionMilliseconds == rollup.meta.resolution }?
      .retentionMilliseconds
    let (cutoff, overflow) = now.subtractingReportingOverflow(retention ?? 0)
    var buckets = BucketAvailability(
      rollup.meta, in: request.range, oldest: oldest, oldestBucket: retention == nil || overflow ? .min : cutoff)
    guard buckets.hasAny else { return ([], nil) }
    let range = rollup.meta.range
    for block in snapshot.blocks where block.meta.sequence > rollup.meta.sequence && block.meta.range.overlaps(range) {
      for (group, content) in block.groups.enumerated() {
        for stripe in content.stripes.indices where Strip(block, group: group, stripe: stripe).overlaps(range) {
          buckets.exclude(try block.timestamps(group: group, stripe: stripe))
        }
      }
    }
    for part in snapshot.parts {
      for track in part.tracks {
        for strip in track.strips where strip.overlaps(range) { buckets.exclude(try strip.timestamps()) }
      }
    }
    guard buckets.hasAny else { return ([], nil) }
    let series = try rollup.series(compiled)
    let tombstones = snapshot.tombstones.filter { tombstone in
      rollup.meta.isConcerned(by: tombstone)
        && series.contains { series in tombstone.matchers.allSatisfy { $0.matches(series.labels) } }
    }
    for tombstone in tombstones { buckets.exclude(tombstone.range) }
    if !request.functions.isDisjoint(with: [.first, .increase]) && !series.allSatisfy(\.isCounter) {
      // What the metric is was not known when it was rolled up, or it is no counter: the samples know.
      buckets.excludeLiving()
    }
    return (buckets.ranges, Candidate(rollup: rollup, series: series, tombstones: tombstones))
  }

  /// The series with a sample in the range, or with a bucket of which no samples are left.
  func allSeries(_ matchers: [Matcher], in range: TimeRange) throws(StoreError) -> [Labels] {
    let sampled = try series(matchers, in: range)
    let rolledUp = try rolledUpSeries(matchers, in: range)
    return rolledUp.isEmpty ? sampled : rolledUp.union(sampled).sorted()
  }

  /// The names of those series' labels.
  func allLabelNames(_ matchers: [Matcher], in range: TimeRange) throws(StoreError) -> [String] {
    let sampled = try labelNames(matchers, in: range)
    let rolledUp = try rolledUpSeries(matchers, in: range)
    return rolledUp.isEmpty ? sampled : StoreCore.union(sampled, LabelListing.names(Array(rolledUp)))
  }

  /// The values that a label has in them.
  func allLabelValues(_ label: String, _ matchers: [Matcher], in range: TimeRange) throws(StoreError) -> [String] {
    let sampled = try labelValues(label, matchers, in: range)
    let rolledUp = try rolledUpSeries(matchers + [.notEqual(label, "")], in: range)
    return rolledUp.isEmpty ? sampled : StoreCore.union(sampled, LabelListing.values(of: label, Array(rolledUp)))
  }

  /// Both, each once, ascending by bytes.
  private static func union(_ left: [String], _ right: [String]) -> [String] {
    Set(left).union(right).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// The series that have buckets in a range of which there are no samples any more.
  func rolledUpSeries(_ matchers: [Matcher], in range: TimeRange) throws(StoreError) -> Set<Labels> {
    let now = clock.now
    let oldest = oldestKept(now: now)
    let (rollups, tombstones) = state.withLock { state in
      let found = state.rollups.filter {
        $0.block != nil && max($0.meta.floor, oldest) > $0.meta.start && $0.meta.range.overlaps(range)
      }
      return (found, state.tombstones)
    }
    let compiled = [CompiledMatcher](matchers)
    var result: Set<Labels> = []
    var scratch = Rollup.Scratch()
    var answered: Set<Int64> = []
    // The coarsest of a span has all its series.
    for rollup in rollups.sorted(by: { $0.meta.resolution > $1.meta.resolution }) {
      let meta = rollup.meta
      let gone = min(meta.end, max(meta.floor, oldest))
      let start = max(range.start.milliseconds, meta.start)
      let end = min(range.end.milliseconds, gone - 1)
      guard start <= end, answered.insert(meta.start).inserted else { continue }
      // Of a bucket that the range cuts the last sample tells whether it is inside.
      let begins = TimeRange(
        start: Timestamp(milliseconds: TimeGrid(step: meta.resolution).window(of: start).start),
        end: Timestamp(milliseconds: end))
      let concerned = tombstones.filter { meta.isConcerned(by: $0) }
      for series in try rollup.series(compiled) where !result.contains(series.labels) {
        let hidden = concerned.filter { $0.matchers.allSatisfy { $0.matches(series.labels) } }.map(\.range)
        var isThere = false
        try rollup.read(series, beginningIn: begins, columns: [.last, .count], scratch: &scratch) { begin, bucket in
          let whole = TimeRange(
            start: Timestamp(milliseconds: begin), end: Timestamp(milliseconds: begin + meta.resolution - 1))
          let isInside = range.contains(Timestamp(milliseconds: bucket.lastInstant))
          isThere = isThere || isInside && !hidden.contains { $0.overlaps(whole) }
        }
        if isThere { result.insert(series.labels) }
      }
    }
    return result
  }

  private func addBuckets(
    _ candidate: Candidate, _ request: AggregateRequest, _ range: TimeRange, _ collector: inout AggregateCollector
  ) throws(StoreError) {
    var scratch = Rollup.Scratch()
    let grid = request.grid
    let columns = RollupColumn.needed(for: request.functions)
    let resolution = candidate.rollup.meta.resolution
    for series in candidate.series {
      let hidden = candidate.tombstones.filter { $0.matchers.allSatisfy { $0.matches(series.labels) } }.map(\.range)
      let number = collector.number(of: series.labels)
      var count = 0
      var window = Aggregate()
      var start = Int64.min
      var end = Int64.min
      try candidate.rollup.read(series, beginningIn: range, columns: columns, scratch: &scratch) { begin, bucket in
        if !hidden.isEmpty {
          let whole = TimeRange(
            start: Timestamp(milliseconds: begin), end: Timestamp(milliseconds: begin + resolution - 1))
          if hidden.contains(where: { $0.overlaps(whole) }) { return }
        }
        if window.isEmpty || begin > end {
          collector.add(window, start: start, to: number)
          (start, end) = grid.window(of: begin)
          window = bucket
        } else {
          window.add(bucket)
        }
        count += 1
      }
      collector.add(window, start: start, to: number)
      try collector.count(count)
    }
  }

  private func addSamples(
    _ snapshot: Snapshot, _ compiled: [CompiledMatcher], _ request: AggregateRequest, _ range: TimeRange,
    _ collector: inout AggregateCollector
  ) throws(StoreError) {
    var snapshot = snapshot
    snapshot.parts.removeAll { part in
      !part.tracks.contains { $0.strips.contains { $0.overlaps(range) } }
    }
    let found = try gather(snapshot, compiled, in: range)
    let grid = request.grid
    let needsResets = request.functions.contains(.increase)
    var reader = SampleAggregation(grid: grid, usesStatistics: !needsResets && found.masks.isEmpty)
    for cohort in found.table.cohorts() {
      let plan = try MergePlan(found.tracks, members: cohort.members, range: range)
      if plan.timestamps.isEmpty { continue }
      reader.begin(plan)
      for series in cohort.series {
        let number = collector.number(of: found.table.labels[series])
        var samples = 0
        try reader.read(plan, found.table.places[series], masks: found.masks, samples: &samples) { start, window in
          collector.add(window, start: start, to: number)
        }
        try collector.count(samples)
      }
    }
  }
}

/// Aggregates the samples of one series after another that share a merge plan. Where a whole chunk lies in one window
/// its statistics answer, and it is not decoded.
private struct SampleAggregation: ~Copyable {
  private let grid: TimeGrid
  private let usesStatistics: Bool
  private var assembler = ColumnAssembler()
  private var segments: [TimeGrid.Segment] = []
  /// For each piece of a plan of one chunk after another, whether it lies in one window as a whole, and the windows of
  /// its rows.
  private var pieces: [(isWhole: Bool, segments: [TimeGrid.Segment])] = []
  private var values = [Double](repeating: 0, count: ValueChunk.rowsMax)
  private var presence = [UInt8](repeating: 0, count: ValueChunk.rowsMax)

  init(grid: TimeGrid, usesStatistics: Bool) {
    self.grid = grid
    self.usesStatistics = usesStatistics
  }

  /// Prepares for the series of a plan.
  mutating func begin(_ plan: borrowing MergePlan) {
    pieces = []
    segments = []
    if usesStatistics && plan.entries.isEmpty {
      for piece in plan.pieces {
        let found = grid.segments(plan.timestamps[piece.firstSlot..<piece.firstSlot + piece.rows])
        pieces.append((found.count == 1 && piece.rows == piece.strip.rows, found))
      }
    }
    if !pieces.contains(where: \.isWhole) {
      pieces = []
      segments = grid.segments(plan.timestamps)
    }
  }

  mutating func read(
    _ plan: borrowing MergePlan, _ places: [SeriesPlace], masks: MaskTable, samples: inout Int,
    _ body: (Int64, Aggregate) -> Void
  ) throws(StoreError) {
    if pieces.isEmpty {
      let present = try assembler.assemble(plan, places, masks: masks)
      if present == 0 { return }
      samples += present
      let isWhole = present == plan.timestamps.count
      for segment in segments {
        var window = Aggregate()
        for row in segment.rows where isWhole || assembler.presence[row] != 0 {
          window.add(assembler.values[row], at: plan.timestamps[row])
        }
        body(segment.start, window)
      }
      return
    }
    for (index, piece) in plan.pieces.enumerated() {
      let row = Int(places[piece.member].row)
      if pieces[index].isWhole, let statistics = try piece.strip.statistics(row), statistics.count == piece.rows,
        !statistics.hasNaN
      {
        samples += statistics.count
        body(pieces[index].segments[0].start, Aggregate(statistics, lastInstant: piece.strip.maximum))
        continue
      }
      try column(piece.strip, row)
      for segment in pieces[index].segments {
        var window = Aggregate()
        for row in segment.rows where presence[piece.firstRow + row] != 0 {
          samples += 1
          window.add(values[piece.firstRow + row], at: plan.timestamps[piece.firstSlot + row])
        }
        body(segment.start, window)
      }
    }
  }

  private mutating func column(_ strip: Strip, _ row: Int) throws(StoreError) {
    if strip.rows > values.count {
      values = [Double](repeating: 0, count: strip.rows)
      presence = [UInt8](repeating: 0, count: strip.rows)
    }
    var failure: StoreError?
    let isWhole = values.withUnsafeMutableBufferPointer { values in
      presence.withUnsafeMutableBufferPointer { presence -> Bool in
        do throws(StoreError) {
          return try strip.column(row, into: values.baseAddress!, presence: presence.baseAddress!)
        } catch {
          failure = error
          return false
        }
      }
    }
    if let failure { throw failure }
    if isWhole { for row in 0..<strip.rows { presence[row] = 1 } }
  }
}

extension Aggregate {
  /// The aggregate of a chunk all of whose rows have numbers. Resets are not known.
  fileprivate init(_ statistics: ChunkStatistics, lastInstant: Int64) {
    isEmpty = false
    count = statistics.count
    minimum = statistics.minimum
    maximum = statistics.maximum
    sum.add(statistics.sum)
    first = statistics.first
    last = statistics.last
    lastNumber = statistics.last
    self.lastInstant = lastInstant
  }
}
