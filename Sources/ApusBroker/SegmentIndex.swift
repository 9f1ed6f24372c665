import ApusIO
import Synchronization

/// A place in a segment that a search may start from: the beginning of a batch.
struct IndexEntry: Hashable, Sendable {
  /// The batch's base offset less the segment's.
  var offsetDelta: UInt32
  /// Bytes from the start of the segment.
  var position: UInt32
  /// The greatest timestamp of all records of the segment that lie before this batch; the least there is at its start.
  var maxTimestampBefore: Int64
}

/// Where to look in a segment for an offset or a time: one entry in so many bytes, in memory for the segment that
/// grows, in two small files for a closed one (docs/format/log.md, "Indexes"). Both can be rebuilt from the segment.
struct SegmentIndex: Sendable {
  /// A batch that begins this many bytes behind the last entry gets one of its own.
  static let intervalBytes: Int64 = 8192

  private(set) var entries: [IndexEntry] = []
  private(set) var maxTimestamp = Int64.min

  /// Takes a batch in as it is appended.
  mutating func add(_ header: RecordBatchHeader, baseOffset: Int64, position: Int64) {
    let isDue = entries.last.map { position - Int64($0.position) >= SegmentIndex.intervalBytes } ?? true
    if isDue {
      entries.append(
        IndexEntry(
          offsetDelta: UInt32(header.baseOffset - baseOffset), position: UInt32(position),
          maxTimestampBefore: maxTimestamp))
    }
    maxTimestamp = max(maxTimestamp, header.maxTimestamp)
  }

  /// The last entry that is not behind the offset.
  func floor(offsetDelta: Int64) -> IndexEntry? {
    let behind = SegmentIndex.partition(entries.count) { Int64(entries[$0].offsetDelta) > offsetDelta }
    return behind == 0 ? nil : entries[behind - 1]
  }

  /// The last entry before which no record is as late as `timestamp`.
  func floor(timestamp: Int64) -> IndexEntry? {
    let behind = SegmentIndex.partition(entries.count) { entries[$0].maxTimestampBefore >= timestamp }
    return behind == 0 ? nil : entries[behind - 1]
  }

  /// The first of `count` places for which `isBehind` holds, given that it holds for all that follow.
  static func partition(_ count: Int, _ isBehind: (Int) -> Bool) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if isBehind(middle) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}

/// What the index files say of their segment beside their entries.
struct SegmentSummary: Hashable, Sendable {
  var baseOffset: Int64
  /// The segment's size when the index was made; another size says that it does not belong to it.
  var bytes: Int64
  var nextOffset: Int64
  var maxTimestamp: Int64
  /// When the segment's newest record was appended, milliseconds since 1970.
  var lastAppendTime: Int64
}

/// The two files beside a closed segment.
enum SegmentIndexFile {
  static let offsetMagic: UInt64 = 0x3158_4449_5355_5041  // "APUSIDX1"
  static let timeMagic: UInt64 = 0x3158_4d54_5355_5041  // "APUSTMX1"
  /// Magic, base offset, bytes, next offset, greatest timestamp, last append time, number of entries.
  static let headerBytes = 7 * 8

  static func encodeOffsets(_ summary: SegmentSummary, _ entries: [IndexEntry]) -> [UInt8] {
    encode(offsetMagic, summary, entries) { writer, entry in
      writer.write(entry.offsetDelta)
      writer.write(entry.position)
    }
  }

  static func encodeTimes(_ summary: SegmentSummary, _ entries: [IndexEntry]) -> [UInt8] {
    encode(timeMagic, summary, entries) { writer, entry in
      writer.write(entry.maxTimestampBefore)
      writer.write(entry.offsetDelta)
      writer.write(entry.position)
    }
  }

  /// The summary, when the bytes are a whole index file of this kind; nil when they are not.
  static func summary(_ bytes: UnsafeRawBufferPointer, magic: UInt64) -> SegmentSummary? {
    var reader = ByteReader(bytes)
    guard bytes.count >= headerBytes + 4, let found = try? reader.read(UInt64.self), found == magic,
      let baseOffset = try? reader.read(Int64.self), let size = try? reader.read(Int64.self),
      let nextOffset = try? reader.read(Int64.self), let maxTimestamp = try? reader.read(Int64.self),
      let lastAppendTime = try? reader.read(Int64.self), let count = try? reader.read(UInt64.self),
      count <= UInt64(bytes.count),
      bytes.count == headerBytes + Int(count) * (magic == offsetMagic ? 8 : 16) + 4
    else { return nil }
    let content = UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count - 4)])
    let stored = bytes.loadUnaligned(fromByteOffset: bytes.count - 4, as: UInt32.self)
    guard CRC32C.checksum(content) == UInt32(littleEndian: stored) else { return nil }
    return SegmentSummary(
      baseOffset: baseOffset, bytes: size, nextOffset: nextOffset, maxTimestamp: maxTimestamp,
      lastAppendTime: lastAppendTime)
  }

  /// The places that the offset index of a segment names; none where it cannot be read. For whoever looks into a corrupt
  /// segment: they are places to look at, nothing more.
  static func entries(_ path: SegmentPath, _ disk: any Disk) -> [IndexEntry] {
    guard let bytes = try? disk.readFile(path.offsetIndex) else { return [] }
    return bytes.withUnsafeBytes { raw in
      guard let summary = summary(raw, magic: offsetMagic), summary.baseOffset == path.baseOffset else { return [] }
      return stride(from: headerBytes, to: raw.count - 4, by: 8).map { place in
        IndexEntry(
          offsetDelta: UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: place, as: UInt32.self)),
          position: UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: place + 4, as: UInt32.self)),
          maxTimestampBefore: .min)
      }
    }
  }

  private static func encode(
    _ magic: UInt64, _ summary: SegmentSummary, _ entries: [IndexEntry], _ put: (inout ByteWriter, IndexEntry) -> Void
  ) -> [UInt8] {
    var writer = ByteWriter(reserving: headerBytes + entries.count * 16 + 4)
    writer.write(magic)
    writer.write(summary.baseOffset)
    writer.write(summary.bytes)
    writer.write(summary.nextOffset)
    writer.write(summary.maxTimestamp)
    writer.write(summary.lastAppendTime)
    writer.write(UInt64(entries.count))
    for entry in entries { put(&writer, entry) }
    writer.write(CRC32C.checksum(writer.bytes))
    return writer.bytes
  }
}

/// Finds the place to start from, in whichever form the index is. Shared by the writer and all readers.
final class SharedSegmentIndex: Sendable {
  private enum Form {
    /// Of the segment that grows.
    case growing(SegmentIndex)
    /// Of a closed segment: the files' bytes, loaded when first asked for.
    case closed(offsets: MappedBytes?, times: MappedBytes?)
  }

  private let form: Mutex<Form>

  /// The index of a segment that grows.
  init(growing index: SegmentIndex) { form = Mutex(.growing(index)) }

  /// The index of a closed segment whose files lie beside it.
  init() { form = Mutex(.closed(offsets: nil, times: nil)) }

  func add(_ header: RecordBatchHeader, baseOffset: Int64, position: Int64) {
    form.withLock { form in
      guard case .growing(var index) = form else { return }
      // Emptied first, so that the entries have one owner and are changed where they are.
      form = .closed(offsets: nil, times: nil)
      index.add(header, baseOffset: baseOffset, position: position)
      form = .growing(index)
    }
  }

  /// The entries so far; nil for a closed segment.
  var growing: SegmentIndex? {
    form.withLock { form in
      if case .growing(let index) = form { return index }
      return nil
    }
  }

  /// The files have been written: the memory is no longer needed.
  func close() { form.withLock { $0 = .closed(offsets: nil, times: nil) } }

  /// The byte to start from for an offset. 0 where the index is gone: the search is slower, its result the same.
  func position(offsetDelta: Int64, path: SegmentPath, disk: any Disk) -> (position: Int64, offsetDelta: Int64) {
    form.withLock { form in
      switch form {
      case .growing(let index):
        guard let entry = index.floor(offsetDelta: offsetDelta) else { return (0, 0) }
        return (Int64(entry.position), Int64(entry.offsetDelta))
      case .closed(var offsets, let times):
        if offsets == nil { offsets = SharedSegmentIndex.load(path.offsetIndex, SegmentIndexFile.offsetMagic, disk) }
        form = .closed(offsets: offsets, times: times)
        guard let bytes = offsets?.bytes else { return (0, 0) }
        return SharedSegmentIndex.search(bytes, stride: 8, deltaAt: 0) { entry in
          Int64(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: entry, as: UInt32.self))) > offsetDelta
        }
      }
    }
  }

  /// The byte to start from for a time: no record before it is as late.
  func position(timestamp: Int64, path: SegmentPath, disk: any Disk) -> (position: Int64, offsetDelta: Int64) {
    form.withLock { form in
      switch form {
      case .growing(let index):
        guard let entry = index.floor(timestamp: timestamp) else { return (0, 0) }
        return (Int64(entry.position), Int64(entry.offsetDelta))
      case .closed(let offsets, var times):
        if times == nil { times = SharedSegmentIndex.load(path.timeIndex, SegmentIndexFile.timeMagic, disk) }
        form = .closed(offsets: offsets, times: times)
        guard let bytes = times?.bytes else { return (0, 0) }
        return SharedSegmentIndex.search(bytes, stride: 16, deltaAt: 8) { entry in
          Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: entry, as: Int64.self)) >= timestamp
        }
      }
    }
  }

  private static func load(_ path: String, _ magic: UInt64, _ disk: any Disk) -> MappedBytes? {
    guard let mapped = try? disk.open(path, .read).map(),
      SegmentIndexFile.summary(mapped.bytes, magic: magic) != nil
    else { return nil }
    return mapped
  }

  private static func search(
    _ bytes: UnsafeRawBufferPointer, stride: Int, deltaAt: Int, _ isBehind: (Int) -> Bool
  ) -> (position: Int64, offsetDelta: Int64) {
    let start = SegmentIndexFile.headerBytes
    let count = (bytes.count - start - 4) / stride
    let behind = SegmentIndex.partition(count) { isBehind(start + $0 * stride) }
    guard behind > 0 else { return (0, 0) }
    let entry = start + (behind - 1) * stride + deltaAt
    let delta = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: entry, as: UInt32.self))
    let position = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: entry + 4, as: UInt32.self))
    return (Int64(position), Int64(delta))
  }
}
