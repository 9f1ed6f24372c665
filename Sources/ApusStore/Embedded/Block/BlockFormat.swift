import ApusModel

/// The constants of the block file (docs/format/store.md, "Block").
enum BlockFormat {
  static let magic: UInt64 = 0x314b_4c42_5355_5041  // "APUSBLK1", read as a little-endian word.
  static let endMagic: UInt64 = 0x444e_4542_5355_5041  // "APUSBEND"
  /// The newest version that is read; it is what is written when something may be compressed.
  static let version: UInt32 = 2
  /// The version without compression.
  static let plainVersion: UInt32 = 1
  static let headerBytes = 16
  /// Five sections of offset, length, from version 2 on the expanded length, and checksum; then six numbers, a checksum
  /// and a magic.
  static func footerBytes(version: UInt32) -> Int { 5 * (version < 2 ? 20 : 24) + 6 * 8 + 4 + 8 }
  /// No section of the index expands to more.
  static let indexBytesMax = 256 << 20
  /// A frame is kept where it saves at least this share, in percent: less is not worth the time of expanding it.
  static let worthwhilePercent = 3
  /// A group of more series is cut, so that a stripe's checksum stays cheap to verify.
  static let seriesPerGroupMax = 1024
  /// The most rows of a stripe; a longer column is cut into equal parts.
  static let rowsPerStripe = 960
  /// The same where chunks are entropy-coded: each has tables and statistics that more rows share.
  static let rowsPerKeptStripe = 2400
  /// A stripe's values are written when this many bytes are waiting.
  static let writeBytes = 1 << 20
}

/// What the manifest says of a block.
package struct BlockMeta: Hashable, Sendable {
  /// The number in the file's name; never used twice.
  package var id: UInt64
  /// Which seal its newest samples came from: of two blocks with a sample at one instant the higher one wins.
  package var sequence: UInt64
  /// Its oldest and newest instant.
  package var minimum: Int64
  package var maximum: Int64
  package var samples: Int
  package var series: Int
  /// The file's length and what its parts take.
  package var bytes: Int64
  package var valueBytes: Int64
  package var timestampBytes: Int64
  /// Tombstones up to this number have been applied to it, or do not concern it.
  package var tombstonesApplied: UInt64

  package init(
    id: UInt64, sequence: UInt64, minimum: Int64, maximum: Int64, samples: Int, series: Int, bytes: Int64,
    valueBytes: Int64, timestampBytes: Int64, tombstonesApplied: UInt64
  ) {
    self.id = id
    self.sequence = sequence
    self.minimum = minimum
    self.maximum = maximum
    self.samples = samples
    self.series = series
    self.bytes = bytes
    self.valueBytes = valueBytes
    self.timestampBytes = timestampBytes
    self.tombstonesApplied = tombstonesApplied
  }

  var range: TimeRange {
    TimeRange(start: Timestamp(milliseconds: minimum), end: Timestamp(milliseconds: maximum))
  }

  /// `blocks/0000000000000001.block`, below the store's directory.
  var name: String { BlockMeta.name(id) }

  /// The name of the file of the block with that number.
  package static func name(_ id: UInt64) -> String {
    let digits = String(id, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits + ".block"
  }
}
