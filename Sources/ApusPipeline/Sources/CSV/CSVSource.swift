import ApusFormats
import ApusIO
import ApusModel
import ApusService
import Dispatch
import Logging

/// Replays telemetry from CSV files: the rows of one host and one time become one scrape (docs/how-to/stream-csv.md).
///
/// Rows that cannot be used are counted, reported with file and line, and skipped, or end the replay where it is strict.
/// The position that goes with each batch lets another run of the program go on behind it. Memory is bounded by one chunk.
package actor CSVSource: Source {
  package nonisolated let name: String
  package nonisolated let isLive = false

  private let configuration: Configuration
  private let disk: @Sendable (String) throws(DiskError) -> (disk: any Disk, path: String)
  private let logger: Logger
  private let clock: any WallClock
  private let sleeper: Sleeper
  private let onProgress: @Sendable (Progress) -> Void

  private struct OpenFile {
    var file: any DiskFile
    var size: Int64
    var chunker: CSVChunker
    /// Bytes that the chunker has been fed.
    var fed: Int64
    var isFinished = false
  }

  private var open: OpenFile?
  /// Where the chunk at hand begins; `groups` counts those handed on.
  private var position = CSVPosition()
  private var resumed: CSVPosition?
  private var groups: [CSVChunker.Group] = []
  private var nextGroup = 0
  /// Rows skipped in the chunk at hand, told with its first batch.
  private var skipped: (rows: Int, invalid: Int, withoutGPU: Int) = (0, 0, 0)
  private var chunkBytes: Int64 = 0
  private var sizes: [Int64] = []
  private var progress = Progress()
  private var restamper = Restamper()
  /// When the next batch may leave, where there is a rate.
  private var dueNanoseconds: UInt64?
  private var lastReport: UInt64?
  private var isDone = false
  private var isPassEmpty = true
  /// The file has no column for the time.
  private var lacksTimestamps = false

  /// - Parameters:
  ///   - disk: which disk a path is on, and what it is called there; by default the machine's file system.
  ///   - onProgress: told after every batch, from any thread; it must be quick.
  package init(
    _ configuration: Configuration, logger: Logger, clock: any WallClock = SystemClock(), sleeper: Sleeper = .system,
    disk: @escaping @Sendable (String) throws(DiskError) -> (disk: any Disk, path: String) = CSVSource.systemDisk,
    onProgress: @escaping @Sendable (Progress) -> Void = { _ in }
  ) throws(PipelineError) {
    try configuration.validate()
    self.configuration = configuration
    self.logger = logger
    self.clock = clock
    self.sleeper = sleeper
    self.disk = disk
    self.onProgress = onProgress
    name =
      "csv:" + configuration.files.joined(separator: ",") + (configuration.shard.map { "#\($0)" } ?? "")
  }

  /// The machine's file system: a path as a shell understands it.
  package static func systemDisk(_ path: String) throws(DiskError) -> (disk: any Disk, path: String) {
    path.hasPrefix("/")
      ? (try PosixDisk(root: "/"), String(path.drop { $0 == "/" })) : (try PosixDisk(root: "."), path)
  }

  package func resume(from saved: SourcePosition) async throws(PipelineError) {
    guard let found = CSVPosition(saved), found.file < UInt32(configuration.files.count) else {
      throw .invalidCheckpoint(file: "of \(name)", reason: "does not hold a place in these files")
    }
    resumed = found
    position = found
    progress.passes = Int(found.pass)
  }

  package func next() async throws(PipelineError) -> SourceBatch? {
    if sizes.isEmpty { try await measure() }
    while !Task.isCancelled {
      if nextGroup < groups.count || skipped.rows > 0 { return await emit() }
      guard try await loadChunk() else { return nil }
    }
    return nil
  }

  // MARK: Handing on

  /// Groups of about 20,000 rows, or of what 50 ms may have at the rate; waits until they are due.
  private func emit() async -> SourceBatch? {
    let wanted = configuration.rate.map { max(1, Int($0 / 20)) } ?? 20_000
    var end = nextGroup
    var rows = 0
    while end < groups.count, rows < wanted {
      rows += groups[end].rows
      end += 1
    }
    guard await waitUntilDue(rows: rows) else { return nil }
    let now = clock.now
    var batch = SourceBatch(items: [], rows: rows + skipped.rows)
    batch.rowsInvalid = skipped.invalid
    batch.rowsWithoutGPU = skipped.withoutGPU
    skipped = (0, 0, 0)
    for (index, group) in groups[nextGroup..<end].enumerated() {
      position.groups = UInt32(nextGroup + index + 1)
      batch.items.append(
        TelemetryItem(
          key: Array(group.host.utf8), content: content(of: group, now: now), position: position.encoded))
    }
    nextGroup = end
    batch.position = position.encoded
    progress.rows += batch.rows
    progress.rowsInvalid += batch.rowsInvalid
    progress.rowsWithoutGPU += batch.rowsWithoutGPU
    progress.bytes =
      sizes[..<Int(position.file)].reduce(0, +) + position.offset
      + (groups.isEmpty ? chunkBytes : chunkBytes * Int64(end) / Int64(groups.count))
    onProgress(progress)
    return batch
  }

  /// One item for a group, whatever it is made of, because a position stands behind a group and not within it: usually
  /// its scrape; else all of its samples series by series.
  private func content(of group: CSVChunker.Group, now: Int64) -> TelemetryItem.Content {
    var contents = group.contents
    if configuration.timestamps == .now {
      for index in contents.indices {
        contents[index] = restamper.restamp(
          contents[index], host: group.host, repeats: index > 0 || lacksTimestamps, now: now)
      }
    }
    if contents.count == 1 { return contents[0] }
    var grouping = SeriesGrouping()
    for content in contents {
      switch content {
      case .scrape(let scrape): grouping.add(RecordValueEncoder.samples(of: scrape))
      case .samples(let samples): grouping.add(samples)
      case .encoded: preconditionFailure("rows become scrapes or samples")
      }
    }
    return .samples(grouping.finish())
  }

  /// False when the task was cancelled meanwhile.
  private func waitUntilDue(rows: Int) async -> Bool {
    guard let rate = configuration.rate else { return true }
    var now = clock.monotonicNanoseconds
    // Who is late by more than a second does not make up for it.
    var due = max(dueNanoseconds ?? now, now > 1_000_000_000 ? now - 1_000_000_000 : 0)
    while due > now {
      await sleeper.sleep(.nanoseconds(Int64(clamping: due - now)))
      if Task.isCancelled { return false }
      now = clock.monotonicNanoseconds
    }
    due += UInt64(Double(rows) / rate * 1e9)
    dueNanoseconds = due
    return true
  }

  // MARK: Reading

  /// Reads the next chunk that has anything in it; false at the end of everything.
  private func loadChunk() async throws(PipelineError) -> Bool {
    if isDone { return false }
    if open == nil { try await openFile() }
    guard var file = open else { return false }
    if file.isFinished {
      open = nil
      groups = []
      nextGroup = 0
      return nextFile()
    }
    position.offset = file.chunker.offset
    position.line = Int64(file.chunker.line)
    position.rowsBefore = file.chunker.rowsBefore
    position.groups = 0
    // What the reader holds of an unfinished row counts to the chunk, so that a chunk has the same bytes in every run.
    let end = min(file.size, file.chunker.offset + Int64(configuration.chunkBytes))
    let now = Timestamp(milliseconds: clock.now)
    let name = configuration.files[Int(position.file)]
    let (fed, chunk) = try await CSVSource.offPool { [file] () throws(PipelineError) in
      var file = file
      try CSVSource.feed(&file, upTo: end, now: now)
      // Taken before the file is copied out: a copy made first would hold the chunk's rows still, and give them again.
      let chunk = file.chunker.take()
      return (file, chunk)
    }
    file = fed
    if let failure = file.chunker.failure { throw .invalidHeader(file: name, reason: "\(failure)") }
    chunkBytes = end - position.offset
    try report(chunk, name)
    groups = chunk.groups
    nextGroup = 0
    if !groups.isEmpty || chunk.rows > 0 { isPassEmpty = false }
    skipped.rows += chunk.rowsInvalid + chunk.rowsWithoutGPU
    skipped.invalid += chunk.rowsInvalid
    skipped.withoutGPU += chunk.rowsWithoutGPU
    if let wanted = resumed {
      // The last run had published these.
      nextGroup = min(Int(wanted.groups), groups.count)
      position.groups = UInt32(nextGroup)
      resumed = nil
    }
    open = file
    return true
  }

  /// Moves on to the next file, or to the first one where the replay loops; false at the end.
  private func nextFile() -> Bool {
    position.offset = 0
    position.line = 1
    position.rowsBefore = 0
    position.groups = 0
    if Int(position.file) + 1 < configuration.files.count {
      position.file += 1
      return true
    }
    progress.passes += 1
    // Files without a row would be read for ever.
    guard configuration.loops, !isPassEmpty else {
      isDone = true
      return false
    }
    isPassEmpty = true
    position.pass &+= 1
    position.file = 0
    return true
  }

  private func openFile() async throws(PipelineError) {
    let name = configuration.files[Int(position.file)]
    let (configuration, disk, resumed) = (configuration, disk, resumed)
    let now = Timestamp(milliseconds: clock.now)
    let (opened, checksum, lacks) = try await CSVSource.offPool { () throws(PipelineError) in
      do throws(DiskError) {
        let (disk, path) = try disk(name)
        let file = try disk.open(path, .read)
        let size = try file.size()
        let head = try file.read(Int(min(size, 4096)), at: 0)
        let checksum = CRC32C.checksum(head)
        var open = OpenFile(file: file, size: size, chunker: CSVSource.chunker(configuration, .original), fed: 0)
        let lacks = configuration.timestamps == .now && CSVSource.lacksTimestamps(head)
        if lacks { open.chunker = CSVSource.chunker(configuration, .now) }
        if let resumed, resumed.offset > 0 {
          guard resumed.headChecksum == checksum, resumed.offset <= size else {
            throw DiskError(kind: .other, operation: "resume", path: name)
          }
          try CSVSource.feedHeader(&open, now: now)
          open.chunker.resume(at: resumed)
          open.fed = resumed.offset
        } else if let resumed, resumed.headChecksum != checksum {
          throw DiskError(kind: .other, operation: "resume", path: name)
        }
        return (open, checksum, lacks)
      } catch {
        if error.operation == "resume" {
          throw PipelineError.invalidCheckpoint(
            file: "of \(name)", reason: "was made for a file that began differently or was longer")
        }
        throw PipelineError.disk(error)
      }
    }
    open = opened
    position.headChecksum = checksum
    lacksTimestamps = lacks
  }

  private static func chunker(
    _ configuration: Configuration, _ timestamps: CSVReader.Configuration.Timestamps
  ) -> CSVChunker {
    CSVChunker(timestamps: timestamps, shard: configuration.shard, rowsMax: configuration.chunkBytes)
  }

  /// Whether the header has no column for the time, which does not matter where rows get a new one.
  private static func lacksTimestamps(_ head: [UInt8]) -> Bool {
    var probe = chunker(Configuration(files: []), .original)
    head.withUnsafeBytes { probe.feed($0, now: Timestamp(milliseconds: 0)) }
    if case .csv(.missingColumn(.timestamp), _) = probe.failure { return true }
    return false
  }

  /// Feeds the first row alone.
  private static func feedHeader(_ open: inout OpenFile, now: Timestamp) throws(DiskError) {
    var offset: Int64 = 0
    while !open.chunker.hasHeader, open.chunker.failure == nil, offset < open.size {
      let piece = try open.file.read(64 << 10, at: offset)
      let end = piece.firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? piece.count
      piece[..<end].withUnsafeBytes { open.chunker.feed($0, now: now) }
      offset += Int64(end)
    }
    _ = open.chunker.take()
  }

  private static func feed(_ open: inout OpenFile, upTo end: Int64, now: Timestamp) throws(PipelineError) {
    do throws(DiskError) {
      while open.fed < end {
        let piece = try open.file.read(Int(min(256 << 10, end - open.fed)), at: open.fed)
        // The file has become shorter.
        if piece.isEmpty { break }
        piece.withUnsafeBytes { open.chunker.feed($0, now: now) }
        open.fed += Int64(piece.count)
      }
    } catch { throw .disk(error) }
    if open.fed < end || open.fed == open.size {
      open.chunker.finish(now: now)
      open.isFinished = true
    }
  }

  private func measure() async throws(PipelineError) {
    let (files, disk) = (configuration.files, disk)
    sizes = try await CSVSource.offPool { () throws(PipelineError) in
      var sizes: [Int64] = []
      do throws(DiskError) {
        for name in files {
          let (disk, path) = try disk(name)
          sizes.append(try disk.open(path, .read).size())
        }
      } catch { throw .disk(error) }
      return sizes
    }
    progress.totalBytes = sizes.reduce(0, +)
  }

  /// Tells of rows that cannot be used: a few of each chunk, once a second.
  private func report(_ chunk: CSVChunker.Chunk, _ name: String) throws(PipelineError) {
    guard chunk.rowsInvalid > 0, let first = chunk.problems.first else { return }
    if configuration.isStrict { throw .invalidRow(file: name, line: first.line, reason: first.reason) }
    let now = clock.monotonicNanoseconds
    if let lastReport, now &- lastReport < 1_000_000_000 { return }
    lastReport = now
    for problem in chunk.problems.prefix(5) {
      logger.warning("a row is skipped", metadata: ["at": "\(name):\(problem.line)", "why": "\(problem.reason)"])
    }
    if chunk.rowsInvalid > 5 {
      logger.warning("more rows are skipped", metadata: ["file": "\(name)", "rows": "\(chunk.rowsInvalid - 5)"])
    }
  }

  // MARK: Blocking

  /// Files are read here, so that no thread of the concurrency pool waits for a disk.
  private static let queue = DispatchQueue(label: "apus.csv", attributes: .concurrent)

  private static func offPool<Value: Sendable>(
    _ body: @escaping @Sendable () throws(PipelineError) -> Value
  ) async throws(PipelineError) -> Value {
    let result: Result<Value, PipelineError> = await withCheckedContinuation { continuation in
      queue.async {
        do throws(PipelineError) { continuation.resume(returning: .success(try body())) } catch {
          continuation.resume(returning: .failure(error))
        }
      }
    }
    return try result.get()
  }
}

/// Gives samples the time at which they are sent, so that no two of one series share an instant that had two before.
struct Restamper {
  private var original: Int64?
  private var current: Int64 = .min
  /// The last time given to each host.
  private var last: [String: Int64] = [:]

  /// Groups come by ascending time; those of one time get one new time. Where the content may repeat series of the
  /// host's last, it follows that by a millisecond.
  mutating func restamp(
    _ content: TelemetryItem.Content, host: String, repeats: Bool, now: Int64
  ) -> TelemetryItem.Content {
    let time: Int64
    switch content {
    case .scrape(let scrape): time = scrape.timestamp.milliseconds
    case .samples(let samples): time = samples.first?.timestamps.first ?? now
    case .encoded: return content
    }
    if time != original {
      original = time
      current = max(now, current == .min ? now : current + 1)
    }
    if repeats, case .scrape = content, let previous = last[host], previous >= current { current = previous + 1 }
    switch content {
    case .scrape(var scrape):
      last[host] = current
      scrape.timestamp = Timestamp(milliseconds: current)
      return .scrape(scrape)
    case .samples(let samples):
      return .samples(
        samples.map {
          SeriesSamples(labels: $0.labels, timestamps: $0.timestamps.map { _ in current }, values: $0.values)
        })
    case .encoded: return content
    }
  }
}

extension FormatError {
  /// The line of a CSV.
  fileprivate var line: Int {
    switch self {
    case .telemetry(_, let position): position
    case .csv(_, let line): line
    default: 0
    }
  }

  fileprivate var reason: String {
    switch self {
    case .telemetry(let problem, _): problem.description
    case .csv(let problem, _): problem.description
    default: description
    }
  }
}
