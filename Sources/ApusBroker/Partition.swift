import ApusIO

/// What a partition's owner decides by: the topic's settings with the log's defaults filled in.
struct PartitionSettings: Sendable {
  var segmentBytes: Int64
  var retentionMilliseconds: Int64?
  var retentionBytes: Int64?
  var maxMessageBytes: Int
  var requiresCoverage: Bool
  var producersMax: Int
  var producerExpirationMilliseconds: Int64
}

/// A segment as its writer knows it.
struct Segment {
  let path: SegmentPath
  var bytes: Int64
  var nextOffset: Int64
  var lastAppendTime: Int64
  var maxTimestamp: Int64
  let index: SharedSegmentIndex
  /// The prologue at its start; what has no more than that needs no successor.
  var prologueBytes: Int64 = 0

  var view: PartitionView.Segment {
    PartitionView.Segment(path: path, bytes: bytes, nextOffset: nextOffset, maxTimestamp: maxTimestamp, index: index)
  }
}

/// One partition of a topic, owned by the writer: it takes batches in, writes them, and says when they are committed.
///
/// A turn is: `stage` any number of batches; `writeStaged`; `sync` where the durability asks for it; then `commit`, or
/// `rollBack` after an error. Only committed batches are seen by readers. Two facts hold between turns and recovery
/// builds on them: *a segment is on stable storage before its successor exists*, and *the file of the newest segment
/// holds nothing beyond the committed bytes, or `isInDoubt` is set and no byte is added before it is cut*.
final class Partition {
  enum Staged {
    /// It will be part of the turn; the receipt holds once the turn is committed.
    case accepted(AppendReceipt)
    /// It was appended before this turn.
    case known(AppendReceipt)
    case refused(LogError)
    /// The segment is full: commit the turn, then `roll`, then stage it again.
    case needsRoll
  }

  let id: TopicPartition
  let identity: PartitionIdentity
  let directory: String
  let disk: any Disk
  let files: SegmentFiles
  let view: PartitionView
  var settings: PartitionSettings

  var segments: [Segment]
  var file: any DiskFile
  /// The offset behind the last committed record: the high watermark.
  var nextOffset: Int64
  var producers: ProducerStates
  var prologue: (any SegmentPrologue)?
  /// What of the newest segment is known to be on stable storage.
  var syncedBytes: Int64
  var syncedOffset: Int64
  /// Offsets below this one may have been seen by readers although a power cut would take them.
  var reservedOffset: Int64
  /// Everything below has been taken in by the store, so that retention may drop it.
  var coveredOffset: Int64
  /// Files of corrupt segments that were set aside here; they go when the log's start has passed them.
  var setAside: [(baseOffset: Int64, name: String)] = []
  /// A repair that has not come to its end, and what is to be reported of it. No segment is dropped before.
  var pendingRepair: (plan: SegmentRepair.Plan, finding: RecoveryReport.Finding)?

  /// The newest file may hold more than the committed bytes.
  private var isInDoubt = false
  /// A sync failed after the bytes had been committed (durability below `every`): they are to be written again.
  private var needsRewrite = false
  /// A successor whose making failed half way.
  private var abandoned: SegmentPath?
  /// Closed segments whose index files are still to be written.
  private var unindexed: [SegmentPath] = []

  private var staged: [RecordBatch] = []
  private var stagedBytes: Int64 = 0
  private var stagedOffset: Int64
  private var undo: [(producer: Int64, previous: ProducerStates.Entry?)] = []

  init(
    id: TopicPartition, identity: PartitionIdentity, directory: String, disk: any Disk, files: SegmentFiles,
    settings: PartitionSettings, segments: [Segment], file: any DiskFile, nextOffset: Int64,
    producers: ProducerStates, prologue: (any SegmentPrologue)?, tailBytes: Int
  ) {
    self.id = id
    self.identity = identity
    self.directory = directory
    self.disk = disk
    self.files = files
    self.settings = settings
    self.segments = segments
    self.file = file
    self.nextOffset = nextOffset
    self.producers = producers
    self.prologue = prologue
    stagedOffset = nextOffset
    syncedBytes = segments[segments.count - 1].bytes
    syncedOffset = nextOffset
    reservedOffset = nextOffset
    coveredOffset = segments[0].path.baseOffset
    view = PartitionView(
      id: id,
      state: PartitionView.State(
        logStart: segments[0].path.baseOffset, highWatermark: nextOffset, segments: segments.map(\.view),
        tail: BatchTail(bytesMax: tailBytes)))
  }

  var logStart: Int64 { segments[0].path.baseOffset }
  var bytes: Int64 { segments.reduce(0) { $0 + $1.bytes } }
  var hasStaged: Bool { !staged.isEmpty }
  /// The offset behind the turn's batches.
  var stagedEnd: Int64 { stagedOffset }
  var stagedSize: Int64 { stagedBytes }
  var isDirty: Bool { syncedBytes < active.bytes || needsRewrite }
  /// Whether the newest segment holds more than its prologue.
  var isWorthRolling: Bool { active.bytes > active.prologueBytes }
  var active: Segment {
    get { segments[segments.count - 1] }
    set { segments[segments.count - 1] = newValue }
  }

  // MARK: A turn

  /// Takes a batch into the turn, or says why not.
  func stage(_ original: RecordBatch, now: Int64) -> Staged {
    let size = original.bytes.count
    guard size <= settings.maxMessageBytes else {
      return .refused(.messageTooLarge(bytes: size, limit: settings.maxMessageBytes))
    }
    let header = original.header
    // A value of the type is whole, but may have come from a log with holes; an append has every offset.
    guard Int(header.lastOffsetDelta) == Int(header.recordCount) - 1 else {
      return .refused(
        .invalidBatch(
          InvalidBatch(
            reason: "\(header.recordCount) records cannot end at offset delta \(header.lastOffsetDelta)",
            position: RecordBatchHeader.Position.lastOffsetDelta)))
    }
    switch producers.check(header) {
    case .refused(let error): return .refused(error)
    case .duplicate(let known):
      let receipt = AppendReceipt(
        baseOffset: known.baseOffset, recordCount: Int(known.recordCount), isDuplicate: true)
      return receipt.nextOffset <= nextOffset ? .known(receipt) : .accepted(receipt)
    case .append: break
    }
    if let error = fullness(adding: Int64(size)) { return .refused(error) }
    let segment = active
    let filled = segment.bytes + stagedBytes
    let isTooLarge = filled + Int64(size) > settings.segmentBytes && filled > segment.prologueBytes
    let isTooLong = stagedOffset + Int64(header.recordCount) - segment.path.baseOffset > Int64(Int32.max)
    if isTooLarge || (isTooLong && filled > 0) { return .needsRoll }
    var batch = original
    batch.baseOffset = stagedOffset
    batch.leaderEpoch = 0
    let receipt = AppendReceipt(
      baseOffset: stagedOffset, recordCount: Int(header.recordCount), isDuplicate: false)
    if let change = producers.record(header, baseOffset: stagedOffset, now: now) { undo.append(change) }
    staged.append(batch)
    stagedBytes += Int64(size)
    stagedOffset += Int64(header.recordCount)
    return .accepted(receipt)
  }

  /// Where nothing may be dropped that is not covered, the size bound refuses what does not fit.
  private func fullness(adding size: Int64) -> LogError? {
    guard settings.requiresCoverage, let limit = settings.retentionBytes else { return nil }
    let held = bytes + stagedBytes
    return held + size > limit ? .logFull(bytes: held, limit: limit) : nil
  }

  /// Writes the turn's batches, one call for all.
  func writeStaged() throws(DiskError) {
    try settleDoubt()
    // Invariant: the pointers outlive the closures they come from, because a native array's elements do not move while
    // `staged` holds the array and nothing changes it, and both are so until the write returns.
    let buffers = staged.map { batch in batch.bytes.withUnsafeBytes { $0 } }
    isInDoubt = true
    try file.write(buffers, at: active.bytes)
    isInDoubt = false
  }

  /// Puts all that was written on stable storage.
  func sync() throws(DiskError) {
    do throws(DiskError) {
      if needsRewrite { try rewriteUnsynced() }
      try file.sync()
    } catch {
      // What was committed before at a weaker durability stays, and is written again; what was not is cut off.
      if syncedBytes < active.bytes { needsRewrite = true }
      isInDoubt = true
      throw error
    }
    needsRewrite = false
    syncedBytes = active.bytes + (hasStaged ? stagedBytes : 0)
    syncedOffset = stagedOffset
  }

  /// Makes the turn's batches part of the log and shows them to readers.
  func commit(now: Int64) {
    guard hasStaged else { return }
    var segment = active
    for batch in staged {
      let header = batch.header
      segment.index.add(header, baseOffset: segment.path.baseOffset, position: segment.bytes)
      segment.bytes += Int64(header.totalBytes)
      segment.maxTimestamp = max(segment.maxTimestamp, header.maxTimestamp)
      prologue?.observe(batch)
    }
    segment.nextOffset = stagedOffset
    segment.lastAppendTime = now
    active = segment
    nextOffset = stagedOffset
    view.publish { state in
      for batch in staged { state.tail.append(batch) }
      state.segments[state.segments.count - 1] = segment.view
      state.highWatermark = nextOffset
    }
    clearTurn()
  }

  /// Forgets the turn after an error: nothing of it was acknowledged, and the file is cut before anything follows.
  func rollBack() {
    for change in undo.reversed() { producers.restore(change.producer, change.previous) }
    if hasStaged { isInDoubt = true }
    clearTurn()
    syncedBytes = min(syncedBytes, active.bytes)
    syncedOffset = min(syncedOffset, nextOffset)
    // Tried at once, so that nothing unacknowledged lies there; tried again before the next write where it fails.
    try? settleDoubt()
  }

  /// The next turn begins at the next offset.
  func resetTurn() { clearTurn() }

  private func clearTurn() {
    staged.removeAll(keepingCapacity: true)
    undo.removeAll(keepingCapacity: true)
    stagedBytes = 0
    stagedOffset = nextOffset
  }

  /// Brings the files back to what is committed, where an earlier failure left that open.
  private func settleDoubt() throws(DiskError) {
    if let path = abandoned {
      if try disk.exists(path.log) { try disk.remove(path.log) }
      // Also when it was removed by an earlier attempt, whose sync may have failed: were the name to come back, two
      // segments would hold the same offsets.
      try disk.syncDirectory(directory)
      abandoned = nil
    }
    if isInDoubt {
      try file.truncate(to: active.bytes)
      // The cut itself must be on stable storage before anything is written there: else a power cut could bring back
      // what was refused, at offsets that others have been given since.
      do throws(DiskError) { try file.sync() } catch {
        if syncedBytes < active.bytes { needsRewrite = true }
        throw error
      }
      isInDoubt = false
      if !needsRewrite {
        syncedBytes = active.bytes
        syncedOffset = nextOffset
      }
    }
  }

  /// After a failed sync the system may have dropped what it could not store, and a later success says nothing of it:
  /// so the bytes are read back, checked and written once more.
  private func rewriteUnsynced() throws(DiskError) {
    let end = active.bytes
    let outcome = try SegmentScanner.scan(file, from: syncedBytes, to: end, baseOffset: syncedOffset) { _, _, _ in }
    var position = syncedBytes
    while position < outcome.validBytes {
      let chunk = try file.read(Int(min(1 << 20, outcome.validBytes - position)), at: position)
      guard !chunk.isEmpty else { break }
      try file.write(chunk, at: position)
      position += Int64(chunk.count)
    }
  }

  // MARK: Segments

  /// Closes the newest segment and begins the next, with its prologue. Nothing may be staged. After an error the old
  /// one stays the newest.
  func roll(now: Int64) throws(DiskError) {
    precondition(!hasStaged, "a segment rolled in the middle of a turn")
    precondition(nextOffset > active.path.baseOffset, "a second segment would begin at \(nextOffset)")
    try settleDoubt()
    if isDirty || syncedOffset < nextOffset { try sync() }
    let path = SegmentPath(directory: directory, baseOffset: nextOffset)
    abandoned = path
    let created = try Partition.begin(path, producers, &prologue, disk, now: now)
    abandoned = nil
    unindexed.append(active.path)
    file = created.file
    segments.append(created.segment)
    nextOffset = created.segment.nextOffset
    syncedBytes = created.segment.bytes
    syncedOffset = nextOffset
    stagedOffset = nextOffset
    view.publish { state in
      for batch in created.batches { state.tail.append(batch) }
      state.segments = segments.map(\.view)
      state.highWatermark = nextOffset
    }
  }

  /// Makes the file of a new segment with its prologue, all of it on stable storage when this returns. The file gets
  /// its name last, so that a segment that is there has its whole prologue.
  static func begin(
    _ path: SegmentPath, _ producers: ProducerStates, _ prologue: inout (any SegmentPrologue)?, _ disk: any Disk,
    now: Int64
  ) throws(DiskError) -> (file: any DiskFile, segment: Segment, batches: [RecordBatch]) {
    let batches = prologueBatches(prologue?.records(now: now) ?? [], from: path.baseOffset)
    try disk.replaceFile(path.producers, with: producers.encoded())
    let unfinished = path.log + ".tmp"
    let file = try disk.open(unfinished, .create)
    try file.truncate(to: 0)
    var index = SegmentIndex()
    var position: Int64 = 0
    for batch in batches {
      try file.write(batch.bytes, at: position)
      index.add(batch.header, baseOffset: path.baseOffset, position: position)
      position += Int64(batch.bytes.count)
    }
    try file.sync()
    try disk.rename(unfinished, to: path.log)
    try disk.syncDirectory(path.directory)
    for batch in batches { prologue?.observe(batch) }
    let segment = Segment(
      path: path, bytes: position, nextOffset: batches.last?.nextOffset ?? path.baseOffset, lastAppendTime: now,
      maxTimestamp: index.maxTimestamp, index: SharedSegmentIndex(growing: index), prologueBytes: position)
    return (file, segment, batches)
  }

  private static func prologueBatches(_ records: [Record], from start: Int64) -> [RecordBatch] {
    var batches: [RecordBatch] = []
    var builder = RecordBatchBuilder()
    var offset = start
    func finish() {
      guard !builder.isEmpty, var batch = try? builder.finish() else { return }
      batch.baseOffset = offset
      offset = batch.nextOffset
      batches.append(batch)
    }
    for record in records {
      builder.append(record)
      if builder.byteCount > 1 << 20 { finish() }
    }
    finish()
    return batches
  }

  /// Writes the index files of closed segments; what fails is tried again later, from memory.
  func writeIndexes() {
    unindexed.removeAll { path in
      guard let segment = segments.first(where: { $0.path == path }), let index = segment.index.growing else {
        return true
      }
      guard Partition.writeIndex(segment, index, disk) else { return false }
      segment.index.close()
      return true
    }
  }

  /// Not synced: a torn index is found by its checksum and made anew.
  static func writeIndex(_ segment: Segment, _ index: SegmentIndex, _ disk: any Disk) -> Bool {
    let summary = SegmentSummary(
      baseOffset: segment.path.baseOffset, bytes: segment.bytes, nextOffset: segment.nextOffset,
      maxTimestamp: index.maxTimestamp, lastAppendTime: segment.lastAppendTime)
    do throws(DiskError) {
      for (name, bytes) in [
        (segment.path.offsetIndex, SegmentIndexFile.encodeOffsets(summary, index.entries)),
        (segment.path.timeIndex, SegmentIndexFile.encodeTimes(summary, index.entries)),
      ] {
        let file = try disk.open(name, .create)
        try file.truncate(to: 0)
        try file.write(bytes, at: 0)
      }
      return true
    } catch { return false }
  }
}
