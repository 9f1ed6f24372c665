import ApusModel

extension ScrapeRecord {
  /// Decodes a record; `sets` gives the sets that the reader has seen. Every count is checked against its bound and
  /// against the bytes that are there, before memory is taken for it.
  package static func decode(
    _ bytes: UnsafeRawBufferPointer, sets: (SeriesSetID) -> SeriesSet?
  ) throws(FormatError) -> Decoded {
    guard bytes.count >= 4 else { throw .record(.truncated, offset: bytes.count) }
    guard let kind = Kind(rawValue: bytes[0]) else { throw .record(.unknownKind(bytes[0]), offset: 0) }
    guard bytes[1] == version else { throw .record(.unsupportedVersion(bytes[1]), offset: 1) }
    let flagsKnown: UInt8 =
      switch kind {
      case .set: flagBase
      case .scrape: flagAbsent
      case .samples: 0
      }
    guard bytes[2] & ~flagsKnown == 0 else { throw .record(.unknownFlags(bytes[2]), offset: 2) }
    guard bytes[3] == 0 else { throw .record(.unknownFlags(bytes[3]), offset: 3) }
    var reader = RecordReader(bytes, at: 4)
    switch kind {
    case .set: return try decodeSet(&reader, hasBase: bytes[2] & flagBase != 0, sets)
    case .scrape: return try decodeScrape(&reader, hasAbsent: bytes[2] & flagAbsent != 0, sets)
    case .samples: return try decodeSamples(&reader)
    }
  }

  private static func decodeSet(
    _ reader: inout RecordReader, hasBase: Bool, _ sets: (SeriesSetID) -> SeriesSet?
  ) throws(FormatError) -> Decoded {
    let announced = try readID(&reader)
    var base: SeriesSet?
    if hasBase {
      let id = try readID(&reader)
      let offset = try reader.integer(Int64.self)
      guard let found = sets(id) else { return .unknownSet(id, offset: offset) }
      base = found
    }
    let start = reader.position
    // A series takes at least two bytes: the number of its labels and one of them.
    let count = try reader.count(max: min(FormatLimits.seriesPerSet - (base?.count ?? 0), reader.remaining / 2))
    var dictionary = try LabelDictionaryReader(&reader)
    var series = base?.series ?? []
    series.reserveCapacity(series.count + count)
    for _ in 0..<count { series.append(try dictionary.labels(&reader)) }
    guard Set(series).count == series.count else { throw .record(.duplicateSeries, offset: start) }
    let descriptors = (base?.descriptors ?? []) + (try readDescriptors(&reader))
    try reader.checkEnd()
    let set = SeriesSet(series: series, descriptors: descriptors)
    guard set.id == announced else {
      throw .record(.identityMismatch(announced: announced, computed: set.id), offset: 4)
    }
    return .set(set)
  }

  private static func decodeScrape(
    _ reader: inout RecordReader, hasAbsent: Bool, _ sets: (SeriesSetID) -> SeriesSet?
  ) throws(FormatError) -> Decoded {
    let id = try readID(&reader)
    let setOffset = try reader.integer(Int64.self)
    let timestamp = try reader.integer(Int64.self)
    let countPosition = reader.position
    let count = Int(try reader.integer(UInt32.self))
    // Checked before the set is looked up, so that a bad record is known as such at once.
    let wordCount = hasAbsent ? (count + 63) / 64 : 0
    guard reader.remaining >= 8 * (count + wordCount) else { throw .record(.truncated, offset: reader.position) }
    guard let set = sets(id) else { return .unknownSet(id, offset: setOffset) }
    guard set.count == count else {
      throw .record(.valueCount(found: count, expected: set.count), offset: countPosition)
    }
    let values = try reader.column(count, of: Double.self)
    var absent: Bitmap?
    if hasAbsent {
      let position = reader.position
      absent = Bitmap(count: count, words: try reader.column(wordCount, of: UInt64.self))
      if absent == nil { throw .record(.invalidBitmap, offset: position) }
    }
    try reader.checkEnd()
    return .scrape(Scrape(set: set, timestamp: Timestamp(milliseconds: timestamp), values: values, absent: absent))
  }

  private static func decodeSamples(_ reader: inout RecordReader) throws(FormatError) -> Decoded {
    // A series takes at least three bytes: two counts and one label.
    let count = try reader.count(max: min(FormatLimits.seriesPerSet, reader.remaining / 3))
    var dictionary = try LabelDictionaryReader(&reader)
    var result: [SeriesSamples] = []
    result.reserveCapacity(count)
    for _ in 0..<count {
      let labels = try dictionary.labels(&reader)
      // A sample takes at least nine bytes: one of its timestamp and its value.
      let sampleCount = try reader.count(max: reader.remaining / 9)
      var timestamps: [Int64] = []
      timestamps.reserveCapacity(sampleCount)
      for index in 0..<sampleCount {
        let start = reader.position
        guard index > 0 else {
          timestamps.append(try reader.zigzag())
          continue
        }
        let previous = timestamps[index - 1]
        let next = previous &+ Int64(bitPattern: try reader.varint())
        // A wrapped sum shows as a step back.
        guard next >= previous else { throw .record(.timestampsDescend, offset: start) }
        timestamps.append(next)
      }
      let values = try reader.column(sampleCount, of: Double.self)
      result.append(SeriesSamples(labels: labels, timestamps: timestamps, values: values))
    }
    try reader.checkEnd()
    return .samples(result)
  }

  private static func readDescriptors(_ reader: inout RecordReader) throws(FormatError) -> [MetricDescriptor] {
    // A descriptor takes at least four bytes: three lengths and the kind.
    let count = try reader.count(max: min(FormatLimits.descriptorsPerSet, reader.remaining / 4))
    var descriptors: [MetricDescriptor] = []
    descriptors.reserveCapacity(count)
    for _ in 0..<count {
      let name = try reader.string(max: FormatLimits.labelValueBytes)
      let position = reader.position
      let raw = try reader.integer(UInt8.self)
      guard let kind = MetricDescriptor.Kind(rawValue: raw) else {
        throw .record(.unknownMetricKind(raw), offset: position)
      }
      let help = try reader.string(max: FormatLimits.helpBytes)
      let unit = try reader.string(max: FormatLimits.unitBytes)
      descriptors.append(MetricDescriptor(name: name, kind: kind, help: help, unit: unit))
    }
    return descriptors
  }

  static func readID(_ reader: inout RecordReader) throws(FormatError) -> SeriesSetID {
    SeriesSetID(high: try reader.integer(UInt64.self), low: try reader.integer(UInt64.self))
  }
}
