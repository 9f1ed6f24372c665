import ApusIO
import ApusModel

/// The list of what belongs to the store, replaced as a whole: the blocks and, together with them, how far the log is
/// covered by them (docs/format/store.md, "Manifest").
package struct Manifest: Hashable, Sendable {
  static let name = "MANIFEST"
  static let magic: UInt64 = 0x314e_414d_5355_5041  // "APUSMAN1"
  /// Version 1 had no roll-ups; it is read, and replaced by version 2 with the next change.
  static let version: UInt32 = 2
  /// A manifest is small; anything above this is not one.
  static let bytesMax = 1 << 30

  package var blocks: [BlockMeta] = []
  /// Ascending by resolution, then by time.
  package var rollups: [RollupMeta] = []
  package var durable: [LogPartition: Int64] = [:]
  package var tombstones: [Tombstone] = []
  package var descriptors: [String: MetricDescriptor] = [:]
  package var nextBlock: UInt64 = 1
  package var nextSequence: UInt64 = 1
  package var nextTombstone: UInt64 = 1

  /// Forgets the tombstones that every block and every roll-up that they concern has applied.
  mutating func dropAppliedTombstones() {
    let least = blocks.map(\.tombstonesApplied).min() ?? .max
    let rollups = rollups
    tombstones.removeAll { tombstone in
      tombstone.id <= least && !rollups.contains { $0.isConcerned(by: tombstone) }
    }
  }

  /// The file's content.
  package func encoded() -> [UInt8] {
    var writer = ByteWriter()
    writer.write(Manifest.magic)
    writer.write(Manifest.version)
    writer.write(UInt32(0))
    for number in [nextBlock, nextSequence, nextTombstone] { writer.writeVarint(number) }
    writer.writeVarint(UInt64(durable.count))
    let positions = durable.sorted { ($0.key.topic, $0.key.partition) < ($1.key.topic, $1.key.partition) }
    for (partition, offset) in positions {
      writer.writeLengthPrefixed(partition.topic)
      writer.writeVarint(UInt64(UInt32(bitPattern: partition.partition)))
      writer.writeZigzag(offset)
    }
    writer.writeVarint(UInt64(blocks.count))
    for block in blocks { block.encode(to: &writer) }
    writer.writeVarint(UInt64(tombstones.count))
    for tombstone in tombstones { tombstone.encode(to: &writer) }
    writer.writeVarint(UInt64(descriptors.count))
    for descriptor in descriptors.values.sorted(by: { $0.name < $1.name }) {
      writer.writeLengthPrefixed(descriptor.name)
      writer.write(descriptor.kind.rawValue)
      writer.writeLengthPrefixed(descriptor.help)
      writer.writeLengthPrefixed(descriptor.unit)
    }
    writer.writeVarint(UInt64(rollups.count))
    for rollup in rollups { rollup.encode(to: &writer) }
    writer.write(CRC32C.checksum(writer.bytes))
    return writer.bytes
  }

  /// The manifest of an empty store.
  package init() {}

  /// Reads a manifest; `path` names it in errors.
  package init(_ bytes: [UInt8], path: String) throws(StoreError) {
    var found = Manifest()
    let problem: StoreError? = bytes.withUnsafeBytes { raw in
      var reader = ByteReader(raw)
      do throws(ByteReaderError) {
        guard try reader.read(UInt64.self) == Manifest.magic else {
          return .corrupt(file: path, section: "header", reason: "it does not begin as a manifest does")
        }
        let version = try reader.read(UInt32.self)
        guard version == 1 || version == Manifest.version else {
          return .unsupportedVersion(file: path, version: version, supported: Manifest.version)
        }
        guard raw.count >= 20 else { throw ByteReaderError(kind: .truncated, offset: raw.count) }
        var trailer = ByteReader(raw)
        trailer.position = raw.count - 4
        let checksum = try trailer.read(UInt32.self)
        guard CRC32C.checksum(UnsafeRawBufferPointer(rebasing: raw[..<(raw.count - 4)])) == checksum else {
          return .corrupt(file: path, section: "content", reason: "it does not match its checksum")
        }
        _ = try reader.read(UInt32.self)
        try found.read(&reader, version: version)
        return nil
      } catch {
        return .corrupt(file: path, section: "content", reason: error.description)
      }
    }
    if let problem { throw problem }
    self = found
  }

  private mutating func read(_ reader: inout ByteReader, version: UInt32) throws(ByteReaderError) {
    nextBlock = try reader.readVarint()
    nextSequence = try reader.readVarint()
    nextTombstone = try reader.readVarint()
    for _ in 0..<(try reader.readCount(max: reader.remaining)) {
      let topic = try reader.readString(max: reader.remaining)
      let partition = Int32(truncatingIfNeeded: try reader.readVarint())
      durable[LogPartition(topic: topic, partition: partition)] = try reader.readZigzag()
    }
    for _ in 0..<(try reader.readCount(max: reader.remaining)) { blocks.append(try BlockMeta(&reader)) }
    for _ in 0..<(try reader.readCount(max: reader.remaining)) { tombstones.append(try Tombstone(&reader)) }
    for _ in 0..<(try reader.readCount(max: reader.remaining)) {
      let name = try reader.readString(max: reader.remaining)
      guard let kind = MetricDescriptor.Kind(rawValue: try reader.read()) else {
        throw ByteReaderError(kind: .outOfBounds, offset: reader.position - 1)
      }
      let help = try reader.readString(max: reader.remaining)
      descriptors[name] = MetricDescriptor(
        name: name, kind: kind, help: help, unit: try reader.readString(max: reader.remaining))
    }
    if version < 2 { return }
    for _ in 0..<(try reader.readCount(max: reader.remaining)) { rollups.append(try RollupMeta(&reader)) }
  }
}

extension BlockMeta {
  func encode(to writer: inout ByteWriter) {
    for number in [id, sequence, tombstonesApplied] { writer.writeVarint(number) }
    writer.writeZigzag(minimum)
    writer.writeZigzag(maximum)
    writer.writeVarint(UInt64(samples))
    writer.writeVarint(UInt64(series))
    for bytes in [bytes, valueBytes, timestampBytes] { writer.writeVarint(UInt64(bytes)) }
  }

  init(_ reader: inout ByteReader) throws(ByteReaderError) {
    let id = try reader.readVarint()
    let sequence = try reader.readVarint()
    let applied = try reader.readVarint()
    let minimum = try reader.readZigzag()
    let maximum = try reader.readZigzag()
    let samples = try reader.readCount(max: .max)
    let series = try reader.readCount(max: .max)
    let bytes = try reader.readCount(max: .max)
    let valueBytes = try reader.readCount(max: .max)
    self.init(
      id: id, sequence: sequence, minimum: minimum, maximum: maximum, samples: samples, series: series,
      bytes: Int64(bytes), valueBytes: Int64(valueBytes), timestampBytes: Int64(try reader.readCount(max: .max)),
      tombstonesApplied: applied)
  }
}

/// A delete: hides the matching samples in every block that was there when it was made.
///
/// A delete first seals the head, and is written in the manifest that lists the sealed block and the log positions it
/// covers. So everything that the log held before it is in blocks that it hides, and everything that is replayed or
/// comes later is in blocks that count it as applied.
package struct Tombstone: Hashable, Sendable {
  package var id: UInt64
  package var matchers: [Matcher]
  package var range: TimeRange

  private static let equal: UInt8 = 0
  private static let notEqual: UInt8 = 1
  private static let oneOf: UInt8 = 2

  package init(id: UInt64, matchers: [Matcher], range: TimeRange) {
    self.id = id
    self.matchers = matchers
    self.range = range
  }

  func encode(to writer: inout ByteWriter) {
    writer.writeVarint(id)
    writer.writeZigzag(range.start.milliseconds)
    writer.writeZigzag(range.end.milliseconds)
    writer.writeVarint(UInt64(matchers.count))
    for matcher in matchers {
      writer.writeLengthPrefixed(matcher.label)
      switch matcher.condition {
      case .equal(let value): Tombstone.put(Tombstone.equal, [value], &writer)
      case .notEqual(let value): Tombstone.put(Tombstone.notEqual, [value], &writer)
      case .oneOf(let values): Tombstone.put(Tombstone.oneOf, values.sorted(), &writer)
      }
    }
  }

  private static func put(_ kind: UInt8, _ values: [String], _ writer: inout ByteWriter) {
    writer.write(kind)
    writer.writeVarint(UInt64(values.count))
    for value in values { writer.writeLengthPrefixed(value) }
  }

  init(_ reader: inout ByteReader) throws(ByteReaderError) {
    id = try reader.readVarint()
    let start = try reader.readZigzag()
    range = TimeRange(start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: try reader.readZigzag()))
    matchers = []
    for _ in 0..<(try reader.readCount(max: reader.remaining)) {
      let label = try reader.readString(max: reader.remaining)
      let kind = try reader.read(UInt8.self)
      var values: [String] = []
      for _ in 0..<(try reader.readCount(max: reader.remaining)) {
        values.append(try reader.readString(max: reader.remaining))
      }
      switch (kind, values.count) {
      case (Tombstone.equal, 1): matchers.append(.equal(label, values[0]))
      case (Tombstone.notEqual, 1): matchers.append(.notEqual(label, values[0]))
      case (Tombstone.oneOf, _): matchers.append(.oneOf(label, Set(values)))
      default: throw ByteReaderError(kind: .outOfBounds, offset: reader.position)
      }
    }
  }
}
