import ApusIO
import ApusModel

/// The columnar record of the log, `application/vnd.apus.scrape`: a set, a scrape that names its set, or samples of the
/// per-series lane. Drawn byte by byte in docs/format/records.md.
///
/// A set is a record of its own. A scrape names its set by identity and says at which offset of the same partition the
/// set's last acknowledged copy lies, so any offset of a partition is a good place to begin to read.
package enum ScrapeRecord {
  /// The first byte of a record.
  package enum Kind: UInt8, Hashable, Sendable {
    case set = 1
    case scrape = 2
    case samples = 3
  }

  /// The second byte. A reader refuses what it does not know.
  package static let version: UInt8 = 1

  /// What a record holds.
  package enum Decoded: Sendable {
    case set(SeriesSet)
    case scrape(Scrape)
    case samples([SeriesSamples])
    /// The scrape's set, or the base of a set, is not known to the reader; its last copy was at `offset` (-1: not told).
    case unknownSet(SeriesSetID, offset: Int64)
  }

  /// What the first bytes of a record say, without a look at the rest.
  package struct Header: Hashable, Sendable {
    package var kind: Kind
    /// The set that is defined, or that the scrape is of; nil for samples.
    package var setID: SeriesSetID?
    /// A scrape's hint where its set lies, -1 for none; nil for other kinds.
    package var setOffset: Int64?
    /// The set that an addition builds on; nil for other records.
    package var baseID: SeriesSetID?
  }

  /// The head of a record, or nil when it is not one of a known kind and version. Cost: a few loads.
  package static func peek(_ bytes: UnsafeRawBufferPointer) -> Header? {
    guard bytes.count >= 4, let kind = Kind(rawValue: bytes[0]), bytes[1] == version else { return nil }
    var header = Header(kind: kind)
    var reader = RecordReader(bytes, at: 4)
    switch kind {
    case .samples: return header
    case .set, .scrape:
      do throws(FormatError) {
        header.setID = try readID(&reader)
        if kind == .scrape { header.setOffset = try reader.integer(Int64.self) }
        if kind == .set, bytes[2] & flagBase != 0 { header.baseID = try readID(&reader) }
      } catch { return nil }
      return header
    }
  }

  /// A set's flag: it is written as what it adds to another set.
  static let flagBase: UInt8 = 1
  /// A scrape's flag: a bitmap of absent series follows the values.
  static let flagAbsent: UInt8 = 1

  static func writeHead(_ kind: Kind, flags: UInt8, to writer: inout ByteWriter) {
    writer.write(kind.rawValue)
    writer.write(version)
    writer.write(flags)
    writer.write(UInt8(0))
  }

  static func write(_ id: SeriesSetID, to writer: inout ByteWriter) {
    writer.write(id.high)
    writer.write(id.low)
  }
}
