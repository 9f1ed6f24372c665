import ApusIO

/// Where a block file's sections lie, read from its header and footer; their checksums are verified here, but for the
/// values', which are verified stripe by stripe.
struct BlockFrame {
  struct Section {
    var range = 0..<0
    /// What its zstd frame expands to; 0 when it is stored as it is. Of the values it is always 0: their pieces have
    /// frames of their own.
    var expanded = 0
  }

  private(set) var values = 0..<0
  private(set) var timestamps = 0..<0
  private(set) var symbols = Section()
  private(set) var groups = Section()
  private(set) var postings = Section()
  private var minimum: Int64 = 0
  private var maximum: Int64 = 0
  private var samples: UInt64 = 0
  private var series: UInt64 = 0
  private var sequence: UInt64 = 0
  private let length: Int
  private var magic: UInt64 = 0
  private(set) var version: UInt32 = 0
  private var checksum: UInt32 = 0
  private var endMagic: UInt64 = 0
  private var sections: [(offset: UInt64, length: UInt64, expanded: UInt32, checksum: UInt32)] = []

  init(_ bytes: UnsafeRawBufferPointer, path: String) throws(StoreError) {
    length = bytes.count
    let smallest = BlockFormat.headerBytes + BlockFormat.footerBytes(version: BlockFormat.plainVersion)
    guard bytes.count >= smallest else {
      throw .corrupt(file: path, section: "footer", reason: "\(bytes.count) bytes are too few for a block")
    }
    var reader = ByteReader(bytes)
    let problem = Result { () throws(ByteReaderError) in try read(&reader) }
    // The magic and the version come before the checksum: a newer version may have another layout behind them.
    guard magic == BlockFormat.magic else {
      throw .corrupt(file: path, section: "header", reason: "it does not begin as a block does")
    }
    guard BlockFormat.plainVersion...BlockFormat.version ~= version else {
      throw .unsupportedVersion(file: path, version: version, supported: BlockFormat.version)
    }
    if case .failure(let error) = problem {
      throw .corrupt(file: path, section: "footer", reason: error.description)
    }
    let header = UnsafeRawBufferPointer(rebasing: bytes[..<BlockFormat.headerBytes])
    let start = bytes.count - footerBytes
    let covered = UnsafeRawBufferPointer(rebasing: bytes[start..<bytes.count - 12])
    guard CRC32C.checksum(covered, continuing: CRC32C.checksum(header)) == checksum, endMagic == BlockFormat.endMagic
    else { throw .corrupt(file: path, section: "footer", reason: "it does not match its checksum") }
    try verifySections(bytes, footerStart: start, path: path)
  }

  var footerBytes: Int { BlockFormat.footerBytes(version: version) }

  private mutating func read(_ reader: inout ByteReader) throws(ByteReaderError) {
    magic = try reader.read()
    version = try reader.read()
    guard BlockFormat.plainVersion...BlockFormat.version ~= version,
      reader.bytes.count >= BlockFormat.headerBytes + footerBytes
    else { throw ByteReaderError(kind: .truncated, offset: reader.position) }
    reader.position = reader.bytes.count - footerBytes
    for _ in 0..<5 {
      let offset = try reader.read(UInt64.self)
      let length = try reader.read(UInt64.self)
      let expanded = version < 2 ? 0 : try reader.read(UInt32.self)
      sections.append((offset, length, expanded, try reader.read(UInt32.self)))
    }
    minimum = try reader.read()
    maximum = try reader.read()
    samples = try reader.read()
    series = try reader.read()
    sequence = try reader.read()
    _ = try reader.read(UInt64.self)
    checksum = try reader.read()
    endMagic = try reader.read()
  }

  /// The sections follow one another without a gap from the header to the footer.
  private mutating func verifySections(
    _ bytes: UnsafeRawBufferPointer, footerStart: Int, path: String
  ) throws(StoreError) {
    let names = ["values", "timestamps", "symbols", "groups", "postings"]
    var ranges: [Range<Int>] = []
    var next = BlockFormat.headerBytes
    for (index, section) in sections.enumerated() {
      guard section.offset == UInt64(next), section.length <= UInt64(footerStart - next) else {
        throw .corrupt(file: path, section: "footer", reason: "section \(names[index]) lies outside of its place")
      }
      guard section.expanded == 0 || index >= 2 && section.expanded <= BlockFormat.indexBytesMax else {
        throw .corrupt(file: path, section: "footer", reason: "section \(names[index]) cannot expand as it says")
      }
      ranges.append(next..<next + Int(section.length))
      next += Int(section.length)
      if index == 0 { continue }
      guard CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[ranges[index]])) == section.checksum else {
        throw .corrupt(file: path, section: names[index], reason: "it does not match its checksum")
      }
    }
    guard next == footerStart else {
      throw .corrupt(file: path, section: "footer", reason: "\(footerStart - next) bytes belong to no section")
    }
    values = ranges[0]
    timestamps = ranges[1]
    symbols = Section(range: ranges[2], expanded: Int(sections[2].expanded))
    groups = Section(range: ranges[3], expanded: Int(sections[3].expanded))
    postings = Section(range: ranges[4], expanded: Int(sections[4].expanded))
  }

  /// Whether the manifest's entry is of this file.
  func matches(_ meta: BlockMeta) -> Bool {
    minimum == meta.minimum && maximum == meta.maximum && samples == UInt64(meta.samples)
      && series == UInt64(meta.series) && sequence == meta.sequence && Int64(length) == meta.bytes
  }
}
