import ApusFormats
import ApusIO
import ApusModel

/// Writes the value of a record in the streamer's encoding. Pure.
struct RecordValueEncoder {
  let encoding: Encoding

  init(encoding: Encoding) { self.encoding = encoding }

  /// The records that an item becomes: one, or a few where one would be larger than `bytesMax`. Nil when it cannot be
  /// written within that bound at all.
  ///
  /// - Parameters:
  ///   - setOffset: where a scrape's set lies; used by frames.
  ///   - asSamples: write a scrape series by series, without a set; used by frames.
  mutating func encode(_ item: TelemetryItem, setOffset: Int64, asSamples: Bool, bytesMax: Int) -> [[UInt8]]? {
    switch (encoding, item.content) {
    case (.frame, .scrape(let scrape)) where !asSamples:
      let size = ScrapeRecord.encodedSize(of: scrape)
      return size <= bytesMax ? [ScrapeRecord.encode(scrape, setOffset: setOffset)] : nil
    case (.frame, .scrape(let scrape)):
      return split(RecordValueEncoder.samples(of: scrape)[...], bytesMax) { ScrapeRecord.encode(samples: Array($0)) }
    case (.frame, .samples(let series)):
      return split(series[...], bytesMax) { ScrapeRecord.encode(samples: Array($0)) }
    case (.json, _), (.text, _):
      return nil
    }
  }

  /// Halves the series until each part fits; nil when a single one does not.
  private func split(
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
