import ApusIO
import ApusModel

extension ScrapeRecord {
  /// A set, whole.
  package static func encode(set: SeriesSet) -> [UInt8] {
    var writer = ByteWriter()
    writeHead(.set, flags: 0, to: &writer)
    write(set.id, to: &writer)
    writeSeries(set.series[...], set.descriptors, to: &writer)
    return writer.bytes
  }

  /// A set as what it adds to `base`, whose last acknowledged copy lies at `baseOffset` (-1: not known). A set that does
  /// not begin with all of the base's series is written whole.
  package static func encode(set: SeriesSet, base: SeriesSet, baseOffset: Int64 = -1) -> [UInt8] {
    guard base.count < set.count, set.series[..<base.count].elementsEqual(base.series) else { return encode(set: set) }
    var writer = ByteWriter()
    writeHead(.set, flags: flagBase, to: &writer)
    write(set.id, to: &writer)
    write(base.id, to: &writer)
    writer.write(baseOffset)
    let known = Set(base.descriptors)
    writeSeries(set.series[base.count...], set.descriptors.filter { !known.contains($0) }, to: &writer)
    return writer.bytes
  }

  /// A scrape; `setOffset` is where its set's last acknowledged copy lies, -1 where that is not known.
  package static func encode(_ scrape: Scrape, setOffset: Int64) -> [UInt8] {
    var writer = ByteWriter(reserving: encodedSize(of: scrape))
    encode(scrape, setOffset: setOffset, into: &writer)
    return writer.bytes
  }

  /// How many bytes a scrape takes.
  package static func encodedSize(of scrape: Scrape) -> Int {
    scrapeHeadBytes + 8 * scrape.values.count + 8 * (scrape.absent?.words.count ?? 0)
  }

  /// Appends a scrape. Allocates nothing where the writer has room for `encodedSize` bytes.
  package static func encode(_ scrape: Scrape, setOffset: Int64, into writer: inout ByteWriter) {
    writeHead(.scrape, flags: scrape.absent == nil ? 0 : flagAbsent, to: &writer)
    write(scrape.set.id, to: &writer)
    writer.write(setOffset)
    writer.write(scrape.timestamp.milliseconds)
    writer.write(UInt32(scrape.values.count))
    writer.write(scrape.values)
    // Both architectures we build for are little-endian, so the memory is the encoding.
    scrape.absent?.words.withUnsafeBytes { writer.write($0) }
  }

  /// Samples of the per-series lane.
  /// - Precondition: the timestamps of each series ascend.
  package static func encode(samples: [SeriesSamples]) -> [UInt8] {
    var body = LabelDictionaryWriter()
    for series in samples {
      body.add(series.labels)
      body.append { writer in
        writer.writeVarint(UInt64(series.timestamps.count))
        var previous: Int64 = 0
        for (index, timestamp) in series.timestamps.enumerated() {
          if index == 0 {
            writer.writeZigzag(timestamp)
          } else {
            precondition(timestamp >= previous, "timestamp \(timestamp) of \(series.labels) follows \(previous)")
            // The difference of two Int64 fits in 64 bits when taken without a sign.
            writer.writeVarint(UInt64(bitPattern: timestamp &- previous))
          }
          previous = timestamp
        }
        writer.write(series.values)
      }
    }
    var writer = ByteWriter()
    writeHead(.samples, flags: 0, to: &writer)
    writer.writeVarint(UInt64(samples.count))
    body.write(to: &writer)
    return writer.bytes
  }

  /// Kind, version, flags, reserved; identity; set offset; timestamp; count.
  static let scrapeHeadBytes = 4 + 16 + 8 + 8 + 4

  private static func writeSeries(
    _ series: ArraySlice<Labels>, _ descriptors: [MetricDescriptor], to writer: inout ByteWriter
  ) {
    writer.writeVarint(UInt64(series.count))
    var body = LabelDictionaryWriter()
    for labels in series { body.add(labels) }
    body.write(to: &writer)
    writer.writeVarint(UInt64(descriptors.count))
    for descriptor in descriptors {
      writer.writeLengthPrefixed(descriptor.name)
      writer.write(descriptor.kind.rawValue)
      writer.writeLengthPrefixed(descriptor.help)
      writer.writeLengthPrefixed(descriptor.unit)
    }
  }
}
