import ApusIO
import ApusModel

/// A length of the buckets that samples are rolled up into, and how long those are kept.
package struct RollupLevel: Hashable, Sendable {
  package var resolutionMilliseconds: Int64
  /// Buckets that began longer ago than this are neither kept nor answered. Nil keeps all.
  package var retentionMilliseconds: Int64?

  package init(resolutionMilliseconds: Int64, retentionMilliseconds: Int64? = nil) {
    self.resolutionMilliseconds = resolutionMilliseconds
    self.retentionMilliseconds = retentionMilliseconds
  }

  package static let fiveMinutes = RollupLevel(resolutionMilliseconds: 300_000)
  package static let oneHour = RollupLevel(resolutionMilliseconds: 3_600_000)
}

/// What the manifest says of the roll-up of one span of time at one resolution (docs/format/store.md, "Roll-ups").
package struct RollupMeta: Hashable, Sendable {
  /// Milliseconds of a bucket. Buckets begin at its multiples.
  package var resolution: Int64
  /// The span: its first instant and the one behind its last, multiples of the resolution.
  package var start: Int64
  package var end: Int64
  /// All samples of blocks up to this sequence are in it.
  package var sequence: UInt64
  /// Tombstones up to this number have been applied to it.
  package var tombstonesApplied: UInt64
  /// Samples before this instant have been dropped: buckets that begin before it cannot be made again. At most `end`.
  package var floor: Int64
  /// The file; nil where the samples were too few to be worth one, so that they answer themselves.
  package var block: BlockMeta?

  package init(
    resolution: Int64, start: Int64, end: Int64, sequence: UInt64, tombstonesApplied: UInt64, floor: Int64,
    block: BlockMeta?
  ) {
    self.resolution = resolution
    self.start = start
    self.end = end
    self.sequence = sequence
    self.tombstonesApplied = tombstonesApplied
    self.floor = floor
    self.block = block
  }

  /// Names the roll-up: there is one at most of each resolution and span.
  struct Key: Hashable {
    var resolution: Int64
    var start: Int64
  }

  var key: Key { Key(resolution: resolution, start: start) }

  /// All instants of the span.
  var range: TimeRange {
    TimeRange(start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: end - 1))
  }

  /// Whether a tombstone hides samples that may still be in it.
  func isConcerned(by tombstone: Tombstone) -> Bool {
    block != nil && tombstone.id > tombstonesApplied && tombstone.range.overlaps(range)
  }

  func encode(to writer: inout ByteWriter) {
    writer.writeVarint(UInt64(resolution))
    writer.writeZigzag(start)
    writer.writeVarint(UInt64((end - start) / resolution))
    writer.writeVarint(sequence)
    writer.writeVarint(tombstonesApplied)
    writer.writeVarint(UInt64(floor - start))
    writer.write(UInt8(block == nil ? 0 : 1))
    block?.encode(to: &writer)
  }

  init(_ reader: inout ByteReader) throws(ByteReaderError) {
    resolution = Int64(try reader.readCount(max: 1 << 40))
    start = try reader.readZigzag()
    let buckets = Int64(try reader.readCount(max: 1 << 20))
    sequence = try reader.readVarint()
    tombstonesApplied = try reader.readVarint()
    let lost = Int64(try reader.readCount(max: .max))
    let (end, overflow) = start.addingReportingOverflow(buckets * resolution)
    guard resolution > 0, buckets > 0, !overflow, lost <= end - start else {
      throw ByteReaderError(kind: .outOfBounds, offset: reader.position)
    }
    self.end = end
    floor = start + lost
    switch try reader.read(UInt8.self) {
    case 0: block = nil
    case 1: block = try BlockMeta(&reader)
    default: throw ByteReaderError(kind: .outOfBounds, offset: reader.position - 1)
    }
  }
}

extension Manifest {
  /// Everything that lies in `blocks/`: the blocks and the files of the roll-ups.
  package var files: [BlockMeta] { blocks + rollups.compactMap(\.block) }

  /// Takes blocks out whose samples are lost by that, and notes in the roll-ups that they are now the only ones to know.
  mutating func lose(_ ids: Set<UInt64>) {
    for block in blocks where ids.contains(block.id) {
      for index in rollups.indices where rollups[index].range.overlaps(block.range) {
        let behind = block.maximum < rollups[index].end ? block.maximum + 1 : rollups[index].end
        rollups[index].floor = max(rollups[index].floor, behind)
      }
    }
    blocks.removeAll { ids.contains($0.id) }
  }

  /// Lets go of the files of roll-ups for good: as long as there are samples of their time they are not made again.
  mutating func giveUp(_ keys: Set<RollupMeta.Key>) {
    for index in rollups.indices where keys.contains(rollups[index].key) {
      rollups[index].block = nil
      rollups[index].floor = rollups[index].end
    }
    rollups.removeAll { rollup in
      rollup.block == nil && !blocks.contains { $0.range.overlaps(rollup.range) }
    }
  }
}
