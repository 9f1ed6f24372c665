import ApusIO
import ApusModel

extension StoreCore {
  /// What a question may touch, taken out of the store at one moment.
  struct Snapshot {
    var blocks: [Block]
    var rollups: [Rollup]
    var tombstones: [Tombstone]
    var parts: [HeadPart]
  }

  /// The series that a question is for.
  struct Found {
    var tracks: [Track] = []
    var table = SeriesTable()
    var masks: MaskTable = [:]
  }

  /// The matching series of a head with their places, taken out of it under the lock.
  struct HeadPart {
    var tracks: [Track] = []
    var series: [(labels: Labels, places: [SeriesPlace])] = []

    /// Nil when the head has nothing in the range.
    init?(_ head: Head, _ matchers: [CompiledMatcher], _ range: TimeRange) {
      guard head.overlaps(range) else { return nil }
      var trackOfLane: [UInt32: UInt32] = [:]
      let matched = head.index.match(matchers)
      series.reserveCapacity(matched.count)
      for number in matched {
        var places = head.index.places(number)
        for index in places.indices {
          let place = places[index]
          var track = trackOfLane[place.track]
          if track == nil {
            track = UInt32(tracks.count)
            trackOfLane[place.track] = track
            tracks.append(Track(strips: head.lanes[Int(place.track)].snapshot(range)))
          }
          places[index].track = track ?? 0
        }
        if places.count > 1 { places.sort { $0.track < $1.track } }
        series.append((head.index.labels[Int(number)], places))
      }
    }
  }

  /// The range without what retention does not keep; nil when nothing is left of it.
  func clipped(_ range: TimeRange) -> TimeRange? {
    let start = max(range.start.milliseconds, oldestKept(now: clock.now))
    guard start <= range.end.milliseconds else { return nil }
    return TimeRange(start: Timestamp(milliseconds: start), end: range.end)
  }

  private func find(_ matchers: [Matcher], in range: TimeRange) throws(StoreError) -> Found {
    let compiled = [CompiledMatcher](matchers)
    return try gather(try snapshot(compiled, in: range), compiled, in: range)
  }

  func snapshot(_ compiled: [CompiledMatcher], in range: TimeRange) throws(StoreError) -> Snapshot {
    try state.withLock { state throws(StoreError) in
      if state.isClosed { throw .closed }
      var parts: [HeadPart] = []
      for head in [state.sealingHead, state.head] {
        if let part = head.flatMap({ HeadPart($0, compiled, range) }) { parts.append(part) }
      }
      return Snapshot(
        blocks: state.blocks.filter { $0.meta.range.overlaps(range) },
        rollups: state.rollups.filter { $0.block != nil && $0.meta.range.overlaps(range) },
        tombstones: state.tombstones, parts: parts)
    }
  }

  /// Finds in a snapshot what lies in a range that is no wider than its own.
  func gather(_ snapshot: Snapshot, _ compiled: [CompiledMatcher], in range: TimeRange) throws(StoreError) -> Found {
    var found = Found()
    found.table.reserve(snapshot.parts.reduce(0) { $0 + $1.series.count })
    for block in snapshot.blocks where block.meta.range.overlaps(range) {
      try add(block, compiled, range, snapshot.tombstones, to: &found)
    }
    for part in snapshot.parts {
      let base = UInt32(found.tracks.count)
      found.tracks += part.tracks
      found.table.beginSource()
      for (labels, places) in part.series {
        found.table.add(labels, places.map { SeriesPlace(track: base + $0.track, row: $0.row) })
      }
    }
    return found
  }

  private func add(
    _ block: Block, _ matchers: [CompiledMatcher], _ range: TimeRange, _ tombstones: [Tombstone],
    to found: inout Found
  ) throws(StoreError) {
    let concerned = tombstones.filter { $0.id > block.meta.tombstonesApplied && $0.range.overlaps(range) }
    found.table.beginSource()
    for (group, rows) in try block.match(matchers) {
      let strips = block.groups[group].stripes.indices.map { Strip(block, group: group, stripe: $0) }
        .filter { $0.overlaps(range) }
      if strips.isEmpty { continue }
      let track = UInt32(found.tracks.count)
      found.tracks.append(Track(strips: strips))
      for (labels, row) in zip(try block.labels(group: group, rows: rows), rows) {
        let place = SeriesPlace(track: track, row: UInt32(row))
        found.table.add(labels, [place])
        StoreCore.mask(&found.masks, labels, place, concerned)
      }
    }
  }

  func select(_ request: SelectRequest) throws(StoreError) -> [SeriesColumn] {
    guard let range = clipped(request.range), request.newest.map({ $0 > 0 }) ?? true else { return [] }
    let found = try find(request.matchers, in: range)
    var answer = Answer(request: request)
    answer.columns.reserveCapacity(found.table.count)
    for cohort in found.table.cohorts() {
      if let newest = request.newest {
        try selectNewest(newest, cohort, found, range, &answer)
      } else {
        let plan = try MergePlan(found.tracks, members: cohort.members, range: range)
        for series in cohort.series {
          let present = try answer.assembler.assemble(plan, found.table.places[series], masks: found.masks)
          try answer.add(found.table.labels[series], plan, present: present, last: present)
        }
      }
    }
    return answer.finish()
  }

  /// Only as much of the end of the tracks is decoded as holds enough samples; series that have gaps there are looked
  /// for further back.
  private func selectNewest(
    _ newest: Int, _ cohort: Cohort, _ found: Found, _ range: TimeRange, _ answer: inout Answer
  ) throws(StoreError) {
    let strips = cohort.members.flatMap { found.tracks[Int($0)].strips }.sorted { $0.maximum > $1.maximum }
    var wanted = newest
    var remaining = cohort.series
    while !remaining.isEmpty {
      var rows = 0
      var start = Int64.max
      for strip in strips where rows < wanted {
        rows += strip.rows
        start = min(start, strip.minimum)
      }
      let isAll = rows < wanted || start <= range.start.milliseconds
      let part = TimeRange(start: isAll ? range.start : Timestamp(milliseconds: start), end: range.end)
      let plan = try MergePlan(found.tracks, members: cohort.members, range: part)
      // One sample each, from the end of one strip: the statistics of its chunks have it.
      var lone: MergePlan.Piece?
      if newest == 1, plan.entries.isEmpty, found.masks.isEmpty, let piece = plan.pieces.last,
        plan.pieces.count == 1, piece.firstRow + piece.rows == piece.strip.rows
      {
        lone = piece
      }
      var next: [Int] = []
      for series in remaining {
        if let lone, let last = try lone.strip.last(Int(found.table.places[series][lone.member].row)) {
          try answer.add(found.table.labels[series], at: plan.timestamps[plan.timestamps.count - 1], last)
          continue
        }
        let present = try answer.assembler.assemble(plan, found.table.places[series], masks: found.masks)
        if present < newest && !isAll {
          next.append(series)
        } else {
          try answer.add(found.table.labels[series], plan, present: present, last: min(newest, present))
        }
      }
      remaining = next
      let (more, overflow) = max(wanted, rows).multipliedReportingOverflow(by: 4)
      wanted = overflow ? .max : more
    }
  }

  /// Collects the columns of an answer and watches its size.
  private struct Answer: ~Copyable {
    let limit: Int
    var samples = 0
    var columns: [SeriesColumn] = []
    var assembler = ColumnAssembler()
    /// The last timestamps handed out, and of which run of which plan: series of one set share their memory.
    private var shared: [Int64] = []

    init(request: SelectRequest) { limit = request.maxSamples ?? .max }

    /// Adds a single sample.
    mutating func add(_ labels: Labels, at timestamp: Int64, _ value: Double) throws(StoreError) {
      samples += 1
      guard samples <= limit else { throw .tooManySamples(found: samples, limit: limit) }
      if shared.count != 1 || shared[0] != timestamp { shared = [timestamp] }
      columns.append(SeriesColumn(labels: labels, timestamps: shared, values: [value]))
    }

    /// Adds the last `last` of the `present` samples that the assembler holds.
    mutating func add(_ labels: Labels, _ plan: borrowing MergePlan, present: Int, last: Int) throws(StoreError) {
      if last == 0 { return }
      samples += last
      guard samples <= limit else { throw .tooManySamples(found: samples, limit: limit) }
      let slots = plan.timestamps.count
      if present == slots {
        if last == slots {
          shared = plan.timestamps
        } else if shared.count != last || shared.last != plan.timestamps.last
          || shared.first != plan.timestamps[slots - last]
        {
          shared = Array(plan.timestamps[(slots - last)...])
        }
        let values = Array(UnsafeBufferPointer(start: assembler.values + (slots - last), count: last))
        columns.append(SeriesColumn(labels: labels, timestamps: shared, values: values))
        return
      }
      var timestamps = [Int64]()
      var values = [Double]()
      timestamps.reserveCapacity(last)
      values.reserveCapacity(last)
      var skip = present - last
      for slot in 0..<slots where assembler.presence[slot] != 0 {
        if skip > 0 {
          skip -= 1
          continue
        }
        timestamps.append(plan.timestamps[slot])
        values.append(assembler.values[slot])
      }
      columns.append(SeriesColumn(labels: labels, timestamps: timestamps, values: values))
    }

    consuming func finish() -> [SeriesColumn] {
      // Numbers are sorted and not columns, which would be retained and released at every step.
      let order = columns.indices.sorted { columns[$0].labels.precedes(columns[$1].labels) }
      return order.map { columns[$0] }
    }
  }

  func statistics() -> StoreStatistics {
    let (manifestBytes, tombstoneBytes) = manifest.withLock { files in
      var writer = ByteWriter()
      for tombstone in files.manifest.tombstones { tombstone.encode(to: &writer) }
      return (Int64(files.bytes), Int64(writer.count))
    }
    let beside = beside.withLock { $0 }
    return state.withLock { state in
      var result = StoreStatistics()
      var oldest = Int64.max
      var newest = Int64.min
      for head in [state.sealingHead, state.head].compactMap({ $0 }) where head.samples > 0 {
        result.samplesInHead += head.samples
        result.seriesInHead = max(result.seriesInHead, head.index.count)
        oldest = min(oldest, head.minimum)
        newest = max(newest, head.maximum)
      }
      result.headBytes = state.headBytes
      result.blocks = state.blocks.count
      var parts = BlockParts()
      for block in state.blocks {
        result.samplesInBlocks += block.meta.samples
        parts += block.parts
        oldest = min(oldest, block.meta.minimum)
        newest = max(newest, block.meta.maximum)
      }
      var rollups: Int64 = 0
      for rollup in state.rollups {
        guard let block = rollup.block else { continue }
        rollups += block.meta.bytes
        result.rollups += 1
        oldest = min(oldest, block.meta.minimum)
        newest = max(newest, block.meta.maximum)
      }
      result.rollupsMade = state.rollupsMade
      result.rollupAnswers = state.rollupAnswers
      result.bytesByPart = [
        "rollups": rollups, "manifest": manifestBytes - tombstoneBytes, "tombstones": tombstoneBytes,
        "quarantine": beside.quarantine, "snapshots": beside.snapshots,
      ]
      for (name, bytes) in parts.named { result.bytesByPart[name] = bytes }
      if oldest <= newest {
        result.oldestSample = Timestamp(milliseconds: oldest)
        result.newestSample = Timestamp(milliseconds: newest)
      }
      result.seriesRejected = state.limiter.refusals
      result.samplesOutOfOrder = state.lateness.outOfOrder
      result.samplesDuplicate = state.lateness.duplicate
      result.blocksQuarantined = state.quarantined
      result.lastFailure = state.lastFailure
      return result
    }
  }
}
