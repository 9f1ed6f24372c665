import ApusIO
import ApusModel

extension StoreCore {
  /// Merges until nothing is left to merge, and applies all tombstones.
  func compactAll() throws(StoreError) -> StoreWork {
    var work = StoreWork()
    while true {
      let (metas, tombstones) = compactionState()
      let settled = settled.withLock { $0 }
      guard let inputs = plan.nextOfAll(metas, tombstone: tombstones.max() ?? 0, settled: settled) else { return work }
      work += try merge(inputs)
    }
  }

  /// One merge that is worth it, if there is one. Returns whether there was.
  func compactOnce() throws(StoreError) -> Bool {
    let (metas, tombstones) = compactionState()
    let settled = settled.withLock { $0 }
    guard let inputs = plan.nextInBackground(metas, now: clock.now, tombstones: tombstones, settled: settled) else {
      return false
    }
    _ = try merge(inputs)
    return true
  }

  private func compactionState() -> (blocks: [BlockMeta], tombstones: [UInt64]) {
    state.withLock { ($0.blocks.map(\.meta), $0.tombstones.map(\.id)) }
  }

  private func merge(_ inputs: [BlockMeta]) throws(StoreError) -> StoreWork {
    let ids = Set(inputs.map(\.id))
    let (blocks, tombstones) = state.withLock { state in
      (state.blocks.filter { ids.contains($0.meta.id) }, state.tombstones)
    }
    // Another turn removed one of them.
    guard blocks.count == inputs.count else { return StoreWork() }
    do throws(StoreError) {
      try settleFiles()
      return try mergeBlocks(blocks, tombstones)
    } catch {
      handle(error)
      if case .corrupt = error { return StoreWork() }
      note(failure: error)
      throw error
    }
  }

  private func mergeBlocks(_ blocks: [Block], _ tombstones: [Tombstone]) throws(StoreError) -> StoreWork {
    var input = BlockMerge.Input(tracks: [], table: SeriesTable(), masks: [:])
    var widths: [Int] = []
    for block in blocks {
      let concerned = tombstones.filter { $0.id > block.meta.tombstonesApplied }
      input.table.beginSource()
      for group in block.groups.indices {
        let track = UInt32(input.tracks.count)
        input.tracks.append(
          Track(strips: block.groups[group].stripes.indices.map { Strip(block, group: group, stripe: $0) }))
        widths.append(block.groups[group].series)
        let rows = Array(0..<block.groups[group].series)
        for (row, labels) in try block.labels(group: group, rows: rows).enumerated() {
          let place = SeriesPlace(track: track, row: UInt32(row))
          input.table.add(labels, [place])
          StoreCore.mask(&input.masks, labels, place, concerned)
        }
      }
    }
    let sequence = blocks.map(\.meta.sequence).max() ?? 0
    let applied = max(tombstones.map(\.id).max() ?? 0, blocks.map(\.meta.tombstonesApplied).min() ?? 0)
    let ids = Set(blocks.map(\.meta.id))
    let written = try write(
      input, spans: plan.spans(try plan.weights(input.tracks, widths: widths)), sequence: sequence,
      tombstonesApplied: applied, isKept: true, pace: pace)
    let metas = written.map(\.meta)
    let done = try commit(
      created: metas,
      { manifest in
        guard ids.isSubset(of: manifest.blocks.map(\.id)) else { return false }
        manifest.blocks.removeAll { ids.contains($0.id) }
        manifest.blocks += metas
        return true
      },
      install: { state, manifest in
        state.blocks.removeAll { ids.contains($0.meta.id) }
        state.blocks = (state.blocks + written).sorted {
          ($0.meta.sequence, $0.meta.minimum) < ($1.meta.sequence, $1.meta.minimum)
        }
        state.tombstones = manifest.tombstones
      })
    if !done {
      // Retention or quarantine took an input away meanwhile; what was written is of no use.
      for meta in metas { try? disk.remove(path(meta.id)) }
      return StoreWork()
    } else if metas.count > 1 {
      settled.withLock { $0.formUnion(metas.map(\.id)) }
    }
    return StoreWork(wrote: metas, merged: blocks.count)
  }

  static func mask(_ masks: inout MaskTable, _ labels: Labels, _ place: SeriesPlace, _ tombstones: [Tombstone]) {
    for tombstone in tombstones where tombstone.matchers.allSatisfy({ $0.matches(labels) }) {
      masks[place.key, default: []].append(tombstone.range)
    }
  }

  /// Removes the blocks that retention does not keep.
  func applyRetention(now: Int64) throws(StoreError) {
    let oldest = oldestKept(now: now)
    let (blocks, rollups) = state.withLock { ($0.blocks, $0.rollups.map(\.meta)) }
    let metas = blocks.map(\.meta)
    let tooOld = blocks.filter { $0.meta.maximum < oldest }
    do throws(StoreError) {
      var dropped = Set(tooOld.map(\.meta.id)).subtracting(try awaitingRollup(tooOld, rollups, now: now))
      let expired = expiredRollups(rollups, now: now)
      var given: Set<RollupMeta.Key> = []
      if let limit = configuration.retentionBytes {
        let beyond = beyondSize(
          limit, metas.filter { !dropped.contains($0.id) }, rollups.filter { !expired.contains($0.key) })
        dropped.formUnion(beyond.blocks)
        given = beyond.rollups
      }
      if dropped.isEmpty && expired.isEmpty && given.isEmpty { return }
      _ = try commit(
        { manifest in
          manifest.lose(dropped)
          manifest.rollups.removeAll { expired.contains($0.key) }
          manifest.giveUp(given)
          return true
        },
        install: { state, manifest in
          state.blocks.removeAll { dropped.contains($0.meta.id) }
          state.adopt(manifest)
        })
    } catch {
      handle(error)
      note(failure: error)
      throw error
    }
  }
}
