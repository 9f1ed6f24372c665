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

  /// The next place behind a bad batch where a good one begins whose offset is beyond doubt.
  private static func resume(
    _ file: any DiskFile, behind bad: Int64, bytes: Int64, atLeast: Int64, offsetLimit: Int64, baseOffset: Int64,
    entries: [IndexEntry]
  ) throws(DiskError) -> (position: Int64, offset: Int64)? {
    let places = Dictionary(
      entries.map { (Int64($0.position), baseOffset + Int64($0.offsetDelta)) }, uniquingKeysWith: { first, _ in first })

    /// The header at a place when it looks like one, and whether its whole batch is good.
    func look(at place: Int64) throws(DiskError) -> (header: RecordBatchHeader, isGood: Bool)? {
      guard let header = try header(file, at: place), header.problem(limit: RecordBatch.bytesMax) == nil,
        place + Int64(header.totalBytes) <= bytes
      else { return nil }
      guard header.leaderEpoch == 0, header.baseOffset >= atLeast, header.baseOffset < offsetLimit else {
        return (header, false)
      }
      let whole = try file.read(header.totalBytes, at: place)
      let isGood = whole.withUnsafeBytes {
        $0.count == header.totalBytes && RecordBatch.checksumProblem($0, header) == nil
      }
      return (header, isGood)
    }

    /// No checksum covers a base offset, so another witness must have the same: the batches before, the index, the batch
    /// behind, or the segment behind.
    func isCertain(_ header: RecordBatchHeader, at place: Int64, expected: Int64?) throws(DiskError) -> Bool {
      if header.baseOffset == expected || header.baseOffset == places[place] { return true }
      let end = place + Int64(header.totalBytes)
      if end == bytes { return header.nextOffset == offsetLimit }
      return try look(at: end)?.header.baseOffset == header.nextOffset
    }

    // From one bad batch to the next, for as long as what stands there still looks like one.
    let first = try header(file, at: bad)
    var length = Int64(first?.totalBytes ?? 0)
    var expected = first.map { atLeast &+ Int64($0.lastOffsetDelta) &+ 1 }
    var place = bad
    while length >= Int64(RecordBatchHeader.byteCount), place + length < bytes {
      place += length
      guard let found = try look(at: place) else { break }
      if found.isGood, try isCertain(found.header, at: place, expected: expected) {
        return (place, found.header.baseOffset)
      }
      length = Int64(found.header.totalBytes)
      expected = expected.map { $0 &+ Int64(found.header.lastOffsetDelta) &+ 1 }
    }
    for place in places.keys.sorted() where place > bad && place < bytes {
      if let found = try look(at: place), found.isGood, found.header.baseOffset == places[place] {
        return (place, found.header.baseOffset)
      }
    }
    return nil
  }

  private static func header(_ file: any DiskFile, at place: Int64) throws(DiskError) -> RecordBatchHeader? {
    let bytes = try file.read(RecordBatchHeader.byteCount, at: place)
    guard bytes.count == RecordBatchHeader.byteCount else { return nil }
    return bytes.withUnsafeBytes { RecordBatchHeader($0) }
  }

  /// A repair whose good runs are saved and which only needs its renames.
  struct Plan {
    var path: SegmentPath
    /// The name that the corrupt file gets.
    var aside: String
    var runs: [Run]
  }

  /// Puts the good runs in the place of the segment and sets its file aside. Returns the name it has now.
  static func replace(
    _ path: SegmentPath, with runs: [Run], _ file: any DiskFile, _ disk: any Disk
  ) throws(DiskError) -> String {
    let plan = try save(path, runs, file, disk)
    try carryOut(plan, disk)
    return plan.aside
  }

  /// Copies the good runs to files of their own. Until the plan is carried out nothing else has changed.
  static func save(
    _ path: SegmentPath, _ runs: [Run], _ file: any DiskFile, _ disk: any Disk
  ) throws(DiskError) -> Plan {
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
    return Plan(path: path, aside: aside, runs: runs)
  }

  /// Writes the journal and does the renames. After an error it may be called again, and must be before another repair
  /// of this partition begins: there is one journal.
  static func carryOut(_ plan: Plan, _ disk: any Disk) throws(DiskError) {
    var journal = ByteWriter()
    journal.write(plan.path.baseOffset)
    journal.writeLengthPrefixed(plan.aside)
    journal.writeVarint(UInt64(plan.runs.count))
    for run in plan.runs { journal.write(run.baseOffset) }
    try disk.replaceFile(
      Disks.join(plan.path.directory, journalName), with: ChecksummedFile.seal(journal.bytes, magic: journalMagic))
    _ = try finishPending(plan.path.directory, disk)
  }

  /// What was found of a repair that had not come to its end.
  enum Pending {
    case none
    /// The segment of that file was replaced by its good runs.
    case finished(file: String, keptAs: String)
    /// The journal of that name could not be read.
    case journalLost(String)
  }

  /// Does what a journal still asks for, and clears away what no journal names. Called before a partition is opened.
  static func finishPending(_ directory: String, _ disk: any Disk) throws(DiskError) -> Pending {
    var pending = Pending.none
    let journal = Disks.join(directory, journalName)
    if try disk.exists(journal) {
      let bytes = try disk.readFile(journal)
      if let plan = decode(bytes) {
        pending = .finished(
          file: SegmentPath(directory: directory, baseOffset: plan.baseOffset).log, keptAs: plan.aside)
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
      } else {
        pending = .journalLost(journal)
        try placeSavedRuns(directory, disk)
      }
      try disk.remove(journal)
      try disk.syncDirectory(directory)
    }
    for name in try disk.list(directory) where name.hasSuffix(".salvage") {
      try disk.remove(Disks.join(directory, name))
    }
    return pending
  }

  /// Without the journal's word a saved run takes its place where the good batches before it leave that free. While the
  /// corrupt segment still has its own name, that one holds the place, and is looked into again.
  private static func placeSavedRuns(_ directory: String, _ disk: any Disk) throws(DiskError) {
    let names = try disk.list(directory)
    var logs = names.compactMap { SegmentPath.baseOffset(ofName: $0, suffix: "log") }
    for base in names.compactMap({ SegmentPath.baseOffset(ofName: $0, suffix: "salvage") }).sorted() {
      if let before = logs.filter({ $0 <= base }).max() {
        let file = try disk.open(SegmentPath(directory: directory, baseOffset: before).log, .read)
        let outcome = try SegmentScanner.scan(file, from: 0, to: try file.size(), baseOffset: before) { _, _, _ in }
        guard before < base, outcome.problem == nil, outcome.nextOffset <= base else { continue }
      }
      let run = SegmentPath(directory: directory, baseOffset: base)
      try disk.rename(run.salvage, to: run.log)
      logs.append(base)
    }
    try disk.syncDirectory(directory)
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
