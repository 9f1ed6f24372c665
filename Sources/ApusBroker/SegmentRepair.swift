import ApusIO

/// Takes a corrupt segment out of service and keeps its good batches (docs/format/log.md, "Corruption").
///
/// The order of steps makes it safe against a crash at any point: the good runs are copied to files of their own and
/// synced; a journal that names them is written by rename; then the old file is renamed aside and the new ones into
/// place. With the journal there the renames are done again at the next start; without it the copies are thrown away.
enum SegmentRepair {
  /// Batches that follow one another without a hole.
  struct Run: Hashable {
    var start: Int64
    var end: Int64
    var baseOffset: Int64
    var nextOffset: Int64
  }

  /// What a corrupt segment still holds.
  struct Survey {
    var runs: [Run] = []
    /// Where the first bad batch is, and what is wrong with it; nil when the segment is good.
    var problem: (position: Int64, reason: String)?
  }

  private static let journalMagic: UInt64 = 0x3150_5352_5355_5041  // "APUSRSP1"
  private static let journalName = "repair"

  /// Finds the good runs. Behind a bad batch it looks where that batch's own length says the next one is, then at the
  /// places the index knows; never at any odd byte, where a record's value might hold what looks like a batch.
  static func survey(
    _ file: any DiskFile, bytes: Int64, baseOffset: Int64, offsetLimit: Int64, entries: [IndexEntry]
  ) throws(DiskError) -> Survey {
    var survey = Survey()
    var position: Int64 = 0
    var expected = baseOffset
    while position < bytes {
      let outcome = try SegmentScanner.scan(file, from: position, to: bytes, baseOffset: expected) { _, _, _ in }
      if outcome.validBytes > position {
        survey.runs.append(
          Run(start: position, end: outcome.validBytes, baseOffset: expected, nextOffset: outcome.nextOffset))
      }
      guard let reason = outcome.problem else { break }
      if survey.problem == nil { survey.problem = (outcome.validBytes, reason) }
      guard
        let next = try resume(
          file, behind: outcome.validBytes, bytes: bytes, atLeast: outcome.nextOffset, offsetLimit: offsetLimit,
          baseOffset: baseOffset, entries: entries)
      else { break }
      position = next.position
      expected = next.offset
    }
    return survey
  }

  /// The next place behind a bad batch where a good one begins.
  private static func resume(
    _ file: any DiskFile, behind bad: Int64, bytes: Int64, atLeast: Int64, offsetLimit: Int64, baseOffset: Int64,
    entries: [IndexEntry]
  ) throws(DiskError) -> (position: Int64, offset: Int64)? {
    var candidates: [Int64] = []
    let head = try file.read(RecordBatchHeader.byteCount, at: bad)
    if head.count == RecordBatchHeader.byteCount {
      let claimed = head.withUnsafeBytes { RecordBatchHeader($0).totalBytes }
      if claimed >= RecordBatchHeader.byteCount { candidates.append(bad + Int64(claimed)) }
    }
    candidates += entries.lazy.map { Int64($0.position) }.filter { $0 > bad }
    for candidate in candidates where candidate < bytes {
      let start = try file.read(RecordBatchHeader.byteCount, at: candidate)
      guard start.count == RecordBatchHeader.byteCount else { continue }
      let header = start.withUnsafeBytes { RecordBatchHeader($0) }
      guard header.baseOffset >= atLeast, header.baseOffset < offsetLimit,
        header.problem(limit: RecordBatch.bytesMax) == nil, candidate + Int64(header.totalBytes) <= bytes
      else { continue }
      let whole = try file.read(header.totalBytes, at: candidate)
      let isGood = whole.withUnsafeBytes {
        $0.count == header.totalBytes && RecordBatch.checksumProblem($0, header) == nil
      }
      if isGood { return (candidate, header.baseOffset) }
    }
    return nil
  }

  /// Puts the good runs in the place of the segment and sets its file aside. Returns the name it has now.
  static func replace(
    _ path: SegmentPath, with runs: [Run], _ file: any DiskFile, _ disk: any Disk
  ) throws(DiskError) -> String {
    for run in runs {
      let copy = try disk.open(SegmentPath(directory: path.directory, baseOffset: run.baseOffset).salvage, .create)
      try copy.truncate(to: 0)
      var position = run.start
      while position < run.end {
        let chunk = try file.read(Int(min(1 << 20, run.end - position)), at: position)
        guard !chunk.isEmpty else { throw DiskError(kind: .inputOutput, operation: "read", path: path.log) }
        try copy.write(chunk, at: position - run.start)
        position += Int64(chunk.count)
      }
      try copy.sync()
    }
    var number = 1
    var aside = path.named("corrupt")
    while try disk.exists(aside) {
      number += 1
      aside = path.named("corrupt\(number)")
    }
    var journal = ByteWriter()
    journal.write(path.baseOffset)
    journal.writeLengthPrefixed(aside)
    journal.writeVarint(UInt64(runs.count))
    for run in runs { journal.write(run.baseOffset) }
    try disk.replaceFile(
      Disks.join(path.directory, journalName), with: ChecksummedFile.seal(journal.bytes, magic: journalMagic))
    try finishPending(path.directory, disk)
    return aside
  }

  /// Does what a journal still asks for, and clears away what no journal names. Called before a partition is opened.
  static func finishPending(_ directory: String, _ disk: any Disk) throws(DiskError) {
    let journal = Disks.join(directory, journalName)
    if try disk.exists(journal) {
      let bytes = try disk.readFile(journal)
      if let plan = decode(bytes) {
        let path = SegmentPath(directory: directory, baseOffset: plan.baseOffset)
        if try !disk.exists(plan.aside), try disk.exists(path.log) {
          try disk.rename(path.log, to: plan.aside)
          try disk.syncDirectory(directory)
        }
        for name in [path.offsetIndex, path.timeIndex] where try disk.exists(name) { try disk.remove(name) }
        for base in plan.runs {
          let run = SegmentPath(directory: directory, baseOffset: base)
          if try disk.exists(run.salvage) { try disk.rename(run.salvage, to: run.log) }
        }
        try disk.syncDirectory(directory)
      }
      try disk.remove(journal)
      try disk.syncDirectory(directory)
    }
    for name in try disk.list(directory) where name.hasSuffix(".salvage") {
      try disk.remove(Disks.join(directory, name))
    }
  }

  private static func decode(_ bytes: [UInt8]) -> (baseOffset: Int64, aside: String, runs: [Int64])? {
    guard let payload = ChecksummedFile.open(bytes, magic: journalMagic) else { return nil }
    return payload.withUnsafeBytes { raw in
      do throws(ByteReaderError) {
        var reader = ByteReader(raw)
        let base = try reader.read(Int64.self)
        let aside = try reader.readString(max: 4096)
        var runs: [Int64] = []
        for _ in 0..<(try reader.readCount(max: raw.count)) { runs.append(try reader.read()) }
        return (base, aside, runs)
      } catch { return nil }
    }
  }
}
