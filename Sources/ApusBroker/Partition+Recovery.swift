import ApusIO

// How a partition's files become a partition again (docs/format/log.md, "Recovery").
extension Partition {
  /// What recovery is told from outside the partition's folder.
  struct Surroundings {
    var id: TopicPartition
    var identity: PartitionIdentity
    var directory: String
    var disk: any Disk
    var files: SegmentFiles
    var settings: PartitionSettings
    var checkpoint: CheckpointEntry?
    /// There was a checkpoint and it cannot be told what it said of this partition.
    var isCheckpointLost: Bool
    var prologue: (any SegmentPrologue)?
    var tailBytes: Int
    var now: Int64
  }

  /// Opens a partition whose folder exists, empty or not, and adds what it found to the report.
  static func open(_ around: Surroundings, _ report: inout RecoveryReport) throws(DiskError) -> Partition {
    let disk = around.disk
    switch try SegmentRepair.finishPending(around.directory, disk) {
    case .none: break
    case .finished(let file, let keptAs):
      report.add(
        .corruption(
          partition: around.id, file: file, position: 0, reason: "a repair that had been begun was finished",
          keptAs: keptAs))
    case .journalLost(let file):
      report.add(
        .metadataLost(file: file, reason: "its checksum is wrong; what was saved took its place where that was free"))
    }
    var recovery = Recovery(around: around)
    var bases: [Int64] = []
    for name in try disk.list(around.directory) {
      if name.hasSuffix(".tmp") {
        try disk.remove(Disks.join(around.directory, name))
      } else if let base = SegmentPath.baseOffset(ofName: name, suffix: "log") {
        bases.append(base)
      } else if name.contains(".corrupt"), let base = Int64(name.prefix(20)) {
        recovery.setAside.append((base, name))
      }
    }
    bases.sort()
    try recovery.openClosed(bases, &report)
    try recovery.openNewest(bases.last, &report)
    return try recovery.finish(&report)
  }

  /// The steps of one partition's recovery.
  private struct Recovery {
    let around: Surroundings
    var segments: [Segment] = []
    var setAside: [(baseOffset: Int64, name: String)] = []
    /// The newest segment when it can be gone on with; nil when a new one must be begun.
    var file: (any DiskFile)?
    var prologue: (any SegmentPrologue)?
    var producers: ProducerStates
    var nextOffset: Int64 = 0

    var disk: any Disk { around.disk }

    init(around: Surroundings) {
      self.around = around
      prologue = around.prologue
      producers = ProducerStates(limit: around.settings.producersMax)
    }

    private func path(_ base: Int64) -> SegmentPath {
      SegmentPath(directory: around.directory, baseOffset: base)
    }

    // MARK: Closed segments

    /// All but the newest: their index files say what they hold, or they are scanned.
    mutating func openClosed(_ bases: [Int64], _ report: inout RecoveryReport) throws(DiskError) {
      for (position, base) in bases.enumerated().dropLast() {
        let path = path(base)
        let file = try disk.open(path.log, .read)
        let bytes = try file.size()
        if let known = try summary(path, bytes: bytes), known.nextOffset <= bases[position + 1] {
          segments.append(
            Segment(
              path: path, bytes: bytes, nextOffset: known.nextOffset, lastAppendTime: known.lastAppendTime,
              maxTimestamp: known.maxTimestamp, index: SharedSegmentIndex()))
        } else {
          try rebuild(path, file, bytes, offsetLimit: bases[position + 1], &report)
        }
      }
    }

    /// What both index files say, where they are whole and belong to a segment of this size.
    private func summary(_ path: SegmentPath, bytes: Int64) throws(DiskError) -> SegmentSummary? {
      guard try disk.exists(path.offsetIndex), try disk.exists(path.timeIndex) else { return nil }
      let offsets = try disk.readFile(path.offsetIndex)
      let times = try disk.readFile(path.timeIndex)
      guard let first = offsets.withUnsafeBytes({ SegmentIndexFile.summary($0, magic: SegmentIndexFile.offsetMagic) }),
        let second = times.withUnsafeBytes({ SegmentIndexFile.summary($0, magic: SegmentIndexFile.timeMagic) }),
        first == second, first.baseOffset == path.baseOffset, first.bytes == bytes
      else { return nil }
      return first
    }

    private mutating func rebuild(
      _ path: SegmentPath, _ file: any DiskFile, _ bytes: Int64, offsetLimit: Int64, _ report: inout RecoveryReport
    ) throws(DiskError) {
      if bytes == 0 {
        // The segment's successor exists and it holds nothing: there is nothing to keep a place for.
        try Partition.removeFiles(path, disk)
        return
      }
      let survey = try SegmentRepair.survey(
        file, bytes: bytes, baseOffset: path.baseOffset, offsetLimit: offsetLimit,
        entries: SegmentIndexFile.entries(path, disk))
      if survey.problem != nil {
        try quarantine(path, file, survey, &report)
        return
      }
      try addClosed(path, file, bytes, &report)
    }

    /// Scans a good closed segment and writes its index files.
    private mutating func addClosed(
      _ path: SegmentPath, _ file: any DiskFile, _ bytes: Int64, _ report: inout RecoveryReport
    ) throws(DiskError) {
      let segment = try Partition.scanClosed(path, file, bytes: bytes, now: around.now)
      if let index = segment.index.growing, Partition.writeIndex(segment, index, disk) { segment.index.close() }
      report.add(.indexRebuilt(partition: around.id, file: path.offsetIndex))
      segments.append(segment)
    }

    private mutating func quarantine(
      _ path: SegmentPath, _ file: any DiskFile, _ survey: SegmentRepair.Survey, _ report: inout RecoveryReport
    ) throws(DiskError) {
      let aside = try SegmentRepair.replace(path, with: survey.runs, file, disk)
      setAside.append((path.baseOffset, String(aside.dropFirst(around.directory.utf8.count + 1))))
      report.add(
        .corruption(
          partition: around.id, file: path.log, position: survey.problem?.position ?? 0,
          reason: survey.problem?.reason ?? "", keptAs: aside))
      for run in survey.runs {
        let runPath = self.path(run.baseOffset)
        try addClosed(runPath, try disk.open(runPath.log, .read), run.end - run.start, &report)
      }
    }

    // MARK: The newest segment

    mutating func openNewest(_ base: Int64?, _ report: inout RecoveryReport) throws(DiskError) {
      guard let base else { return }
      let path = path(base)
      let opened = try disk.open(path.log, .update)
      var bytes = try opened.size()
      try loadProducers(path, &report)
      var index = SegmentIndex()
      let outcome = try SegmentScanner.scan(opened, from: 0, to: bytes, baseOffset: base) { header, position, raw in
        index.add(header, baseOffset: base, position: position)
        replay(header, raw)
      }
      nextOffset = outcome.nextOffset
      if let reason = outcome.problem {
        // Where nobody knows what had been synced, nothing is cut: it might be what was acknowledged.
        if around.isCheckpointLost || outcome.validBytes < syncedBytes(of: base) {
          try salvageNewest(path, opened, bytes, index, &report)
          return
        }
        report.add(
          .tornTail(
            partition: around.id, file: path.log, position: outcome.validBytes,
            bytesCut: bytes - outcome.validBytes, reason: reason))
        try opened.truncate(to: outcome.validBytes)
        bytes = outcome.validBytes
      }
      // What is served from now on must not go with the next power cut.
      try opened.sync()
      file = opened
      segments.append(
        Segment(
          path: path, bytes: bytes, nextOffset: nextOffset, lastAppendTime: around.now,
          maxTimestamp: index.maxTimestamp, index: SharedSegmentIndex(growing: index)))
    }

    /// How much of the newest segment was on stable storage when the checkpoint was written. A checkpoint that names a
    /// later segment says that this one was complete.
    private func syncedBytes(of base: Int64) -> Int64 {
      guard let checkpoint = around.checkpoint else { return 0 }
      if checkpoint.segmentBase == base { return checkpoint.syncedBytes }
      return checkpoint.segmentBase > base ? .max : 0
    }

    private mutating func salvageNewest(
      _ path: SegmentPath, _ opened: any DiskFile, _ bytes: Int64, _ index: SegmentIndex,
      _ report: inout RecoveryReport
    ) throws(DiskError) {
      let survey = try SegmentRepair.survey(
        opened, bytes: bytes, baseOffset: path.baseOffset, offsetLimit: .max, entries: index.entries)
      // The batches behind the bad one belong to the producers' state and the prologue as well.
      for run in survey.runs.dropFirst(survey.runs.first?.start == 0 ? 1 : 0) {
        _ = try SegmentScanner.scan(opened, from: run.start, to: run.end, baseOffset: run.baseOffset) {
          header, _, raw in replay(header, raw)
        }
      }
      let end = survey.runs.last?.nextOffset ?? path.baseOffset
      nextOffset = end
      // Of what lies behind the last good batch and came after the checkpoint nobody knows the offsets any more. They may
      // have been acknowledged, so they are not given out again.
      if (survey.runs.last?.end ?? 0) < bytes, syncedBytes(of: path.baseOffset) < bytes {
        nextOffset += LogCore.offsetBlock
        report.add(.missing(partition: around.id, from: end, to: nextOffset))
      }
      try quarantine(path, opened, survey, &report)
    }

    // MARK: Producers and prologue

    /// The state where the newest segment begins; without its file, from all segments there are.
    private mutating func loadProducers(
      _ path: SegmentPath, _ report: inout RecoveryReport
    ) throws(DiskError) {
      if try disk.exists(path.producers) {
        if let loaded = ProducerStates(
          encoded: try disk.readFile(path.producers), limit: around.settings.producersMax)
        {
          producers = loaded
          return
        }
        report.add(
          .metadataLost(
            file: path.producers, reason: "its checksum is wrong; the producers are those of the segments there are"))
      }
      for segment in segments {
        let file = try disk.open(segment.path.log, .read)
        // Its index vouches for its size alone: a bad batch in it must not hide the producers of those behind.
        let survey = try SegmentRepair.survey(
          file, bytes: segment.bytes, baseOffset: segment.path.baseOffset, offsetLimit: segment.nextOffset,
          entries: SegmentIndexFile.entries(segment.path, disk))
        for run in survey.runs {
          _ = try SegmentScanner.scan(file, from: run.start, to: run.end, baseOffset: run.baseOffset) {
            header, _, _ in
            _ = producers.record(header, baseOffset: header.baseOffset, now: around.now)
          }
        }
      }
    }

    private mutating func replay(_ header: RecordBatchHeader, _ raw: UnsafeRawBufferPointer) {
      _ = producers.record(header, baseOffset: header.baseOffset, now: around.now)
      if prologue != nil { prologue?.observe(RecordBatch(unchecked: [UInt8](raw))) }
    }

    // MARK: The end

    /// Settles where the log goes on: behind all that there is, and behind all that may have been given out.
    mutating func finish(_ report: inout RecoveryReport) throws(DiskError) -> Partition {
      let promised = max(around.checkpoint?.syncedOffset ?? 0, around.checkpoint?.reservedOffset ?? 0)
      let end = max(nextOffset, segments.last?.nextOffset ?? 0)
      let start = max(end, promised)
      if start > end { report.add(.missing(partition: around.id, from: end, to: start)) }
      if file != nil, start > end, let newest = segments.last, newest.bytes == 0 {
        try Partition.removeFiles(newest.path, disk)
        segments.removeLast()
        file = nil
      }
      if file == nil {
        try beginAnew(at: start)
      }
      guard let file else { preconditionFailure("no newest segment for \(around.id)") }
      let partition = Partition(
        id: around.id, identity: around.identity, directory: around.directory, disk: disk, files: around.files,
        settings: around.settings, segments: segments, file: file, nextOffset: max(end, segments.last!.nextOffset),
        producers: producers, prologue: prologue, tailBytes: around.tailBytes)
      partition.setAside = setAside
      if start > partition.nextOffset { try partition.skip(to: start, now: around.now) }
      return partition
    }

    private mutating func beginAnew(at start: Int64) throws(DiskError) {
      let created = try Partition.begin(path(start), producers, &prologue, disk, now: around.now)
      file = created.file
      segments.append(created.segment)
    }
  }

  /// Scans a closed segment that is known to be good.
  static func scanClosed(
    _ path: SegmentPath, _ file: any DiskFile, bytes: Int64, now: Int64
  ) throws(DiskError) -> Segment {
    var index = SegmentIndex()
    let outcome = try SegmentScanner.scan(file, from: 0, to: bytes, baseOffset: path.baseOffset) {
      header, position, _ in index.add(header, baseOffset: path.baseOffset, position: position)
    }
    return Segment(
      path: path, bytes: outcome.validBytes, nextOffset: outcome.nextOffset, lastAppendTime: now,
      maxTimestamp: index.maxTimestamp, index: SharedSegmentIndex(growing: index))
  }

  /// Leaves out offsets that may have been seen and are lost: the next segment begins behind them.
  private func skip(to offset: Int64, now: Int64) throws(DiskError) {
    nextOffset = offset
    syncedOffset = offset
    resetTurn()
    try roll(now: now)
  }

  /// Repairs a closed segment that a reader found corrupt. Returns what was done; nil when all is well with it.
  func repair(_ base: Int64, now: Int64) throws(DiskError) -> RecoveryReport.Finding? {
    // One at a time. Whoever asked for another segment finds that one corrupt again.
    if let finding = try finishRepair(now: now) { return finding }
    guard segments.contains(where: { $0.path.baseOffset == base }) else { return nil }
    if active.path.baseOffset == base {
      guard active.bytes > 0 else { return nil }
      try roll(now: now)
    }
    guard let position = segments.firstIndex(where: { $0.path.baseOffset == base }) else { return nil }
    let old = segments[position]
    let opened = try disk.open(old.path.log, .read)
    let survey = try SegmentRepair.survey(
      opened, bytes: old.bytes, baseOffset: base, offsetLimit: segments[position + 1].path.baseOffset,
      entries: old.index.growing?.entries ?? SegmentIndexFile.entries(old.path, disk))
    guard let problem = survey.problem else { return nil }
    let plan = try SegmentRepair.save(old.path, survey.runs, opened, disk)
    pendingRepair = (
      plan,
      .corruption(
        partition: id, file: old.path.log, position: problem.position, reason: problem.reason, keptAs: plan.aside)
    )
    return try finishRepair(now: now)
  }

  /// Carries out a repair whose good batches are saved, also one that an error of the disk broke off: until then the
  /// segment may be under another name than readers know. Returns what was done; nil when there is nothing to do.
  func finishRepair(now: Int64) throws(DiskError) -> RecoveryReport.Finding? {
    guard let (plan, finding) = pendingRepair else { return nil }
    try SegmentRepair.carryOut(plan, disk)
    guard let position = segments.firstIndex(where: { $0.path == plan.path }) else {
      preconditionFailure("\(plan.path.log) was repaired and is no segment")
    }
    let old = segments[position]
    var saved: [Segment] = []
    for run in plan.runs {
      let path = SegmentPath(directory: directory, baseOffset: run.baseOffset)
      var segment = try Partition.scanClosed(
        path, try disk.open(path.log, .read), bytes: run.end - run.start, now: now)
      segment.lastAppendTime = old.lastAppendTime
      if let index = segment.index.growing, Partition.writeIndex(segment, index, disk) { segment.index.close() }
      saved.append(segment)
    }
    pendingRepair = nil
    setAside.append((plan.path.baseOffset, String(plan.aside.dropFirst(directory.utf8.count + 1))))
    files.forget(old.path)
    segments.replaceSubrange(position...position, with: saved)
    let start = logStart
    view.publish { state in
      state.segments = segments.map(\.view)
      state.logStart = start
    }
    return finding
  }
}
