import ApusIO
import ApusModel

/// Decodes Prometheus' remote write requests, 1.0 and 2.0, from expanded (not Snappy) bodies.
///
/// One decoder serves one request after another; what it learns about a sender's series makes the next one cheap. A series
/// that is wrong is told in the batch's problems and the rest is taken. A body that is no protocol buffer, or goes beyond
/// a bound, throws, and nothing of it is taken.
///
/// Cost where a sender repeats its series: one comparison of the label bytes a series, no hashing and no allocation but
/// for the result. Memory: the cache's bounds (by default 250,000 series and 64 MiB of keys, and the labels themselves).
package struct RemoteWriteDecoder: ~Copyable {
  var cache: SeriesCache
  var collector = SampleCollector()
  var assembly = LabelAssembly()
  var batch = IngestBatch()
  /// The series of the request so far, for the problems' positions.
  var seriesSeen = 0
  var labelBytes = 0
  let strictness: LabelAssembly.Strictness
  // Remote write 2.0 only; emptied with each request.
  var symbols: [Range<Int>] = []
  var describedNames: [Bool] = []
  var references: [UInt32] = []
  var expanded: [UInt8] = []

  /// `isLenient`: whether labels out of order are sorted and such without a value left out, instead of being refused as
  /// the specification asks. `seed` keeps outsiders from choosing labels that collide in the cache.
  package init(isLenient: Bool = false, seed: UInt64 = 0) {
    strictness = isLenient ? .lenient : .strict
    cache = SeriesCache(seed: seed)
  }

  /// Everything that one body holds. `body` is expanded already; its length is the caller's to bound.
  package mutating func decode(
    _ body: UnsafeRawBufferPointer, version: RemoteWriteVersion
  ) throws(FormatError) -> IngestBatch {
    cache.beginBatch()
    batch = IngestBatch()
    seriesSeen = 0
    labelBytes = 0
    do throws(FormatError) {
      switch version {
      case .v1: try decodeV1(body)
      case .v2: try decodeV2(body)
      }
    } catch {
      _ = collector.finish()
      throw error
    }
    batch.sampleCount = collector.sampleCount
    batch.series = collector.finish()
    defer { batch = IngestBatch() }
    return batch
  }

  /// The number, in this batch, of the series that a cache entry stands for.
  @inline(__always)
  mutating func series(of entry: Int) throws(FormatError) -> Int32 {
    cache.use(entry)
    let known = cache.series(of: entry)
    if known >= 0 { return known }
    let added = try addSeries(cache.labels(of: entry))
    cache.setSeries(added, of: entry)
    return added
  }

  mutating func addSeries(_ labels: Labels) throws(FormatError) -> Int32 {
    guard collector.seriesCount < FormatLimits.seriesPerSet else {
      throw .tooMany(.series, limit: FormatLimits.seriesPerSet)
    }
    return collector.addSeries(labels)
  }

  /// Counts label bytes as if each series had its own, so that a small body cannot ask for much work.
  mutating func countLabelBytes(_ count: Int) throws(FormatError) {
    labelBytes += count
    guard labelBytes <= IngestLimits.labelBytesPerRequest else {
      throw .tooMany(.labelBytes, limit: IngestLimits.labelBytesPerRequest)
    }
  }

  /// `Sample`, the same in both versions but for 2.0's start, which is returned (0: not told).
  @inline(__always)
  mutating func addSample(_ sample: ProtobufReader, to series: Int32) throws(FormatError) -> Int64 {
    guard collector.sampleCount < IngestLimits.samplesPerRequest else {
      throw .tooMany(.samples, limit: IngestLimits.samplesPerRequest)
    }
    var sample = sample
    var value: UInt64 = 0
    var timestamp: UInt64 = 0
    var start: UInt64 = 0
    while let field = try sample.next() {
      switch field.number {
      case 1: value = try sample.fixed64(field)
      case 2: timestamp = try sample.varint(field)
      case 3: start = try sample.varint(field)
      default: try sample.skip(field)
      }
    }
    // The value goes through as it is, bit by bit: a stale marker is a NaN that is told by its bits.
    collector.append(series: series, timestamp: Int64(bitPattern: timestamp), value: Double(bitPattern: value))
    return Int64(bitPattern: start)
  }

  /// The numbering of metric types that both versions share.
  static func kind(_ type: UInt64) -> MetricDescriptor.Kind {
    switch type {
    case 1: .counter
    case 2: .gauge
    case 3: .histogram
    case 4: .gaugehistogram
    case 5: .summary
    case 6: .info
    case 7: .stateset
    default: .unknown
    }
  }

  static func text(_ bytes: UnsafeRawBufferPointer, max: Int) -> String? {
    bytes.count <= max ? String(validating: bytes, as: UTF8.self) : nil
  }
}
