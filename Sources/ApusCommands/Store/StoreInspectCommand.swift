import ApusIO
import ApusModel
import ApusService
import ApusStore
import ArgumentParser

struct StoreInspectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Say what a store's files hold and what that takes.",
    discussion: """
      Blocks with their range, series, samples and bytes; what each part takes; which codecs the values have, by metric;
      how many values each label has. Everything is read from the files, so it takes a while for a large store.

      Examples:
        apus store inspect apus-data
        apus store inspect apus-data 1a --output json
      """)

  @Argument(help: "The folder of a store or a snapshot, or a data folder.")
  var folder: String

  @Argument(help: "One block: the name of its file, or its hexadecimal number.")
  var block: String?

  @Option(name: .long, help: "How it is written: text or json.")
  var output: OutputForm = .text

  @Option(name: .long, help: "How many metrics and labels are shown as text, the largest first.")
  var top: Int = 20

  enum OutputForm: String, ExpressibleByArgument, CaseIterable, Sendable {
    case text, json
  }

  func validate() throws {
    if top < 0 { throw ValidationError("--top must not be negative") }
  }

  func run() async throws {
    let disk = try StoreFiles.disk()
    let opened = try StoreFiles.folder(folder, disk)
    let progress = FolderProgress("read")
    let found: StoreInspection
    do throws(StoreError) {
      found = try StoreInspection(opened, block: block, progress: progress.update)
      progress.end()
    } catch {
      progress.end()
      throw StartupError(store: error)
    }
    switch output {
    case .text: for line in StoreReport(found).text(top: top) { print(line) }
    case .json: print(String(decoding: StoreReport(found).json(), as: UTF8.self))
    }
    if !found.unreadable.isEmpty { throw ArgumentParser.ExitCode(ApusService.ExitCode.checkFailed.rawValue) }
  }
}

/// An inspection as text and as JSON.
struct StoreReport {
  private typealias Chunks = StoreInspection.Chunks

  private let found: StoreInspection
  private var parts: [(name: String, bytes: Int64)] = []
  private var codecs: [String: Chunks] = [:]
  private var metrics: [String: [String: Chunks]] = [:]
  /// Of each label the most values that one block has.
  private var labels: [String: Int] = [:]
  private var compressed = Chunks()
  private var expandedBytes: Int64 = 0

  init(_ found: StoreInspection) {
    self.found = found
    for block in found.blocks {
      for (index, part) in block.parts.enumerated() {
        if index < parts.count { parts[index].bytes += part.bytes } else { parts.append(part) }
      }
      StoreReport.add(block.codecs, to: &codecs)
      for (metric, chunks) in block.metrics { StoreReport.add(chunks, to: &metrics[metric, default: [:]]) }
      for (label, values) in block.labels { labels[label] = max(labels[label] ?? 0, values) }
      compressed.count += block.compressed.count
      compressed.bytes += block.compressed.bytes
      expandedBytes += block.expandedBytes
    }
    parts.append(("manifest", Int64(found.manifestBytes)))
  }

  private static func add(_ more: [String: Chunks], to all: inout [String: Chunks]) {
    for (codec, chunks) in more {
      all[codec, default: Chunks()].count += chunks.count
      all[codec, default: Chunks()].bytes += chunks.bytes
    }
  }

  private static func total(_ chunks: [String: Chunks]) -> Int64 { chunks.values.reduce(0) { $0 + $1.bytes } }

  private static func bySize(_ chunks: [String: Chunks]) -> [(name: String, chunks: Chunks)] {
    chunks.sorted { ($1.value.bytes, $0.key) < ($0.value.bytes, $1.key) }.map { ($0.key, $0.value) }
  }

  private var samples: Int { found.blocks.reduce(0) { $0 + $1.samples } }
  private var bytes: Int64 { parts.reduce(0) { $0 + $1.bytes } }

  private static func time(_ instant: Timestamp) -> String { RFC3339.format(instant.milliseconds) }

  func text(top: Int) -> [String] {
    var lines = [
      "\(found.blocks.count) blocks, \(samples) samples, \(Figures.bytes(bytes)),"
        + " \(Figures.ratio(bytes, samples)) bytes a sample, \(found.tombstones) tombstones"
    ]
    lines += found.unreadable.map { "damaged: \($0)" }
    for (partition, offset) in found.positions.sorted(by: { $0.key.description < $1.key.description }) {
      lines.append("covers \(partition) up to offset \(offset)")
    }
    lines.append("")
    for block in found.blocks {
      lines.append(
        "\(block.name)  version \(block.version)  \(StoreReport.time(block.range.start)) to"
          + " \(StoreReport.time(block.range.end))")
      lines.append(
        "  \(block.samples) samples, \(block.series) series, \(block.groups) groups, \(block.stripes) stripes,"
          + " \(Figures.bytes(block.bytes)), \(Figures.ratio(block.bytes, block.samples)) bytes a sample")
    }
    lines += ["", "part              bytes   share  bytes a sample"]
    for part in parts {
      lines.append(
        Figures.column(part.name, 12) + Figures.column("\(part.bytes)", 11, right: true)
          + Figures.column(Figures.share(part.bytes, of: bytes), 8, right: true)
          + Figures.column(Figures.ratio(part.bytes, samples), 16, right: true))
    }
    if compressed.count > 0 {
      lines.append(
        "\(compressed.count) pieces of values are compressed, from \(Figures.bytes(expandedBytes)) to"
          + " \(Figures.bytes(compressed.bytes))")
    }
    lines += ["", "codec            chunks       bytes  (before compression)"]
    for (name, chunks) in StoreReport.bySize(codecs) {
      lines.append(
        Figures.column(name, 12) + Figures.column("\(chunks.count)", 11, right: true)
          + Figures.column("\(chunks.bytes)", 12, right: true))
    }
    lines += ["", "metric, its bytes and codecs"]
    let ordered = metrics.sorted {
      (StoreReport.total($1.value), $0.key) < (StoreReport.total($0.value), $1.key)
    }
    for (metric, chunks) in ordered.prefix(top) {
      let list = StoreReport.bySize(chunks).map { "\($0.name) \($0.chunks.count)" }.joined(separator: ", ")
      lines.append("\(Figures.column("\(StoreReport.total(chunks))", 11, right: true))  \(metric)  \(list)")
    }
    lines += ["", "label, its values (the most in one block)"]
    for (label, values) in labels.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }).prefix(top) {
      lines.append("\(Figures.column("\(values)", 11, right: true))  \(label)")
    }
    return lines
  }

  func json() -> [UInt8] {
    var writer = JSONWriter(reserving: 4096)
    func integer(_ name: String, _ value: Int64) {
      writer.key(name)
      writer.integer(value)
    }
    func text(_ name: String, _ value: String) {
      writer.key(name)
      writer.string(value)
    }
    func list(_ name: String, _ chunks: [String: StoreInspection.Chunks]) {
      writer.key(name)
      writer.beginObject()
      for (codec, chunks) in StoreReport.bySize(chunks) {
        writer.key(codec)
        writer.beginObject()
        integer("chunks", Int64(chunks.count))
        integer("bytes", chunks.bytes)
        writer.endObject()
      }
      writer.endObject()
    }
    func sizes(_ name: String, _ parts: [(name: String, bytes: Int64)]) {
      writer.key(name)
      writer.beginObject()
      for part in parts { integer(part.name, part.bytes) }
      writer.endObject()
    }
    writer.beginObject()
    integer("samples", Int64(samples))
    integer("bytes", bytes)
    sizes("bytes_by_part", parts)
    integer("tombstones", Int64(found.tombstones))
    list("codecs", codecs)
    writer.key("metrics")
    writer.beginObject()
    for (metric, chunks) in metrics.sorted(by: { $0.key < $1.key }) { list(metric, chunks) }
    writer.endObject()
    writer.key("labels")
    writer.beginObject()
    for (label, values) in labels.sorted(by: { $0.key < $1.key }) { integer(label, Int64(values)) }
    writer.endObject()
    writer.key("positions")
    writer.beginArray()
    for (partition, offset) in found.positions.sorted(by: { $0.key.description < $1.key.description }) {
      writer.beginObject()
      text("topic", partition.topic)
      integer("partition", Int64(partition.partition))
      integer("offset", offset)
      writer.endObject()
    }
    writer.endArray()
    writer.key("unreadable")
    writer.beginArray()
    for sentence in found.unreadable { writer.string(sentence) }
    writer.endArray()
    writer.key("blocks")
    writer.beginArray()
    for block in found.blocks {
      writer.beginObject()
      text("file", block.name)
      integer("version", Int64(block.version))
      integer("sequence", Int64(block.sequence))
      text("oldest", StoreReport.time(block.range.start))
      text("newest", StoreReport.time(block.range.end))
      integer("samples", Int64(block.samples))
      integer("series", Int64(block.series))
      integer("groups", Int64(block.groups))
      integer("stripes", Int64(block.stripes))
      integer("bytes", block.bytes)
      sizes("bytes_by_part", block.parts)
      list("codecs", block.codecs)
      writer.key("compressed_pieces")
      writer.beginObject()
      integer("pieces", Int64(block.compressed.count))
      integer("bytes", block.compressed.bytes)
      integer("expanded_bytes", block.expandedBytes)
      writer.endObject()
      writer.endObject()
    }
    writer.endArray()
    writer.endObject()
    return writer.bytes
  }
}
