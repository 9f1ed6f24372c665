import ApusIO
import ApusModel

extension StoreCore {
  /// Whether the head is due to be sealed: old or large enough, and no failure so recent that it must wait.
  func isSealDue(now: Int64) -> Bool {
    state.withLock { state in
      if state.isClosed || now < state.retryAt { return false }
      if state.sealingHead != nil { return true }
      guard let started = state.head.startedAt else { return false }
      return now - started >= configuration.headSpanMilliseconds || state.head.bytes >= headBytes(for: state.head)
    }
  }

  static let headFactorMax = 8

  /// The memory at which a head is sealed: what was asked for, or as much again as the labels of its series take, where
  /// there are so many of them that a seal would come after every scrape or two, with its own copy of all labels. Eight
  /// times what was asked for is the end of that.
  func headBytes(for head: Head) -> Int {
    max(configuration.headBytes, min(2 * head.index.bytes, StoreCore.headFactorMax * configuration.headBytes))
  }

  /// Writes everything that is in memory into blocks. On return the durable positions are those that had been appended
  /// when the call was made, or later.
  @discardableResult
  func seal() throws(StoreError) -> StoreWork {
    try sealing.withLock { _ throws(StoreError) in
      var work = try finishSealing(tombstone: nil)
      work += try sealHead(tombstone: nil)
      return work
    }
  }

  /// Hides the matching samples that have been appended so far.
  func delete(_ matchers: [Matcher], in range: TimeRange) throws(StoreError) {
    try sealing.withLock { _ throws(StoreError) in
      _ = try finishSealing(tombstone: nil)
      _ = try sealHead(tombstone: (matchers, range))
    }
  }

  private func sealHead(tombstone: (matchers: [Matcher], range: TimeRange)?) throws(StoreError) -> StoreWork {
    let now = clock.now
    let hasWork = state.withLock { state in
      if state.head.isEmpty && state.appended == state.durable { return false }
      state.limiter.headEnds(state.head.index.labels, now: now)
      state.sealingHead = state.head
      state.sealingPositions = state.appended
      state.head = Head()
      return true
    }
    return hasWork || tombstone != nil ? try finishSealing(tombstone: tombstone) : StoreWork()
  }

  /// Writes the head that was cut off, if there is one, and lists its blocks, the positions that they cover and the
  /// tombstone in one commit. After a failure the head stays where it is, visible to queries, until the next attempt.
  private func finishSealing(
    tombstone: (matchers: [Matcher], range: TimeRange)?
  ) throws(StoreError) -> StoreWork {
    let (head, positions) = state.withLock { ($0.sealingHead, $0.sealingPositions) }
    if head == nil && tombstone == nil { return StoreWork() }
    var work = StoreWork()
    do throws(StoreError) {
      try settleFiles()
      let files = manifest.withLock { $0.manifest }
      let sequence = files.nextSequence
      let written = try head.map { head throws(StoreError) in
        try write(head, sequence: sequence, tombstonesApplied: files.nextTombstone - 1)
      }
      let metas = written?.map(\.meta) ?? []
      work = StoreWork(wrote: metas)
      _ = try commit(
        created: metas,
        { manifest in
          manifest.nextSequence = sequence + 1
          manifest.blocks += metas
          if let head {
            manifest.durable = positions
            manifest.descriptors.merge(head.descriptors) { _, new in new }
          }
          if let tombstone {
            manifest.tombstones.append(
              Tombstone(id: manifest.nextTombstone, matchers: tombstone.matchers, range: tombstone.range))
            manifest.nextTombstone += 1
          }
          return true
        },
        install: { state, manifest in
          if head != nil {
            state.sealingHead = nil
            state.durable = positions
          }
          state.blocks += written ?? []
          state.tombstones = manifest.tombstones
          state.descriptors = manifest.descriptors
          state.lastFailure = nil
          state.retryAt = .min
        })
    } catch {
      note(failure: error)
      throw error
    }
    if head != nil { configuration.onDurable?(positions) }
    return work
  }

  /// Writes a head as blocks, one for each span of time that deserves it, and opens them: what will be served has been
  /// read back and verified before the manifest lists it.
  private func write(
    _ head: Head, sequence: UInt64, tombstonesApplied: UInt64
  ) throws(StoreError) -> [Block] {
    var input = BlockMerge.Input(tracks: [], table: SeriesTable(), masks: [:])
    var widths: [Int] = []
    state.withLock { _ in
      input.table.reserve(head.index.count)
      for lane in head.lanes {
        input.tracks.append(Track(strips: lane.snapshot(.all)))
        widths.append(lane.width)
      }
      input.table.beginSource()
      for (number, labels) in head.index.labels.enumerated() {
        input.table.add(labels, head.index.places(UInt32(number)))
      }
    }
    return try write(
      input, spans: plan.spans(try plan.weights(input.tracks, widths: widths)), sequence: sequence,
      tombstonesApplied: tombstonesApplied)
  }

  /// Writes and opens a block for each of the spans that has samples. After a failure none of their files is left.
  /// `isKept` takes more time for fewer bytes.
  func write(
    _ input: BlockMerge.Input, spans: [TimeRange], sequence: UInt64, tombstonesApplied: UInt64,
    isKept: Bool = false, pace: WritePace? = nil
  ) throws(StoreError) -> [Block] {
    var paths: [String] = []
    do throws(StoreError) {
      var blocks: [Block] = []
      for span in spans {
        let id = newBlockID()
        let path = path(id)
        paths.append(path)
        let meta = try BlockMerge.write(
          input, range: span, disk: disk, path: path, id: id, sequence: sequence,
          tombstonesApplied: tombstonesApplied,
          options: BlockWriter.Options(
            compressionLevel: configuration.compression.level, isKept: isKept, pace: pace),
          shouldStop: { isStopping.isSet })
        if let meta { blocks.append(try Block(disk, path: path, meta: meta, cache: cache)) }
      }
      do throws(DiskError) { try disk.syncDirectory(blocksDirectory) } catch { throw .disk(error) }
      return blocks
    } catch {
      // No manifest lists them, so they may go; what stays is removed when the store is opened next.
      for path in paths { try? disk.remove(path) }
      throw error
    }
  }
}

extension StoreWork {
  init(wrote metas: [BlockMeta], merged: Int = 0) {
    self.init()
    blocksMerged = merged
    blocksWritten = metas.count
    samples = metas.reduce(0) { $0 + $1.samples }
    bytes = metas.reduce(0) { $0 + $1.bytes }
  }
}
