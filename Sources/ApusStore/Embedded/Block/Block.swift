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
  private let map: MappedBytes
  private let symbols: SymbolTable
  private let postings: Postings
  private let groupsSection: Range<Int>
  /// Stripes whose checksum has been found right.
  private let verified: Mutex<Bitmap>

  /// Opens and verifies a block. The manifest's entry must agree with the file's own footer.
  init(_ disk: any Disk, path: String, meta: BlockMeta) throws(StoreError) {
    self.meta = meta
    self.path = path
    do throws(DiskError) {
      map = try disk.open(path, .read).map()
    } catch { throw .disk(error) }
    let frame = try BlockFrame(map.bytes, path: path)
    guard frame.matches(meta) else {
      throw .corrupt(file: path, section: "footer", reason: "it is not the block that the manifest lists")
    }
    groupsSection = frame.groups
    do throws(ByteReaderError) {
      symbols = try SymbolTable(map, section: frame.symbols)
      groups = try Block.readGroups(map, frame, symbols: symbols.count)
      postings = try Postings(map, section: frame.postings, groups: groups.count, symbols: symbols.count)
    } catch { throw .corrupt(file: path, section: "index", reason: error.description) }
    verified = Mutex(Bitmap(count: groups.reduce(0) { $0 + $1.stripes.count }))
  }

  private static func readGroups(
    _ map: MappedBytes, _ frame: BlockFrame, symbols: Int
  ) throws(ByteReaderError) -> [Group] {
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: map.bytes[frame.groups]))
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
        guard rows > 0, minimum <= maximum else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
        stripes.append(
          Stripe(
            rows: rows, minimum: minimum, maximum: maximum, values: values..<values + length, checksum: checksum,
            timestamps: timestamps..<timestamps + timestampLength))
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

  private func corrupt(_ section: String, _ error: ByteReaderError) -> StoreError {
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
    let chunk = try chunk(group: group, stripe: stripe, row: row)
    do throws(ByteReaderError) {
      return try ValueDecoder.decode(chunk, rows: rows, into: values, presence: presence)
    } catch { throw corrupt("values", error) }
  }

  func presence(
    group: Int, stripe: Int, row: Int, into presence: UnsafeMutablePointer<UInt8>
  ) throws(StoreError) -> Bool {
    let rows = groups[group].stripes[stripe].rows
    let chunk = try chunk(group: group, stripe: stripe, row: row)
    do throws(ByteReaderError) {
      return try ValueDecoder.presence(chunk, rows: rows, into: presence)
    } catch { throw corrupt("values", error) }
  }

  /// The statistics of one series' chunk in a stripe, mostly without decoding it.
  func statistics(group: Int, stripe: Int, row: Int) throws(StoreError) -> ChunkStatistics {
    let chunk = try chunk(group: group, stripe: stripe, row: row)
    do throws(ByteReaderError) {
      return try ValueDecoder.statistics(chunk, rows: groups[group].stripes[stripe].rows)
    } catch { throw corrupt("values", error) }
  }

  /// The bytes of one series' chunk, once the stripe has been verified.
  private func chunk(group: Int, stripe: Int, row: Int) throws(StoreError) -> UnsafeRawBufferPointer {
    let entry = groups[group].stripes[stripe]
    let bytes = UnsafeRawBufferPointer(rebasing: map.bytes[entry.values])
    let number = groups[group].firstStripe + stripe
    if !verified.withLock({ $0[number] }) {
      guard CRC32C.checksum(bytes) == entry.checksum else {
        throw .corrupt(file: path, section: "values", reason: "stripe \(number) does not match its checksum")
      }
      verified.withLock { $0[number] = true }
    }
    let series = groups[group].series
    let width = bytes.isEmpty ? 0 : Int(bytes[0])
    let base = 1 + (series * width + 7) / 8
    guard width <= 64, base <= bytes.count else {
      throw .corrupt(file: path, section: "values", reason: "the directory of stripe \(number) is too long")
    }
    let directory = UnsafeRawBufferPointer(rebasing: bytes[1..<base])
    let start = row == 0 ? 0 : ByteReader.bits(of: directory, from: (row - 1) * width, width: width)
    let end = ByteReader.bits(of: directory, from: row * width, width: width)
    guard start <= end, end <= UInt64(bytes.count - base) else {
      throw .corrupt(file: path, section: "values", reason: "the directory of stripe \(number) points outside")
    }
    return UnsafeRawBufferPointer(rebasing: bytes[base + Int(start)..<base + Int(end)])
  }

  // MARK: Labels

  /// The groups and, in each, the series that meet every matcher.
  func match(_ matchers: [CompiledMatcher]) throws(StoreError) -> [(group: Int, rows: [Int])] {
    do throws(ByteReaderError) {
      var candidates: [Int]?
      for matcher in matchers where !matcher.matchesAbsent && !matcher.isNegated {
        guard let name = try symbols.number(matcher.label) else { return [] }
        var values: [Int] = []
        for value in matcher.values {
          if let number = try symbols.number(value) { values.append(number) }
        }
        let found = try postings.groups(name: name, values: values.sorted())
        if let known = candidates {
          let both = Set(known)
          candidates = found.filter { both.contains($0) }
        } else {
          candidates = found
        }
        if candidates?.isEmpty == true { return [] }
      }
      var result: [(group: Int, rows: [Int])] = []
      for group in candidates ?? Array(groups.indices) {
        let rows = try matchingRows(group, matchers)
        if !rows.isEmpty { result.append((group, rows)) }
      }
      return result
    } catch { throw corrupt("index", error) }
  }

  private func labelColumns(_ group: Int) throws(ByteReaderError) -> LabelColumns {
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: map.bytes[groupsSection]))
    reader.position = groups[group].labels
    return try LabelColumns(&reader, symbols: symbols.count)
  }

  private func matchingRows(_ group: Int, _ matchers: [CompiledMatcher]) throws(ByteReaderError) -> [Int] {
    if matchers.isEmpty { return Array(0..<groups[group].series) }
    let labels = try labelColumns(group)
    var keep = [Bool](repeating: true, count: labels.series)
    for matcher in matchers {
      let name = try symbols.number(matcher.label)
      guard let name, let column = labels.columns.first(where: { $0.name == name }) else {
        if matcher.matchesAbsent { continue }
        return []
      }
      var wanted: [Bool] = []
      for value in column.dictionary { wanted.append(matcher.matches(try symbols.symbol(value))) }
      if column.codes.isEmpty {
        if !wanted[0] { return [] }
        continue
      }
      for row in keep.indices where !wanted[Int(column.codes[row])] { keep[row] = false }
    }
    return keep.indices.filter { keep[$0] }
  }

  /// The label sets of some of a group's series.
  func labels(group: Int, rows: [Int]) throws(StoreError) -> [Labels] {
    do throws(ByteReaderError) {
      let labels = try labelColumns(group)
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
