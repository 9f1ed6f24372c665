import ApusIO

/// Where the value chunks of one stripe lie: its directory and, from version 2 on, its pieces (docs/format/store.md,
/// "Groups and stripes"). Points into the stripe's bytes, which the caller keeps and has verified.
struct StripeLayout {
  /// Consecutive series whose chunks are stored as they are or as one zstd frame.
  struct Piece {
    var number: Int
    /// Where its chunks lie among all chunks of the stripe.
    var expanded: Range<Int>
    /// Where it is stored, from the beginning of the stripe.
    var stored: Range<Int>

    var isCompressed: Bool { stored.count != expanded.count }
  }

  /// Bytes of one entry of the piece table: the end of its series and of its stored bytes.
  static let pieceEntryBytes = 6
  /// A piece ends with the series that brings it to this size: small enough that a question for one metric expands
  /// little else, large enough for the codec to learn from.
  static let pieceBytes = 16 << 10
  /// No piece expands to more; a longer one is not what this program writes.
  static let pieceBytesMax = 1 << 16

  private let bytes: UnsafeRawBufferPointer
  private let series: Int
  private let width: Int
  private let pieces: Int
  /// Where the piece table begins; without one, where the chunks do.
  private let table: Int
  /// Where the chunks, or the pieces, begin.
  private let base: Int

  /// Reads the beginning of a stripe; nil when it is longer than the stripe.
  init?(_ bytes: UnsafeRawBufferPointer, series: Int, hasPieces: Bool) {
    self.bytes = bytes
    self.series = series
    width = bytes.isEmpty ? 0 : Int(bytes[0])
    table = 1 + (series * width + 7) / 8
    guard width <= 64, table <= bytes.count else { return nil }
    guard hasPieces else {
      pieces = 0
      base = table
      return
    }
    guard table + 2 <= bytes.count else { return nil }
    pieces = Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: table, as: UInt16.self)))
    base = table + 2 + pieces * StripeLayout.pieceEntryBytes
    guard base <= bytes.count else { return nil }
  }

  /// Bytes before the chunks.
  var directoryBytes: Int { base }

  /// The end of a series' chunk among all chunks.
  private func end(_ row: Int) -> UInt64 {
    if row < 0 { return 0 }
    return ByteReader.bits(of: UnsafeRawBufferPointer(rebasing: bytes[1..<table]), from: row * width, width: width)
  }

  /// Where a series' chunk lies among all chunks; nil when that cannot be.
  func chunk(_ row: Int) -> Range<Int>? {
    let start = end(row - 1)
    let end = end(row)
    guard start <= end, end <= UInt64(Int32.max) else { return nil }
    return Int(start)..<Int(end)
  }

  /// A part of the chunks of a stripe without pieces; nil when it lies outside.
  func plain(_ range: Range<Int>) -> UnsafeRawBufferPointer? {
    guard range.upperBound <= bytes.count - base else { return nil }
    return UnsafeRawBufferPointer(rebasing: bytes[base + range.lowerBound..<base + range.upperBound])
  }

  /// The piece that a series lies in; nil when the table is not one.
  func piece(of row: Int) -> Piece? {
    var low = 0
    var high = pieces
    while low < high {
      let middle = (low + high) / 2
      if seriesEnd(middle) <= row { low = middle + 1 } else { high = middle }
    }
    return low < pieces ? piece(low) : nil
  }

  /// All pieces that can be.
  var allPieces: [Piece] { (0..<pieces).compactMap { piece($0) } }

  private func piece(_ number: Int) -> Piece? {
    let first = number == 0 ? 0 : seriesEnd(number - 1)
    let last = seriesEnd(number)
    let start = number == 0 ? 0 : storedEnd(number - 1)
    let stop = storedEnd(number)
    guard first <= last, last <= series, start <= stop, stop <= bytes.count - base else { return nil }
    let expandedStart = end(first - 1)
    let expandedEnd = end(last - 1)
    guard expandedStart <= expandedEnd, expandedEnd - expandedStart <= UInt64(StripeLayout.pieceBytesMax),
      expandedEnd <= UInt64(Int32.max), stop - start <= Int(expandedEnd - expandedStart)
    else { return nil }
    return Piece(
      number: number, expanded: Int(expandedStart)..<Int(expandedEnd), stored: base + start..<base + stop)
  }

  private func seriesEnd(_ piece: Int) -> Int {
    let at = table + 2 + piece * StripeLayout.pieceEntryBytes
    return Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt16.self)))
  }

  private func storedEnd(_ piece: Int) -> Int {
    let at = table + 2 + piece * StripeLayout.pieceEntryBytes + 2
    return Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
  }

  /// The directory of a version 1 stripe from its length alone, without touching its bytes: `width` is the number of
  /// bits of the chunks' length, which is what the directory leaves of the stripe.
  static func directoryBytes(stripe length: Int, series: Int) -> Int {
    for width in 0...64 {
      let directory = 1 + (series * width + 7) / 8
      if directory > length { break }
      if 64 - UInt64(length - directory).leadingZeroBitCount <= width { return directory }
    }
    return min(length, 1)
  }
}
