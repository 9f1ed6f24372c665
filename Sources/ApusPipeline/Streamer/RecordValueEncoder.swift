import ApusFormats
import ApusIO
import ApusModel

/// Writes the value of a record in the streamer's encoding. Pure.
struct RecordValueEncoder {
  /// Sets whose rows are kept ready for JSON; beyond it all are made anew.
  private static let rowSetsMax = 2000

  let encoding: Encoding
  /// What does not change from sample to sample of a set, for JSON.
  private var rows: [SeriesSetID: [TelemetryRowEncoder]] = [:]

  init(encoding: Encoding) { self.encoding = encoding }

  /// The records that an item becomes: one, or a few where one would be larger than `bytesMax`. Nil when it cannot be
  /// written within that bound at all.
  ///
  /// - Parameters:
  ///   - setOffset: where a scrape's set lies; used by frames.
  ///   - asSamples: write a scrape series by series, without a set; used by frames.
  mutating func encode(_ item: TelemetryItem, setOffset: Int64, asSamples: Bool, bytesMax: Int) -> [[UInt8]]? {
    switch (encoding, item.content) {
    case (_, .encoded(let value)): return value.bytes.count <= bytesMax ? [value.bytes] : nil
    case (.frame, .scrape(let scrape)) where !asSamples:
      let size = ScrapeRecord.encodedSize(of: scrape)
      return size <= bytesMax ? [ScrapeRecord.encode(scrape, setOffset: setOffset)] : nil
    case (.frame, .scrape(let scrape)):
      return RecordValueEncoder.split(RecordValueEncoder.samples(of: scrape)[...], bytesMax) {
        ScrapeRecord.encode(samples: Array($0))
      }
    case (.frame, .samples(let series)):
      return RecordValueEncoder.split(series[...], bytesMax) { ScrapeRecord.encode(samples: Array($0)) }
    case (.json, .scrape(let scrape)):
      let whole = json(scrape)
      if whole.count <= bytesMax { return [whole] }
      return RecordValueEncoder.split(RecordValueEncoder.samples(of: scrape)[...], bytesMax) {
        RecordValueEncoder.json($0)
      }
    case (.json, .samples(let series)):
      return RecordValueEncoder.split(series[...], bytesMax) { RecordValueEncoder.json($0) }
    case (.text, .scrape(let scrape)):
      let whole = ExpositionWriter.page(of: [scrape], includingTimestamps: true)
      if whole.count <= bytesMax { return [whole] }
      return RecordValueEncoder.split(RecordValueEncoder.samples(of: scrape)[...], bytesMax) {
        RecordValueEncoder.text($0)
      }
    case (.text, .samples(let series)):
      return RecordValueEncoder.split(series[...], bytesMax) { RecordValueEncoder.text($0) }
    }
  }

  private mutating func json(_ scrape: Scrape) -> [UInt8] {
    if rows.count >= RecordValueEncoder.rowSetsMax { rows.removeAll() }
    let encoders = rows[scrape.set.id] ?? scrape.set.series.map { TelemetryRowEncoder($0) }
    rows[scrape.set.id] = encoders
    var writer = JSONWriter(reserving: scrape.sampleCount * 512)
    writer.beginArray()
    for index in 0..<scrape.set.count {
      if let absent = scrape.absent, absent[index] { continue }
      encoders[index].appendJSON(scrape.timestamp, scrape.values[index], to: &writer)
    }
    writer.endArray()
    return writer.bytes
  }

  private static func json(_ series: ArraySlice<SeriesSamples>) -> [UInt8] {
    var writer = JSONWriter(reserving: series.count * 512)
    writer.beginArray()
    for samples in series {
      let encoder = TelemetryRowEncoder(samples.labels)
      for (timestamp, value) in zip(samples.timestamps, samples.values) {
        encoder.appendJSON(Timestamp(milliseconds: timestamp), value, to: &writer)
      }
    }
    writer.endArray()
    return writer.bytes
  }

  private static func text(_ series: ArraySlice<SeriesSamples>) -> [UInt8] {
    var writer = ExpositionWriter()
    for samples in series {
      for (timestamp, value) in zip(samples.timestamps, samples.values) {
        writer.append(samples.labels, value, Timestamp(milliseconds: timestamp))
      }
    }
    return writer.finish()
  }

  /// Halves the series until each part fits; nil when a single one does not.
  static func split(
    _ series: ArraySlice<SeriesSamples>, _ bytesMax: Int, _ encode: (ArraySlice<SeriesSamples>) -> [UInt8]
  ) -> [[UInt8]]? {
    if series.isEmpty { return [] }
    let bytes = encode(series)
    if bytes.count <= bytesMax { return [bytes] }
    guard series.count > 1 else { return nil }
    let middle = series.startIndex + series.count / 2
    guard let left = split(series[..<middle], bytesMax, encode), let right = split(series[middle...], bytesMax, encode)
    else { return nil }
    return left + right
  }

  /// A scrape as one sample for each of its series.
  static func samples(of scrape: Scrape) -> [SeriesSamples] {
    scrape.set.series.indices.compactMap { index in
      if let absent = scrape.absent, absent[index] { return nil }
      return SeriesSamples(
        labels: scrape.set.series[index], timestamps: [scrape.timestamp.milliseconds], values: [scrape.values[index]])
    }
  }
}
