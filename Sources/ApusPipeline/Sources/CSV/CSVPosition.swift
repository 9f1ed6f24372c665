import ApusIO

/// Where a replay stands: a chunk of a file and how many of its groups have been handed on.
///
/// A chunk is cut by bytes alone and its groups are ordered by time and host, so another run of the program that reads
/// it again finds the same groups in the same order, and goes on behind those that the last run has published.
struct CSVPosition: Hashable, Sendable {
  var pass: UInt32 = 0
  var file: UInt32 = 0
  /// CRC-32C of the file's first bytes: tells whether it is still the same file.
  var headChecksum: UInt32 = 0
  /// Where the chunk begins.
  var offset: Int64 = 0
  var line: Int64 = 1
  /// Rows of the file before the chunk.
  var rowsBefore: Int64 = 0
  var groups: UInt32 = 0

  private static let version: UInt8 = 1

  var encoded: SourcePosition {
    var writer = ByteWriter(reserving: 41)
    writer.write(CSVPosition.version)
    writer.write(pass)
    writer.write(file)
    writer.write(headChecksum)
    writer.write(offset)
    writer.write(line)
    writer.write(rowsBefore)
    writer.write(groups)
    return SourcePosition(bytes: writer.bytes)
  }

  init() {}

  /// Nil for bytes that are not such a position.
  init?(_ position: SourcePosition) {
    let result: CSVPosition? = position.bytes.withUnsafeBytes { bytes in
      var reader = ByteReader(bytes)
      var found = CSVPosition()
      do throws(ByteReaderError) {
        guard try reader.read(UInt8.self) == CSVPosition.version else { return nil }
        found.pass = try reader.read()
        found.file = try reader.read()
        found.headChecksum = try reader.read()
        found.offset = try reader.read()
        found.line = try reader.read()
        found.rowsBefore = try reader.read()
        found.groups = try reader.read()
      } catch { return nil }
      return reader.isAtEnd && found.offset >= 0 && found.line >= 1 && found.rowsBefore >= 0 ? found : nil
    }
    guard let result else { return nil }
    self = result
  }
}
