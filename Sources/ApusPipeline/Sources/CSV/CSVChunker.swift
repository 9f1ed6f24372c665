import ApusFormats
import ApusModel

/// Turns one file's bytes into groups, a chunk at a time. Pure: the caller reads the file.
///
/// A chunk is fed in pieces from its first byte on, then closed. It begins where the last whole row before it ended.
struct CSVChunker {
  /// What a chunk has of one host and one time, in the order of the rows: one scrape, or more where series repeat.
  struct Group {
    var time: Int64
    var host: String
    var contents: [TelemetryItem.Content]
    var rows: Int
  }

  struct Chunk {
    /// By time, then host.
    var groups: [Group] = []
    var rows = 0
    var rowsInvalid = 0
    var rowsWithoutGPU = 0
    var problems: [FormatError] = []
  }

  private var reader: CSVReader
  private var assembler: CSVScrapeAssembler
  private var rows = CSVRows()
  private let shard: CSVShard?
  /// By series number: whether the shard takes it.
  private var takesSeries: [Bool] = []
  private var output = CSVScrapeAssembler.Output()
  private var chunk = Chunk()
  /// Rows of the file so far, to share rows out.
  private(set) var rowsBefore: Int64

  init(timestamps: CSVReader.Configuration.Timestamps, shard: CSVShard?, rowsMax: Int) {
    var configuration = CSVReader.Configuration()
    configuration.timestamps = timestamps
    // All errors of a piece are looked at, to tell rows without a GPU from invalid ones.
    configuration.errorsListedMax = .max
    reader = CSVReader(configuration)
    // Never reached within a chunk, because a chunk's groups must not depend on what came before it.
    assembler = CSVScrapeAssembler(rowsWaitingMax: rowsMax)
    self.shard = shard
    rowsBefore = 0
  }

  /// Where the next chunk begins.
  var offset: Int64 { reader.offset }
  var line: Int { reader.line }
  var hasHeader: Bool { reader.header != nil }
  var failure: FormatError? { reader.failure }

  /// Goes on where an earlier run stood; the header has been fed.
  mutating func resume(at position: CSVPosition) {
    reader.resume(at: position.offset, line: Int(position.line))
    rowsBefore = position.rowsBefore
  }

  mutating func feed(_ bytes: UnsafeRawBufferPointer, now: Timestamp) {
    reader.feed(bytes, now: now, into: &rows)
    sort()
  }

  /// The file has ended.
  mutating func finish(now: Timestamp) {
    reader.finish(now: now, into: &rows)
    sort()
  }

  /// Closes the chunk.
  mutating func take() -> Chunk {
    assembler.flush(from: reader, into: &output)
    var places: [GroupName: Int] = [:]
    func add(_ host: Int32, _ time: Int64, _ content: TelemetryItem.Content, _ rows: Int, _ chunk: inout Chunk) {
      let name = GroupName(host: host, time: time)
      if let place = places[name] {
        chunk.groups[place].contents.append(content)
        chunk.groups[place].rows += rows
      } else {
        places[name] = chunk.groups.count
        chunk.groups.append(Group(time: time, host: reader.hostName(host), contents: [content], rows: rows))
      }
    }
    for (host, scrape) in output.scrapes {
      add(host, scrape.timestamp.milliseconds, .scrape(scrape), scrape.sampleCount, &chunk)
    }
    // Strangers of one host and instant travel together.
    var strangers: [GroupName: [SeriesSamples]] = [:]
    for (host, samples) in output.samples {
      strangers[GroupName(host: host, time: samples.timestamps[0]), default: []].append(samples)
    }
    for (name, samples) in strangers.sorted(by: { ($0.key.time, $0.key.host) < ($1.key.time, $1.key.host) }) {
      add(name.host, name.time, .samples(samples), samples.count, &chunk)
    }
    chunk.groups.sort { ($0.time, $0.host) < ($1.time, $1.host) }
    output = CSVScrapeAssembler.Output()
    defer { chunk = Chunk() }
    return chunk
  }

  private struct GroupName: Hashable {
    var host: Int32
    var time: Int64
  }

  /// Hands the rows that were read to the assembler, those of other shards left out.
  private mutating func sort() {
    defer { rows.removeAll() }
    chunk.rows += rows.count + rows.errorCount
    for error in rows.errors {
      if case .telemetry(.missingGPU, _) = error {
        chunk.rowsWithoutGPU += 1
      } else {
        chunk.rowsInvalid += 1
        if chunk.problems.count < 64 { chunk.problems.append(error) }
      }
    }
    defer { rowsBefore += Int64(rows.count) }
    guard let shard else {
      assembler.add(rows, 0..<rows.count, from: reader, into: &output)
      return
    }
    while takesSeries.count < reader.seriesCount {
      let labels = reader.labels(of: Int32(takesSeries.count))
      let text = shard.key == .uuid ? labels.text(of: .uuid) : labels.text(of: .hostname)
      takesSeries.append(shard.takes(text))
    }
    var start = 0
    while start < rows.count {
      guard takes(start, shard) else {
        start += 1
        continue
      }
      var end = start + 1
      while end < rows.count, takes(end, shard) { end += 1 }
      assembler.add(rows, start..<end, from: reader, into: &output)
      start = end
    }
  }

  private func takes(_ index: Int, _ shard: CSVShard) -> Bool {
    shard.key == .row
      ? shard.takes(row: rowsBefore + Int64(index)) : takesSeries[Int(rows.series[index])]
  }
}
