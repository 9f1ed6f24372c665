import ApusIO
import ApusModel
import Synchronization

/// An immutable block file, mapped into memory.
///
/// The index is verified when the block is opened, a stripe of values when it is first touched; what does not match its
/// checksum is reported as `StoreError.corrupt` and never decoded.
final class Block: Sendable {
  struct Stripe: Sendable {
    var rows: Int
    var minimum: Int64
    var maximum: Int64
    var values: Range<Int>
    var checksum: UInt32
    var timestamps: Range<Int>
    /// Bytes of the values that say where the chunks lie.
    var directoryBytes: Int
  }

  struct Group: Sendable {
    /// Where its label columns begin in the groups section.
    var labels: Int
    var series: Int
    var minimum: Int64
    var maximum: Int64
    var stripes: [Stripe]
    /// The number of its first stripe among all of the block.
    var firstStripe: Int
  }

  let meta: BlockMeta
  let path: String
  let groups: [Group]
  /// The format's version that the file has.
  let version: UInt32
  /// What its parts take of the file.
  let parts: BlockParts
  /// The whole file; it stays readable when the file is removed.
  let map: MappedBytes
  private let frame: BlockFrame
  /// Nil where it must be expanded: then it is looked up in the cache.
  private let mappedIndex: BlockIndex?
  private let cache: ExpandedCache
  /// Stripes whose checksum has been found right.
  private let verified: Mutex<Bitmap>

  /// Opens and verifies a block. The manifest's entry must agree with the file's own footer.
  init(_ disk: any Disk, path: String, meta: BlockMeta, cache: ExpandedCache) throws(StoreError) {
    self.meta = meta
    self.path = path
    self.cache = cache
    do throws(DiskError) {
      map = try disk.open(path, .read).map()
    } catch { throw .disk(error) }
    frame = try BlockFrame(map.bytes, path: path)
    guard frame.matches(meta) else {
      throw .corrupt(file: path, section: "footer", reason: "it is not the block that the manifest lists")
    }
    version = frame.version
    let index = try BlockIndex(map, frame, path: path)
    do throws(ByteReaderError) {
      groups = try Block.readGroups(index, frame)
    } catch { throw .corrupt(file: path, section: "index", reason: error.description) }
    parts = BlockParts(frame, groups, fileBytes: map.bytes.count)
    verified = Mutex(Bitmap(count: groups.reduce(0) { $0 + $1.stripes.count }))
    mappedIndex = index.expandedBytes == 0 ? index : nil
  }

  private static func readGroups(_ index: BlockIndex, _ frame: BlockFrame) throws(ByteReaderError) -> [Group] {
    var reader = index.groupsReader
    let symbols = index.symbols.count
    let count = try reader.readCount(max: reader.remaining)
    var result: [Group] = []
    result.reserveCapacity(count)
    var values = frame.values.lowerBound
    var timestamps = frame.timestamps.lowerBound
    var previous: Int64 = 0
    var number = 0
    for _ in 0..<count {
      let start = reader.position
      let labels = try LabelColumns(&reader, symbols: symbols)
      let stripeCount = try reader.readCount(max: reader.remaining)
      var stripes: [Stripe] = []
      stripes.reserveCapacity(stripeCount)
      for _ in 0..<stripeCount {
        let rows = try reader.readCount(max: ValueChunk.rowsMax)
        let minimum = previous &+ (try reader.readZigzag())
        let maximum = minimum &+ Int64(bitPattern: try reader.readVarint())
        let length = try reader.readCount(max: frame.values.upperBound - values)
        let checksum = try reader.read(UInt32.self)
        let timestampLength = try reader.readCount(max: frame.timestamps.upperBound - timestamps)
        let directory =
          frame.version < 2
          ? StripeLayout.directoryBytes(stripe: length, series: labels.series) : try reader.readCount(max: length)
        guard rows > 0, minimum <= maximum else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
        stripes.append(
          Stripe(
            rows: rows, minimum: minimum, maximum: maximum, values: values..<values + length, checksum: checksum,
            timestamps: timestamps..<timestamps + timestampLength, directoryBytes: directory))
        previous = maximum
        values += length
        timestamps += timestampLength
      }
      guard let first = stripes.first, let last = stripes.last, labels.series > 0 else {
        throw ByteReaderError(kind: .outOfBounds, offset: reader.position)
      }
      result.append(
        Group(
          labels: start, series: labels.series, minimum: first.minimum, maximum: last.maximum, stripes: stripes,
          firstStripe: number))
      number += stripes.count
    }
    return result
  }

  func corrupt(_ section: String, _ error: ByteReaderError) -> StoreError {
    .corrupt(file: path, section: section, reason: error.description)
  }

  // MARK: Values

  func timestamps(group: Int, stripe: Int) throws(StoreError) -> [Int64] {
    let entry = groups[group].stripes[stripe]
    var failure: ByteReaderError?
    let result = [Int64](unsafeUninitializedCapacity: entry.rows) { target, count in
      var reader = ByteReader(UnsafeRawBufferPointer(rebasing: map.bytes[entry.timestamps]))
      do throws(ByteReaderError) {
        try reader.readIntegers(into: target.baseAddress!, count: entry.rows)
        count = entry.rows
      } catch { failure = error }
    }
    if let failure { throw corrupt("timestamps", failure) }
    return result
  }

  /// One series' column of a stripe. Returns whether all rows have a sample.
  ///
  /// Invariant (unsafe memory): both targets have room for the stripe's rows.
  func column(
    group: Int, stripe: Int, row: Int, into values: UnsafeMutablePointer<Double>,
    presence: UnsafeMutablePointer<UInt8>
  ) throws(StoreError) -> Bool {
    let rows = groups[group].stripes[stripe].rows
    return try withChunk(group: group, stripe: stripe, row: row) { chunk throws(ByteReaderError) in
      try ValueDecoder.decode(chunk, rows: rows, into: values, presence: presence)
    }
  }

  func presence(
    group: Int, stripe: Int, row: Int, into presence: UnsafeMutablePointer<UInt8>
  ) throws(StoreError) -> Bool {
    let rows = groups[group].stripes[stripe].rows
    return try withChunk(group: group, stripe: stripe, row: row) { chunk throws(ByteReaderError) in
      try ValueDecoder.presence(chunk, rows: rows, into: presence)
    }
  }

  /// The statistics of one series' chunk in a stripe, mostly without decoding it.
  func statistics(group: Int, stripe: Int, row: Int) throws(StoreError) -> ChunkStatistics {
    let rows = groups[group].stripes[stripe].rows
    return try withChunk(group: group, stripe: stripe, row: row) { chunk throws(ByteReaderError) in
      try ValueDecoder.statistics(chunk, rows: rows)
    }
  }

  /// Hands out the bytes of one series' chunk, once the stripe has been verified and its piece expanded.
  func withChunk<Value>(
    group: Int, stripe: Int, row: Int,
    _ body: (UnsafeRawBufferPointer) throws(ByteReaderError) -> Value
  ) throws(StoreError) -> Value {
    let entry = groups[group].stripes[stripe]
    let bytes = UnsafeRawBufferPointer(rebasing: map.bytes[entry.values])
    let number = groups[group].firstStripe + stripe
    if !verified.withLock({ $0[number] }) {
      guard CRC32C.checksum(bytes) == entry.checksum else {
        throw .corrupt(file: path, section: "values", reason: "stripe \(number) does not match its checksum")
      }
      verified.withLock { $0[number] = true }
    }
    guard let layout = StripeLayout(bytes, series: groups[group].series, hasPieces: version >= 2) else {
      throw .corrupt(file: path, section: "values", reason: "the directory of stripe \(number) is too long")
    }
    guard let range = layout.chunk(row) else { throw pointsOutside(number) }
    if version < 2 {
      guard let chunk = layout.plain(range) else { throw pointsOutside(number) }
      do throws(ByteReaderError) { return try body(chunk) } catch { throw corrupt("values", error) }
    }
    // A series without any sample has no bytes and may lie in no piece.
    if range.isEmpty {
      let nothing = UnsafeRawBufferPointer(rebasing: bytes[..<0])
      do throws(ByteReaderError) { return try body(nothing) } catch { throw corrupt("values", error) }
    }
    guard let piece = layout.piece(of: row), piece.expanded.lowerBound <= range.lowerBound,
      range.upperBound <= piece.expanded.upperBound
    else { throw pointsOutside(number) }
    let inside = range.lowerBound - piece.expanded.lowerBound..<range.upperBound - piece.expanded.lowerBound
    let stored = UnsafeRawBufferPointer(rebasing: bytes[piece.stored])
    if !piece.isCompressed {
      do throws(ByteReaderError) { return try body(UnsafeRawBufferPointer(rebasing: stored[inside])) } catch {
        throw corrupt("values", error)
      }
    }
    let expanded = try expand(stored, piece, stripe: number)
    return try withExtendedLifetime(expanded) { () throws(StoreError) -> Value in
      do throws(ByteReaderError) { return try body(UnsafeRawBufferPointer(rebasing: expanded.bytes[inside])) } catch {
        throw corrupt("values", error)
      }
    }
  }

  /// The pieces of a stripe; none in version 1.
  func pieces(group: Int, stripe: Int) -> [StripeLayout.Piece] {
    let bytes = UnsafeRawBufferPointer(rebasing: map.bytes[groups[group].stripes[stripe].values])
    return StripeLayout(bytes, series: groups[group].series, hasPieces: version >= 2)?.allPieces ?? []
  }

  private func pointsOutside(_ stripe: Int) -> StoreError {
    .corrupt(file: path, section: "values", reason: "the directory of stripe \(stripe) points outside")
  }

  private func expand(
    _ stored: UnsafeRawBufferPointer, _ piece: StripeLayout.Piece, stripe: Int
  ) throws(StoreError) -> MappedBytes {
    let key = ExpandedCache.Key.piece(of: meta.id, stripe: stripe, piece: piece.number)
    let content = try cache.get(key) { () throws(StoreError) in
      do throws(CompressionError) {
        return (.bytes(try MappedBytes(expanding: stored, to: piece.expanded.count)), piece.expanded.count)
      } catch {
        throw .corrupt(file: path, section: "values", reason: "stripe \(stripe): \(error.description)")
      }
    }
    guard case .bytes(let bytes) = content else { preconditionFailure("a piece's key is of a piece") }
    return bytes
  }

  // MARK: Labels

  /// The strings, postings and label columns; expanded where they are stored compressed.
  func index() throws(StoreError) -> BlockIndex {
    if let mappedIndex { return mappedIndex }
    let content = try cache.get(.index(of: meta.id)) { () throws(StoreError) in
      let index = try BlockIndex(map, frame, path: path)
      return (.index(index), index.expandedBytes)
    }
    guard case .index(let index) = content else { preconditionFailure("an index' key is of an index") }
    return index
  }

  /// A matcher whose strings are the block's numbers.
  private struct NumberedMatcher {
    /// Nil where no series of the block has the label.
    var name: Int?
    /// Those that the block has, ascending.
    var values: [Int]
    var matchesAbsent: Bool
    var isNegated: Bool

    func matches(_ value: Int) -> Bool { values.isMember(value) != isNegated }
  }

  private static func numbered(
    _ matchers: [CompiledMatcher], _ symbols: SymbolTable
  ) throws(ByteReaderError) -> [NumberedMatcher] {
    var result: [NumberedMatcher] = []
    for matcher in matchers {
      let name = try symbols.number(matcher.label)
      var values: [Int] = []
      if name != nil {
        for value in matcher.values {
          if let number = try symbols.number(value) { values.append(number) }
        }
      }
      result.append(
        NumberedMatcher(
          name: name, values: values.sorted(), matchesAbsent: matcher.matchesAbsent, isNegated: matcher.isNegated))
    }
    return result
  }

  /// The groups and, in each, the series that meet every matcher.
  func match(_ matchers: [CompiledMatcher]) throws(StoreError) -> [(group: Int, rows: [Int])] {
    var result: [(group: Int, rows: [Int])] = []
    try forEachMatch(matchers) { (group, _, rows) throws(StoreError) in result.append((group, rows)) }
    return result
  }

  /// Calls `body` with each group that has series that meet every matcher, its label columns and which series those are.
  func forEachMatch(
    _ matchers: [CompiledMatcher], _ body: (Int, LabelColumns, [Int]) throws(StoreError) -> Void
  ) throws(StoreError) {
    let index = try index()
    let numbered: [NumberedMatcher]
    var candidates: [Int]?
    do throws(ByteReaderError) {
      numbered = try Block.numbered(matchers, index.symbols)
      for matcher in numbered where !matcher.matchesAbsent && !matcher.isNegated {
        guard let name = matcher.name else { return }
        let found = try index.postings.groups(name: name, values: matcher.values)
        if let known = candidates {
          let both = Set(known)
          candidates = found.filter { both.contains($0) }
        } else {
          candidates = found
        }
        if candidates?.isEmpty == true { return }
      }
    } catch { throw corrupt("index", error) }
    for group in candidates ?? Array(groups.indices) {
      let columns: LabelColumns
      do throws(ByteReaderError) { columns = try labelColumns(group, index) } catch { throw corrupt("index", error) }
      let rows = Block.matchingRows(columns, numbered)
      if !rows.isEmpty { try body(group, columns, rows) }
    }
  }

  func labelColumns(_ group: Int, _ index: BlockIndex) throws(ByteReaderError) -> LabelColumns {
    var reader = index.groupsReader
    reader.position = groups[group].labels
    return try LabelColumns(&reader, symbols: index.symbols.count)
  }

  private static func matchingRows(_ labels: LabelColumns, _ matchers: [NumberedMatcher]) -> [Int] {
    var keep: [Bool] = []
    for matcher in matchers {
      guard let name = matcher.name, let column = labels.columns.first(where: { $0.name == name }) else {
        if matcher.matchesAbsent { continue }
        return []
      }
      let wanted = column.dictionary.map { matcher.matches($0) }
      if !wanted.contains(true) { return [] }
      if !wanted.contains(false) { continue }
      if keep.isEmpty { keep = [Bool](repeating: true, count: labels.series) }
      for row in keep.indices where !wanted[Int(column.codes[row])] { keep[row] = false }
    }
    return keep.isEmpty ? Array(0..<labels.series) : keep.indices.filter { keep[$0] }
  }

  /// The label sets of some of a group's series.
  func labels(group: Int, rows: [Int]) throws(StoreError) -> [Labels] {
    let index = try index()
    let symbols = index.symbols
    do throws(ByteReaderError) {
      let labels = try labelColumns(group, index)
      // Each column's values as pieces of the canonical encoding; the columns are in the order of their names.
      var pieces: [[[UInt8]]] = []
      for column in labels.columns {
        let name = try symbols.symbol(column.name)
        var values: [[UInt8]] = []
        for value in column.dictionary {
          var writer = ByteWriter()
          if value != 0 {
            writer.writeLengthPrefixed(name)
            writer.writeLengthPrefixed(try symbols.symbol(value))
          }
          values.append(writer.bytes)
        }
        pieces.append(values)
      }
      return rows.map { row in
        var bytes: [UInt8] = []
        for (index, column) in labels.columns.enumerated() {
          bytes += pieces[index][column.codes.isEmpty ? 0 : Int(column.codes[row])]
        }
        return Labels(canonicalBytes: bytes)
      }
    } catch { throw corrupt("index", error) }
  }
}
