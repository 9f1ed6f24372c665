import ApusIO
import ApusModel

/// Writes one block file from front to back: values first, as they are encoded, then everything that finds them.
struct BlockWriter: ~Copyable {
  private struct StripeRecord {
    var rows: Int
    var minimum: Int64
    var maximum: Int64
    var length: Int
    var checksum: UInt32
    var timestampLength: Int
    var directoryLength: Int
  }

  /// How a block is written.
  struct Options: Sendable {
    /// zstd's level; nil leaves everything as it is, in version 1 of the format.
    var compressionLevel: Int?
    /// Whether what is written is to be kept: chunks near to their entropy, in long stripes. Needs version 2.
    var isKept = false
    /// Told of each write; it may hold the writer up.
    var pace: WritePace?

    fileprivate var isCoding: Bool { isKept && compressionLevel != nil }
  }

  private struct Group {
    var labels: LabelColumns
    var stripes: [StripeRecord]
  }

  /// A stripe while its series come in.
  private struct OpenStripe {
    var firstRow: Int
    var rows: Int
    var bytes: [UInt8] = []
    var ends: [UInt64] = []
  }

  private let file: any DiskFile
  private let options: Options
  /// What a frame is made in.
  private var compressed: [UInt8] = []
  private var position: Int64 = 0
  private var checksum: UInt32 = 0
  private var pending = OutputBuffer(capacity: BlockFormat.writeBytes + 65536)
  private var scratch = OutputBuffer(capacity: 65536)
  private var encoder: ValueEncoder
  private var integers = IntegerEncoder()
  private var symbols = SymbolCollector()
  private var groups: [Group] = []
  private var timestamps = OutputBuffer()
  private var openStripes: [OpenStripe] = []
  private var openLabels: [Labels] = []
  private var openTimestamps: [Int64] = []

  private(set) var samples = 0
  private(set) var series = 0
  private var minimum = Int64.max
  private var maximum = Int64.min

  /// Makes the file. What a crash may have left under this name is removed.
  init(_ disk: any Disk, path: String, options: Options) throws(DiskError) {
    file = try BlockWriter.create(disk, path)
    self.options = options
    encoder = ValueEncoder(isCoding: options.isCoding)
    pending.put(word: BlockFormat.magic)
    pending.put(word: options.compressionLevel == nil ? BlockFormat.plainVersion : BlockFormat.version)
    pending.put(word: UInt32(0))
    headerChecksum = CRC32C.checksum(pending.bytes)
  }

  private let headerChecksum: UInt32

  private static func create(_ disk: any Disk, _ path: String) throws(DiskError) -> any DiskFile {
    // Not written over: the file may have another name in a snapshot.
    if try disk.exists(path) { try disk.remove(path) }
    return try disk.open(path, .create)
  }

  /// Begins a group of series that share these timestamps.
  /// - Precondition: ascending, at least one.
  mutating func beginGroup(timestamps: [Int64]) {
    precondition(openLabels.isEmpty && !timestamps.isEmpty, "a group is open, or there is nothing to write")
    openTimestamps = timestamps
    let most = options.isCoding ? BlockFormat.rowsPerKeptStripe : BlockFormat.rowsPerStripe
    let count = (timestamps.count + most - 1) / most
    openStripes = (0..<count).map { stripe in
      let first = timestamps.count * stripe / count
      let end = timestamps.count * (stripe + 1) / count
      return OpenStripe(firstRow: first, rows: end - first)
    }
  }

  /// Adds a series to the open group. `presence` is nil when all rows have a sample; `present` counts those that have.
  ///
  /// Invariant (unsafe memory): `values` and `presence` have an element for each of the group's timestamps.
  mutating func addSeries(
    _ labels: Labels, values: UnsafePointer<Double>, presence: UnsafePointer<UInt8>?, present: Int
  ) throws(DiskError) {
    if openLabels.count == seriesPerGroup {
      let timestamps = openTimestamps
      try endGroup()
      beginGroup(timestamps: timestamps)
    }
    openLabels.append(labels)
    samples += present
    for stripe in openStripes.indices {
      let first = openStripes[stripe].firstRow
      scratch.truncate()
      encoder.encode(
        values + first, presence: presence.map { $0 + first }, rows: openStripes[stripe].rows, to: &scratch)
      openStripes[stripe].bytes.append(contentsOf: scratch.bytes)
      openStripes[stripe].ends.append(UInt64(openStripes[stripe].bytes.count))
    }
  }

  /// Long columns make narrower groups, so that what an open group holds in memory stays bounded.
  private var seriesPerGroup: Int {
    max(32, min(BlockFormat.seriesPerGroupMax, (8 << 20) / openTimestamps.count))
  }

  mutating func endGroup() throws(DiskError) {
    defer {
      openLabels = []
      openStripes = []
    }
    if openLabels.isEmpty { return }
    series += openLabels.count
    minimum = min(minimum, openTimestamps[0])
    maximum = max(maximum, openTimestamps[openTimestamps.count - 1])
    var records: [StripeRecord] = []
    for stripe in openStripes {
      let start = pending.count
      let width = 64 - (stripe.ends.last ?? 0).leadingZeroBitCount
      pending.put(UInt8(width))
      pending.putPacked(stripe.ends, count: stripe.ends.count, width: width)
      var directory = pending.count - start
      if let level = options.compressionLevel {
        directory += putPieces(stripe, level: level)
      } else {
        stripe.bytes.withUnsafeBytes { pending.put($0) }
      }
      let written = UnsafeRawBufferPointer(rebasing: pending.bytes[start...])
      let column = Array(openTimestamps[stripe.firstRow..<stripe.firstRow + stripe.rows])
      let timestampStart = timestamps.count
      integers.encode(column, count: column.count, to: &timestamps)
      records.append(
        StripeRecord(
          rows: stripe.rows, minimum: column[0], maximum: column[column.count - 1], length: written.count,
          checksum: CRC32C.checksum(written), timestampLength: timestamps.count - timestampStart,
          directoryLength: directory))
      try writePending(atLeast: BlockFormat.writeBytes)
    }
    groups.append(Group(labels: LabelColumns(openLabels, symbols: &symbols), stripes: records))
  }

  /// Adds a stripe's chunks in pieces, each compressed where that is worth it, behind the table of them. Returns the
  /// bytes of the table.
  private mutating func putPieces(_ stripe: OpenStripe, level: Int) -> Int {
    var pieces: [(series: Int, chunks: Range<Int>)] = []
    var begin = 0
    for (series, end) in stripe.ends.enumerated() where Int(end) - begin >= StripeLayout.pieceBytes {
      pieces.append((series + 1, begin..<Int(end)))
      begin = Int(end)
    }
    if begin < stripe.bytes.count { pieces.append((stripe.ends.count, begin..<stripe.bytes.count)) }
    let tableBytes = 2 + pieces.count * StripeLayout.pieceEntryBytes
    let table = pending.count
    pending.put(word: UInt16(pieces.count))
    for _ in 0..<tableBytes - 2 { pending.put(0) }
    let base = pending.count
    for (number, piece) in pieces.enumerated() {
      stripe.bytes.withUnsafeBytes { putFrame(UnsafeRawBufferPointer(rebasing: $0[piece.chunks]), level: level) }
      let entry = table + 2 + number * StripeLayout.pieceEntryBytes
      pending.patch(word: UInt16(piece.series), at: entry)
      pending.patch(word: UInt32(pending.count - base), at: entry + 2)
    }
    return tableBytes
  }

  /// Adds bytes to what waits to be written: as a frame where that is worth it, else as they are.
  private mutating func putFrame(_ bytes: UnsafeRawBufferPointer, level: Int) {
    if BlockWriter.compress(bytes, level: level, to: &compressed) {
      compressed.withUnsafeBytes { pending.put($0) }
    } else {
      pending.put(bytes)
    }
  }

  /// Whether a frame of the bytes is worth it; then it is all that `frame` holds.
  private static func compress(_ bytes: UnsafeRawBufferPointer, level: Int, to frame: inout [UInt8]) -> Bool {
    frame.removeAll(keepingCapacity: true)
    // A codec that fails, for want of memory, leaves the bytes as they are, which is as right.
    do throws(CompressionError) {
      try Compression.compressZstd(bytes, level: level, appendingTo: &frame)
    } catch { return false }
    return frame.count * 100 <= bytes.count * (100 - BlockFormat.worthwhilePercent)
  }

  /// Writes the index and the footer, and syncs the file. Returns what the manifest needs to know.
  consuming func finish(id: UInt64, sequence: UInt64, tombstonesApplied: UInt64) throws(DiskError) -> BlockMeta {
    precondition(openLabels.isEmpty, "a group is open")
    let (sorted, numbers) = symbols.sorted()
    var footer = OutputBuffer()
    let valuesLength = position + Int64(pending.count) - Int64(BlockFormat.headerBytes)
    try writePending(atLeast: 0)
    put(section: Int64(BlockFormat.headerBytes), valuesLength, expanded: 0, 0, to: &footer)
    try write(section: timestamps.bytes, isIndex: false, footer: &footer)
    let timestampBytes = Int64(timestamps.count)

    scratch.truncate()
    SymbolTable.encode(sorted, to: &scratch)
    try write(section: scratch.bytes, isIndex: true, footer: &footer)

    scratch.truncate()
    scratch.putVarint(UInt64(groups.count))
    var previous: Int64 = 0
    for group in groups {
      group.labels.encode(renumbered: numbers, to: &scratch)
      scratch.putVarint(UInt64(group.stripes.count))
      for stripe in group.stripes {
        scratch.putVarint(UInt64(stripe.rows))
        scratch.putZigzag(stripe.minimum &- previous)
        scratch.putVarint(UInt64(bitPattern: stripe.maximum &- stripe.minimum))
        previous = stripe.maximum
        scratch.putVarint(UInt64(stripe.length))
        scratch.put(word: stripe.checksum)
        scratch.putVarint(UInt64(stripe.timestampLength))
        if options.compressionLevel != nil { scratch.putVarint(UInt64(stripe.directoryLength)) }
      }
    }
    try write(section: scratch.bytes, isIndex: true, footer: &footer)

    scratch.truncate()
    Postings.encode(groups.map(\.labels), renumbered: numbers, to: &scratch)
    try write(section: scratch.bytes, isIndex: true, footer: &footer)

    footer.put(word: minimum)
    footer.put(word: maximum)
    footer.put(word: UInt64(samples))
    footer.put(word: UInt64(series))
    footer.put(word: sequence)
    footer.put(word: UInt64(groups.count))
    footer.put(word: CRC32C.checksum(footer.bytes, continuing: headerChecksum))
    footer.put(word: BlockFormat.endMagic)
    try file.write(footer.bytes, at: position)
    position += Int64(footer.count)
    try file.sync()
    return BlockMeta(
      id: id, sequence: sequence, minimum: minimum, maximum: maximum, samples: samples, series: series,
      bytes: position, valueBytes: valuesLength, timestampBytes: timestampBytes, tombstonesApplied: tombstonesApplied)
  }

  private func put(
    section offset: Int64, _ length: Int64, expanded: UInt32, _ checksum: UInt32, to footer: inout OutputBuffer
  ) {
    footer.put(word: offset)
    footer.put(word: length)
    if options.compressionLevel != nil { footer.put(word: expanded) }
    footer.put(word: checksum)
  }

  private mutating func write(
    section bytes: UnsafeRawBufferPointer, isIndex: Bool, footer: inout OutputBuffer
  ) throws(DiskError) {
    var frame: [UInt8] = []
    if isIndex, let level = options.compressionLevel, bytes.count <= BlockFormat.indexBytesMax,
      BlockWriter.compress(bytes, level: level, to: &frame)
    {
      put(
        section: position, Int64(frame.count), expanded: UInt32(bytes.count), CRC32C.checksum(frame), to: &footer)
      try file.write(frame, at: position)
      position += Int64(frame.count)
      options.pace?.wrote(frame.count)
      return
    }
    put(section: position, Int64(bytes.count), expanded: 0, CRC32C.checksum(bytes), to: &footer)
    try file.write(bytes, at: position)
    position += Int64(bytes.count)
    options.pace?.wrote(bytes.count)
  }

  private mutating func writePending(atLeast bound: Int) throws(DiskError) {
    if pending.count <= bound && bound > 0 { return }
    try file.write(pending.bytes, at: position)
    position += Int64(pending.count)
    options.pace?.wrote(pending.count)
    pending.truncate()
  }
}
