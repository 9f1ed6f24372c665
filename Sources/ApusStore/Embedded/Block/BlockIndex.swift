import ApusIO

/// The sections of a block that say what it has and where: label columns, strings, postings. They are read where the
/// file is mapped, or from memory where they are stored compressed; then this goes through `ExpandedCache`.
final class BlockIndex: Sendable {
  let symbols: SymbolTable
  let postings: Postings
  /// The groups section.
  let groups: MappedBytes
  let groupsRange: Range<Int>
  /// The memory that expanded sections take.
  let expandedBytes: Int

  /// Reads the sections of a block. Lengths and checksums have been verified with the frame.
  init(_ map: MappedBytes, _ frame: BlockFrame, path: String) throws(StoreError) {
    let groups = try BlockIndex.section(map, frame.groups, path, "groups")
    let symbols = try BlockIndex.section(map, frame.symbols, path, "symbols")
    let postings = try BlockIndex.section(map, frame.postings, path, "postings")
    self.groups = groups.bytes
    groupsRange = groups.range
    expandedBytes = frame.groups.expanded + frame.symbols.expanded + frame.postings.expanded
    do throws(ByteReaderError) {
      self.symbols = try SymbolTable(symbols.bytes, section: symbols.range)
      var reader = ByteReader(UnsafeRawBufferPointer(rebasing: groups.bytes.bytes[groups.range]))
      let count = try reader.readCount(max: reader.remaining)
      self.postings = try Postings(
        postings.bytes, section: postings.range, groups: count, symbols: self.symbols.count)
    } catch { throw .corrupt(file: path, section: "index", reason: error.description) }
  }

  private static func section(
    _ map: MappedBytes, _ section: BlockFrame.Section, _ path: String, _ name: String
  ) throws(StoreError) -> (bytes: MappedBytes, range: Range<Int>) {
    if section.expanded == 0 { return (map, section.range) }
    let stored = UnsafeRawBufferPointer(rebasing: map.bytes[section.range])
    do throws(CompressionError) {
      return (try MappedBytes(expanding: stored, to: section.expanded), 0..<section.expanded)
    } catch { throw .corrupt(file: path, section: name, reason: error.description) }
  }

  /// A reader of the groups section.
  var groupsReader: ByteReader { ByteReader(UnsafeRawBufferPointer(rebasing: groups.bytes[groupsRange])) }
}

extension MappedBytes {
  /// Memory with what a zstd frame expands to, which must be exactly so many bytes.
  convenience init(expanding frame: UnsafeRawBufferPointer, to count: Int) throws(CompressionError) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 16)
    do throws(CompressionError) {
      let found = try Compression.expandZstd(frame, into: memory)
      guard found == count else {
        throw .malformed(codec: .zstd, reason: "it expands to \(found) bytes and not to \(count)")
      }
    } catch {
      memory.deallocate()
      throw error
    }
    self.init(bytes: UnsafeRawBufferPointer(memory)) { $0.deallocate() }
  }
}
