import ApusIO
import ApusModel

/// What a store's files hold and what that takes, read from the files themselves.
package struct StoreInspection: Sendable {
  /// Value chunks of one kind.
  package struct Chunks: Hashable, Sendable {
    package var count = 0
    package var bytes: Int64 = 0

    package init() {}
  }

  /// One block.
  package struct BlockReport: Sendable {
    package var name = ""
    /// Of the file's format.
    package var version: UInt32 = 0
    package var sequence: UInt64 = 0
    package var range = TimeRange.all
    package var samples = 0
    package var series = 0
    package var groups = 0
    package var stripes = 0
    package var bytes: Int64 = 0
    package var parts: [(name: String, bytes: Int64)] = []
    /// By the names of the codecs, before the compression of the block.
    package var codecs: [String: Chunks] = [:]
    /// Pieces of values that are compressed: their number, and what they take.
    package var compressed = Chunks()
    /// What those expand to.
    package var expandedBytes: Int64 = 0
    /// Chunks by metric and codec.
    package var metrics: [String: [String: Chunks]] = [:]
    /// How many values each label has.
    package var labels: [String: Int] = [:]
  }

  package private(set) var manifestBytes = 0
  package private(set) var blocks: [BlockReport] = []
  package private(set) var tombstones = 0
  package private(set) var positions: [LogPartition: Int64] = [:]
  /// What cannot be read, as a sentence each.
  package private(set) var unreadable: [String] = []

  /// The name of a chunk's kind; of one without any sample `empty`.
  static func codec(of chunk: UnsafeRawBufferPointer) -> String {
    guard let first = chunk.first else { return "empty" }
    return switch ValueChunk.Kind(rawValue: first & ValueChunk.kindMask) {
    case .constant: "constant"
    case .runLength: "run-length"
    case .decimal: "decimal"
    case .xor: "xor"
    case .raw: "raw"
    case .coded: "coded"
    case nil: "unknown"
    }
  }

  /// Reads the blocks, or the one with this name (its hexadecimal number will do).
  package init(
    _ folder: StoreFolder, block wanted: String? = nil, progress: (StoreFolder.Progress) -> Void = { _ in }
  ) throws(StoreError) {
    let (manifest, bytes) = try folder.manifest()
    manifestBytes = bytes
    tombstones = manifest.tombstones.count
    positions = manifest.durable
    let metas = manifest.blocks.sorted { ($0.minimum, $0.id) < ($1.minimum, $1.id) }.filter { meta in
      wanted.map { StoreInspection.names($0, meta) } ?? true
    }
    if let wanted, metas.isEmpty { throw .refused("the manifest lists no block \(wanted)") }
    var count = StoreFolder.Progress(totalBytes: metas.reduce(0) { $0 + $1.bytes }, totalBlocks: metas.count)
    for meta in metas {
      progress(count)
      do throws(StoreError) {
        blocks.append(try StoreInspection.report(try folder.open(meta, cache: ExpandedCache(limit: 4 << 20))))
      } catch {
        unreadable.append(error.description)
      }
      count.blocks += 1
      count.bytes += meta.bytes
    }
    progress(count)
  }

  private static func names(_ text: String, _ meta: BlockMeta) -> Bool {
    if text == meta.name || text + ".block" == meta.name { return true }
    return UInt64(text, radix: 16) == meta.id
  }

  private static func report(_ block: Block) throws(StoreError) -> BlockReport {
    var result = BlockReport()
    result.name = block.meta.name
    result.version = block.version
    result.sequence = block.meta.sequence
    result.range = block.meta.range
    result.samples = block.meta.samples
    result.series = block.meta.series
    result.groups = block.groups.count
    result.bytes = block.meta.bytes
    result.parts = block.parts.named
    for group in block.groups.indices {
      let rows = Array(0..<block.groups[group].series)
      let names = try block.labels(group: group, rows: rows).map { $0[Labels.metricNameLabel] ?? "" }
      for stripe in block.groups[group].stripes.indices {
        result.stripes += 1
        for row in rows {
          let (codec, bytes) = try block.withChunk(group: group, stripe: stripe, row: row) { chunk in
            (StoreInspection.codec(of: chunk), Int64(chunk.count))
          }
          result.codecs[codec, default: Chunks()].count += 1
          result.codecs[codec, default: Chunks()].bytes += bytes
          result.metrics[names[row], default: [:]][codec, default: Chunks()].count += 1
          result.metrics[names[row], default: [:]][codec, default: Chunks()].bytes += bytes
        }
        for piece in block.pieces(group: group, stripe: stripe) where piece.isCompressed {
          result.compressed.count += 1
          result.compressed.bytes += Int64(piece.stored.count)
          result.expandedBytes += Int64(piece.expanded.count)
        }
      }
    }
    let index = try block.index()
    do throws(ByteReaderError) {
      for name in index.postings.labelNames {
        let label = String(decoding: try index.symbols.symbol(name), as: UTF8.self)
        result.labels[label] = index.postings.valueCount(name: name)
      }
    } catch { throw .corrupt(file: block.path, section: "index", reason: error.description) }
    return result
  }
}
