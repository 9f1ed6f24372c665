import ApusIO
import ApusModel
import Synchronization

/// The embedded store without its threads: every method runs where it is called and returns when it is done.
///
/// Locks, in the order in which they may be taken: `sealing` (one seal or delete at a time), `manifest` (one change of
/// the files' list at a time; held during its write), `state` (memory only; never held during I/O).
final class StoreCore: Sendable {
  struct State {
    var head = Head()
    /// A head that is being written to blocks; nothing is added to it any more.
    var sealingHead: Head?
    /// The positions that the blocks of `sealingHead` will cover.
    var sealingPositions: [LogPartition: Int64] = [:]
    /// Ascending by sequence.
    var blocks: [Block] = []
    /// In the order of the manifest.
    var rollups: [Rollup] = []
    /// Files of roll-ups written, and aggregates answered with the help of one, since the store was opened.
    var rollupsMade = 0
    var rollupAnswers = 0
    var tombstones: [Tombstone] = []
    var descriptors: [String: MetricDescriptor] = [:]
    var appended: [LogPartition: Int64] = [:]
    var durable: [LogPartition: Int64] = [:]
    var arrival: UInt64 = 0
    var limiter: SeriesLimiter
    var lateness = Lateness()
    var quarantined = 0
    var lastFailure: String?
    /// No attempt to write before this instant of the wall clock.
    var retryAt = Int64.min
    var isClosed = false

    var headBytes: Int { head.bytes + (sealingHead?.bytes ?? 0) }
  }

  /// The manifest as it is on the disk, and files that must go once it is known that no manifest lists them.
  struct Files {
    var manifest: Manifest
    var bytes: Int
    /// Blocks of a commit whose outcome is unknown: the disk may hold a manifest with them.
    var orphans: [String] = []
  }

  let disk: any Disk
  let directory: String
  let clock: any WallClock
  let configuration: EmbeddedStore.Configuration
  let plan: CompactionPlan
  /// What was expanded of compressed blocks.
  let cache: ExpandedCache
  /// How fast merges write; nil for as fast as they can.
  let pace: WritePace?
  let sealing = Mutex<Void>(())
  let manifest: Mutex<Files>
  let state: Mutex<State>
  /// Blocks that came out of a merge that had to cut (see `CompactionPlan`); forgotten when the program ends.
  let settled = Mutex<Set<UInt64>>([])
  /// One snapshot is made at a time.
  let snapshotting = Mutex<Void>(())
  let beside = Mutex(BesideBytes())
  let rollupWeights = RollupWeights()
  /// Long merges look at this between groups.
  let isStopping = StopFlag()
  private let lock: Mutex<(any DiskLock)?>

  var blocksDirectory: String { Disks.join(directory, "blocks") }
  var quarantineDirectory: String { Disks.join(directory, "quarantine") }
  private var manifestPath: String { Disks.join(directory, Manifest.name) }

  func path(_ id: UInt64) -> String { Disks.join(blocksDirectory, BlockMeta.name(id)) }

  /// Opens the store in a directory, or makes it. Blocks that do not verify are set aside and counted; files that the
  /// manifest does not list are what a crash left behind, and are removed.
  init(
    disk: any Disk, directory: String, clock: any WallClock, configuration: EmbeddedStore.Configuration
  ) throws(StoreError) {
    try configuration.validate()
    self.disk = disk
    self.directory = directory
    self.clock = clock
    self.configuration = configuration
    plan = CompactionPlan(
      partitionMilliseconds: configuration.partitionMilliseconds, blockSamplesMin: configuration.blockSamplesMin,
      mergeSamplesMax: configuration.compactionSamplesMax)
    let cache = ExpandedCache(limit: configuration.expandedBytesMax)
    self.cache = cache
    let stopping = isStopping
    pace = configuration.compactionBytesPerSecond.map { rate in
      WritePace(bytesPerSecond: rate, clock: clock) { stopping.isSet }
    }
    let opened = try StoreCore.open(disk, directory, cache: cache)
    lock = Mutex(opened.lock)
    var state = State(
      limiter: SeriesLimiter(limit: configuration.seriesLimit, windowMilliseconds: configuration.headSpanMilliseconds))
    state.blocks = opened.blocks
    state.rollups = opened.rollups
    state.quarantined = opened.quarantined
    state.tombstones = opened.manifest.tombstones
    state.descriptors = opened.manifest.descriptors
    state.appended = opened.manifest.durable
    state.durable = opened.manifest.durable
    self.state = Mutex(state)
    manifest = Mutex(Files(manifest: opened.manifest, bytes: opened.manifestBytes))
  }

  func releaseLock() { lock.withLock { $0 = nil } }

  // MARK: Taking in

  func append(_ batch: StoreBatch) throws(StoreError) -> (outcome: AppendOutcome, hasWork: Bool) {
    let now = clock.now
    let oldest = oldestKept(now: now)
    return try state.withLock { state throws(StoreError) in
      if state.isClosed { throw .closed }
      let bytes = state.headBytes
      let bound = headBytes(for: state.head)
      // A head that may be larger leaves room for the one after it, as the configured one does.
      let limit = configuration.headBytesMax + 2 * (bound - configuration.headBytes)
      if bytes > limit { throw .headFull(bytes: bytes, limit: limit, cause: state.lastFailure) }
      var outcome = AppendOutcome()
      let appended = state.appended[batch.partition] ?? Int64.min
      let blocks = state.blocks
      let isStored = { (labels: Labels) -> Bool in StoreCore.contains(labels, in: blocks) }
      for item in batch.items {
        if item.offset < appended {
          outcome.recordsSkipped += 1
          continue
        }
        let before = (outcome.samplesOverSeriesLimit, outcome.samplesTooOld)
        defer { outcome.noteRefusal(at: item.offset, since: before) }
        if !item.descriptors.isEmpty { state.head.note(item.descriptors) }
        switch item.content {
        case .scrape(let scrape):
          if scrape.timestamp.milliseconds < oldest {
            outcome.samplesTooOld += scrape.sampleCount
            continue
          }
          state.head.append(
            scrape, now: now, arrival: &state.arrival, limiter: &state.limiter, isStored: isStored,
            outcome: &outcome, lateness: &state.lateness)
        case .samples(let list):
          for samples in list {
            state.head.append(
              samples, now: now, oldest: oldest, arrival: &state.arrival, limiter: &state.limiter,
              isStored: isStored, outcome: &outcome, lateness: &state.lateness)
          }
        }
      }
      if batch.nextOffset > appended { state.appended[batch.partition] = batch.nextOffset }
      return (outcome, state.head.hasFrozen || state.head.bytes > bound)
    }
  }

  /// The oldest instant that retention keeps, in milliseconds.
  func oldestKept(now: Int64) -> Int64 {
    guard let retention = configuration.retentionMilliseconds else { return .min }
    let (oldest, overflow) = now.subtractingReportingOverflow(retention)
    return overflow ? .min : oldest
  }

  /// Whether a block has a series. A block that cannot be read does not have it.
  private static func contains(_ labels: Labels, in blocks: [Block]) -> Bool {
    let matchers = labels.pairs.map { CompiledMatcher(.equal($0.name, $0.value)) }
    for block in blocks.reversed() {
      guard let found = try? block.match(matchers) else { continue }
      for (group, rows) in found {
        // Others may have these labels and more.
        if let sets = try? block.labels(group: group, rows: rows), sets.contains(labels) { return true }
      }
    }
    return false
  }

  /// Encodes full buffers of the head, a few at a time, outside of the lock.
  func encodeFrozen() {
    var encoder = ValueEncoder()
    var scratch = HeadScratch()
    while true {
      let taken = state.withLock { state in (state.head, state.head.takeFrozen(max: 16)) }
      if taken.1.isEmpty { return }
      for part in taken.1 {
        let chunk = HeadChunk(
          part.buffer, rows: part.buffer.count, isAscending: part.isAscending, encoder: &encoder, scratch: &scratch)
        state.withLock { _ in taken.0.install(chunk, for: part) }
      }
    }
  }

  // MARK: Files

  /// Replaces the manifest by one that `change` makes of it, then the state in memory by `install`. On an error the old
  /// one stays in force, and the blocks in `created` wait until it is known that no manifest on the disk lists them.
  func commit(
    created: [BlockMeta] = [], _ change: (inout Manifest) -> Bool,
    install: (inout State, Manifest) -> Void
  ) throws(StoreError) -> Bool {
    try manifest.withLock { files throws(StoreError) in
      var next = files.manifest
      guard change(&next) else { return false }
      next.dropAppliedTombstones()
      let bytes = next.encoded()
      do throws(DiskError) {
        try disk.replaceFile(manifestPath, with: bytes)
      } catch {
        files.orphans += created.map { path($0.id) }
        throw .disk(error)
      }
      let kept = Set(next.files.map(\.id))
      let dropped = files.manifest.files.filter { !kept.contains($0.id) }.map { path($0.id) }
      let orphans = files.orphans
      files = Files(manifest: next, bytes: bytes.count)
      state.withLock { install(&$0, next) }
      // What cannot be removed now is removed when the store is opened next.
      for path in dropped + orphans { try? disk.remove(path) }
      return true
    }
  }

  /// Makes sure that the manifest on the disk is the one in memory, after a commit with an unknown outcome. Nothing new
  /// is written before, or the disk could fill up with blocks that may not be removed.
  func settleFiles() throws(StoreError) {
    let inDoubt = manifest.withLock { !$0.orphans.isEmpty }
    if inDoubt { _ = try commit({ _ in true }, install: { _, _ in }) }
  }

  /// A number for a new block's file.
  func newBlockID() -> UInt64 {
    manifest.withLock { files in
      defer { files.manifest.nextBlock += 1 }
      return files.manifest.nextBlock
    }
  }

  func note(failure: StoreError) {
    let now = clock.now
    state.withLock { state in
      state.lastFailure = failure.description
      state.retryAt = now + configuration.retryMilliseconds
    }
  }
}

/// Set once, when the store is to be closed.
final class StopFlag: Sendable {
  private let value = Atomic<Bool>(false)

  var isSet: Bool { value.load(ordering: .relaxed) }

  func set() { value.store(true, ordering: .relaxed) }
}
