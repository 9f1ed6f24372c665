import ApusIO
import ApusModel
import Synchronization

/// How many samples each block has in each span that is rolled up. Blocks do not change, so it is worked out once.
final class RollupWeights: Sendable {
  private let known = Mutex<[UInt64: [Int64: Int]]>([:])

  /// The weights of these blocks; those of others are forgotten.
  func weights(_ blocks: [Block], _ spans: TimeGrid) throws(StoreError) -> [UInt64: [Int64: Int]] {
    let before = known.withLock { $0 }
    var result: [UInt64: [Int64: Int]] = [:]
    for block in blocks {
      if let weights = before[block.meta.id] {
        result[block.meta.id] = weights
      } else {
        result[block.meta.id] = try RollupWeights.weights(block, spans)
      }
    }
    known.withLock { $0 = result }
    return result
  }

  private static func weights(_ block: Block, _ spans: TimeGrid) throws(StoreError) -> [Int64: Int] {
    var result: [Int64: Int] = [:]
    for (group, content) in block.groups.enumerated() {
      for (stripe, entry) in content.stripes.enumerated() {
        let first = spans.window(of: entry.minimum)
        if entry.maximum <= first.end {
          result[first.start, default: 0] += entry.rows * content.series
        } else {
          for segment in spans.segments(try block.timestamps(group: group, stripe: stripe)) {
            result[segment.start, default: 0] += segment.rows.count * content.series
          }
        }
      }
    }
    return result
  }
}

extension StoreCore {
  var rollupPlan: RollupPlan {
    RollupPlan(
      levels: configuration.rollups, spanMilliseconds: configuration.rollupSpanMilliseconds,
      delayMilliseconds: configuration.rollupDelayMilliseconds, samplesMin: configuration.rollupSamplesMin,
      makesNew: configuration.makesRollups, retentionMilliseconds: configuration.retentionMilliseconds)
  }

  /// What a roll-up is made of, taken out of the store at one moment.
  private struct Material {
    var blocks: [Block]
    var rollups: [Rollup]
    var tombstones: [Tombstone]
    var descriptors: [String: MetricDescriptor]
    /// Of everything, in memory and in blocks.
    var newest: Int64
  }

  private func material() -> Material {
    state.withLock { state in
      var newest = state.blocks.reduce(Int64.min) { max($0, $1.meta.maximum) }
      var descriptors = state.descriptors
      for head in [state.sealingHead, state.head].compactMap({ $0 }) where head.samples > 0 {
        newest = max(newest, head.maximum)
        descriptors.merge(head.descriptors) { _, new in new }
      }
      return Material(
        blocks: state.blocks, rollups: state.rollups, tombstones: state.tombstones, descriptors: descriptors,
        newest: newest)
    }
  }

  /// Rolls up one span, if one is due. Returns whether one was. In the background deletes are left to the tombstones until
  /// there are many of those, as with blocks.
  func rollupOnce(appliesTombstones: Bool = false) throws(StoreError) -> Bool {
    do throws(StoreError) {
      let material = material()
      if material.blocks.isEmpty && material.rollups.isEmpty { return false }
      let plan = rollupPlan
      let weights = try rollupWeights.weights(material.blocks, plan.spans)
      let work = plan.next(
        material.blocks.map { ($0.meta.sequence, weights[$0.meta.id] ?? [:]) }, rollups: material.rollups.map(\.meta),
        tombstones: appliesTombstones || material.tombstones.count > CompactionPlan.tombstonesMax
          ? material.tombstones : [],
        now: clock.now, newest: material.newest)
      guard let work else { return false }
      try settleFiles()
      try rollUp(work, material)
      return true
    } catch {
      // Without the damaged block there may be something to do still.
      if handle(error) { return true }
      note(failure: error)
      throw error
    }
  }

  private func rollUp(_ work: RollupPlan.Work, _ material: Material) throws(StoreError) {
    let range = TimeRange(
      start: Timestamp(milliseconds: work.start), end: Timestamp(milliseconds: work.end - 1))
    // Everything up to this sequence is in the blocks at hand: what is sealed meanwhile gets a higher one.
    let sequence = material.blocks.reduce(UInt64(0)) { max($0, $1.meta.sequence) }
    let applied = max(
      material.tombstones.map(\.id).max() ?? 0, material.blocks.map(\.meta.tombstonesApplied).max() ?? 0)
    let blocks = material.blocks.filter { $0.meta.range.overlaps(range) }
    let newest = blocks.reduce(UInt64(0)) { max($0, $1.meta.sequence) }
    let inputs = Set(blocks.map(\.meta.id))
    var metas: [RollupMeta] = []
    var written: [Rollup] = []
    var created: [BlockMeta] = []
    var paths: [String] = []
    do throws(StoreError) {
      var build: RollupBuild?
      for resolution in work.resolutions {
        let key = RollupMeta.Key(resolution: resolution, start: work.start)
        let old = material.rollups.first { $0.meta.key == key }
        let concerned = material.tombstones.filter { old?.meta.isConcerned(by: $0) ?? false }
        var meta = RollupMeta(
          resolution: resolution, start: work.start, end: work.end, sequence: sequence,
          tombstonesApplied: max(applied, old?.meta.tombstonesApplied ?? 0),
          floor: old?.meta.floor ?? work.start, block: nil)
        if let old, newest <= old.meta.sequence, try isUntouched(old, by: concerned) {
          // Only deletes of other series have come.
          meta.sequence = old.meta.sequence
          meta.block = old.meta.block
          written.append(Rollup(meta: meta, block: old.block))
        } else {
          if build == nil { build = try prepare(work, range, blocks, material, sequence, meta.tombstonesApplied) }
          let id = newBlockID()
          let target = RollupBuild.Target(
            resolution: resolution, old: old, tombstones: concerned, path: path(id), id: id,
            options: BlockWriter.Options(
              compressionLevel: configuration.compression.level, isKept: true, pace: pace))
          paths.append(target.path)
          meta.block = try build?.write(
            target, disk: disk, shouldStop: { isStopping.isSet })
          let block = try meta.block.map { block throws(StoreError) in
            created.append(block)
            return try Block(disk, path: target.path, meta: block, cache: cache)
          }
          written.append(Rollup(meta: meta, block: block))
        }
        metas.append(meta)
      }
      do throws(DiskError) { try disk.syncDirectory(blocksDirectory) } catch { throw .disk(error) }
    } catch {
      // No manifest lists them, so they may go; what stays is removed when the store is opened next.
      for path in paths { try? disk.remove(path) }
      throw error
    }
    let keys = Set(metas.map(\.key))
    let done = try commit(
      created: created,
      { manifest in
        // A block that was set aside meanwhile is in what was written, and nobody knows how it was damaged.
        guard inputs.isSubset(of: manifest.blocks.map(\.id)) else { return false }
        manifest.rollups.removeAll { keys.contains($0.key) }
        manifest.rollups = (manifest.rollups + metas).sorted { ($0.resolution, $0.start) < ($1.resolution, $1.start) }
        return true
      },
      install: { state, manifest in
        state.rollups.removeAll { keys.contains($0.meta.key) }
        state.rollups += written
        state.adopt(manifest)
        state.rollupsMade += created.count
      })
    if !done {
      for path in paths { try? disk.remove(path) }
    }
  }

  private func isUntouched(_ rollup: Rollup, by tombstones: [Tombstone]) throws(StoreError) -> Bool {
    for tombstone in tombstones {
      if !(try rollup.series([CompiledMatcher](tombstone.matchers)).isEmpty) { return false }
    }
    return true
  }

  private func prepare(
    _ work: RollupPlan.Work, _ range: TimeRange, _ blocks: [Block], _ material: Material, _ sequence: UInt64,
    _ applied: UInt64
  ) throws(StoreError) -> RollupBuild {
    let found = try gather(
      Snapshot(blocks: blocks, rollups: [], tombstones: material.tombstones, parts: []), [], in: range)
    let isFleeting = !rollupPlan.outliving.isEmpty
    return RollupBuild(
      work: work, tracks: found.tracks, table: found.table, masks: found.masks, sequence: sequence,
      tombstonesApplied: applied, samplesPerBucketMin: isFleeting ? 0 : configuration.rollupSamplesPerBucketMin,
      counters: CounterRule(material.descriptors))
  }

  /// Rolls up until nothing is due.
  func rollupAll() throws(StoreError) {
    while try rollupOnce(appliesTombstones: true) {}
  }

  // MARK: Retention

  /// The roll-ups that their own retention does not keep.
  func expiredRollups(_ rollups: [RollupMeta], now: Int64) -> Set<RollupMeta.Key> {
    let plan = rollupPlan
    var result: Set<RollupMeta.Key> = []
    for rollup in rollups {
      guard let level = plan.levels.first(where: { $0.resolutionMilliseconds == rollup.resolution }) else { continue }
      if !plan.keeps(level, end: rollup.end, now: now) { result.insert(rollup.key) }
    }
    return result
  }

  /// Of blocks that are too old those that must stay until the roll-ups that outlive them have been made.
  func awaitingRollup(_ blocks: [Block], _ rollups: [RollupMeta], now: Int64) throws(StoreError) -> Set<UInt64> {
    let plan = rollupPlan
    let levels = plan.outliving
    if levels.isEmpty || blocks.isEmpty { return [] }
    let covered = Set(rollups.map(\.key))
    let weights = try rollupWeights.weights(state.withLock { $0.blocks }, plan.spans)
    var result: Set<UInt64> = []
    for block in blocks {
      for start in (weights[block.meta.id] ?? [:]).keys {
        guard let end = plan.end(ofSpan: start) else { continue }
        for level in levels where plan.keeps(level, end: end, now: now) {
          let key = RollupMeta.Key(resolution: level.resolutionMilliseconds, start: start)
          if !covered.contains(key) { result.insert(block.meta.id) }
        }
      }
    }
    return result
  }

  /// What to let go of so that the files take no more than the limit: blocks first, the oldest of them first. Roll-ups go
  /// first only while they take more than a quarter, the finest first, so that they never push the samples out.
  func beyondSize(
    _ limit: Int64, _ blocks: [BlockMeta], _ rollups: [RollupMeta]
  ) -> (blocks: Set<UInt64>, rollups: Set<RollupMeta.Key>) {
    var droppedBlocks: Set<UInt64> = []
    var droppedRollups: Set<RollupMeta.Key> = []
    var rolled = rollups.reduce(Int64(0)) { $0 + ($1.block?.bytes ?? 0) }
    var total = rolled + blocks.reduce(Int64(0)) { $0 + $1.bytes }
    for rollup in rollups.sorted(by: { ($0.resolution, $0.start) < ($1.resolution, $1.start) }) {
      guard total > limit, rolled > limit / 4, let bytes = rollup.block?.bytes else { continue }
      droppedRollups.insert(rollup.key)
      rolled -= bytes
      total -= bytes
    }
    for block in blocks.sorted(by: { $0.maximum < $1.maximum }) {
      if total <= limit { break }
      droppedBlocks.insert(block.id)
      total -= block.bytes
    }
    return (droppedBlocks, droppedRollups)
  }
}

extension StoreCore.State {
  /// Brings the roll-ups' descriptions in line with the manifest's; those that it does not list are let go of.
  mutating func adopt(_ manifest: Manifest) {
    let metas = Dictionary(uniqueKeysWithValues: manifest.rollups.map { ($0.key, $0) })
    rollups = rollups.compactMap { rollup in
      guard let meta = metas[rollup.meta.key] else { return nil }
      return Rollup(meta: meta, block: meta.block == nil ? nil : rollup.block)
    }
    tombstones = manifest.tombstones
  }
}
