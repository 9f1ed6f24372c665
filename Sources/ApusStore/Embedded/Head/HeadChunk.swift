import ApusIO

/// Rows of a lane encoded in memory: integers for the timestamps and arrival numbers, then a value chunk a series.
struct HeadChunk: Sendable {
  let rows: Int
  let minimum: Int64
  let maximum: Int64
  /// The timestamps ascend strictly: no late or repeated row is inside.
  let isAscending: Bool
  private let bytes: [UInt8]
  private let arrivalsStart: Int
  private let valuesStart: Int
  /// Where each series' chunk ends, from `valuesStart`.
  private let ends: [UInt32]

  var memoryBytes: Int { bytes.count + ends.count * 4 + 128 }

  /// Encodes the first `rows` rows. Cost: some nanoseconds a sample.
  init(_ buffer: RowBuffer, rows: Int, isAscending: Bool, encoder: inout ValueEncoder, scratch: inout HeadScratch) {
    self.rows = rows
    self.isAscending = isAscending
    minimum = buffer.minimum
    maximum = buffer.maximum
    scratch.out.truncate()
    scratch.integers.encode(buffer.timestamps, count: rows, to: &scratch.out)
    arrivalsStart = scratch.out.count
    let arrivals = UnsafeMutableRawPointer(buffer.arrivals).assumingMemoryBound(to: Int64.self)
    scratch.integers.encode(arrivals, count: rows, to: &scratch.out)
    valuesStart = scratch.out.count
    var ends: [UInt32] = []
    ends.reserveCapacity(buffer.width)
    // Which series are absent in some row: few, so that the rows need not be gone over for each of them.
    let gaps = buffer.everAbsent(rows: rows)
    // Eight columns are taken out of the rows at a time: a row's cache line holds eight values.
    var first = 0
    while first < buffer.width {
      let columns = min(HeadScratch.columns, buffer.width - first)
      scratch.take(columns, of: buffer.values + first, rows: rows, width: buffer.width)
      for column in 0..<columns {
        let series = first + column
        var all = gaps.isEmpty || gaps[series >> 6] & (1 << UInt64(series & 63)) == 0
        if !all { all = buffer.presence(series, rows: rows, into: scratch.presence) }
        encoder.encode(
          scratch.values + column * HeadScratch.stride, presence: all ? nil : UnsafePointer(scratch.presence),
          rows: rows, to: &scratch.out)
        ends.append(UInt32(scratch.out.count - valuesStart))
      }
      first += columns
    }
    self.ends = ends
    bytes = [UInt8](scratch.out.bytes)
  }

  func timestamps() -> [Int64] { integers(from: 0) }

  func arrivals() -> [UInt64] { integers(from: arrivalsStart).map { UInt64(bitPattern: $0) } }

  private func integers(from start: Int) -> [Int64] {
    [Int64](unsafeUninitializedCapacity: rows) { target, count in
      count = rows
      bytes.withUnsafeBytes { raw in
        var reader = ByteReader(raw)
        reader.position = start
        do throws(ByteReaderError) {
          try reader.readIntegers(into: target.baseAddress!, count: rows)
        } catch { preconditionFailure("a chunk of the head does not decode: \(error)") }
      }
    }
  }

  /// Calls `body` with one series' value chunk.
  func withChunk<Result>(_ series: Int, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    let start = valuesStart + (series == 0 ? 0 : Int(ends[series - 1]))
    let end = valuesStart + Int(ends[series])
    return bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[start..<end])) }
  }

  /// Decodes one series' column. Returns whether all rows have a sample.
  ///
  /// Invariant (unsafe memory): both targets have room for `rows` elements.
  func column(
    _ series: Int, into values: UnsafeMutablePointer<Double>, presence: UnsafeMutablePointer<UInt8>
  ) -> Bool {
    withChunk(series) { chunk in
      do throws(ByteReaderError) {
        return try ValueDecoder.decode(chunk, rows: rows, into: values, presence: presence)
      } catch { preconditionFailure("a chunk of the head does not decode: \(error)") }
    }
  }

  func statistics(_ series: Int) -> ChunkStatistics {
    withChunk(series) { chunk in
      do throws(ByteReaderError) {
        return try ValueDecoder.statistics(chunk, rows: rows)
      } catch { preconditionFailure("a chunk of the head does not decode: \(error)") }
    }
  }

  func presence(_ series: Int, into presence: UnsafeMutablePointer<UInt8>) -> Bool {
    withChunk(series) { chunk in
      do throws(ByteReaderError) {
        return try ValueDecoder.presence(chunk, rows: rows, into: presence)
      } catch { preconditionFailure("a chunk of the head does not decode: \(error)") }
    }
  }
}

/// Memory that encoding head chunks reuses.
///
/// Invariant (unsafe memory): owned by this value alone, sized for `columns` columns of `stride` rows.
struct HeadScratch: ~Copyable {
  static let columns = 8
  /// More than the rows that there may be, so that the columns do not all fall into one set of the cache.
  static let stride = ValueChunk.rowsMax + 8
  var out = OutputBuffer(capacity: 64 * 1024)
  var integers = IntegerEncoder()
  let values: UnsafeMutablePointer<Double>
  let presence: UnsafeMutablePointer<UInt8>

  init() {
    values = .allocate(capacity: HeadScratch.columns * HeadScratch.stride)
    presence = .allocate(capacity: ValueChunk.rowsMax)
  }

  /// Takes columns that lie side by side out of rows of `width` values.
  ///
  /// Invariant (unsafe memory): there are so many rows from `source` on, at most `ValueChunk.rowsMax`.
  func take(_ count: Int, of source: UnsafePointer<Double>, rows: Int, width: Int) {
    var source = source
    if count == HeadScratch.columns {
      for row in 0..<rows {
        let target = values + row
        target[0] = source[0]
        target[HeadScratch.stride] = source[1]
        target[2 * HeadScratch.stride] = source[2]
        target[3 * HeadScratch.stride] = source[3]
        target[4 * HeadScratch.stride] = source[4]
        target[5 * HeadScratch.stride] = source[5]
        target[6 * HeadScratch.stride] = source[6]
        target[7 * HeadScratch.stride] = source[7]
        source += width
      }
      return
    }
    for row in 0..<rows {
      for column in 0..<count { values[column * HeadScratch.stride + row] = source[column] }
      source += width
    }
  }

  deinit {
    values.deallocate()
    presence.deallocate()
  }
}
