import ApusFormats
import ApusModel

/// Series without a common instant as records of the log: requests of remote write 1.0, as docs/format/records.md says.
package enum LaneRecords {
  /// The items for some series; several where one record would be larger than `bytesMax`.
  ///
  /// - Parameter key: what keeps the records of one series in one partition, and so in order.
  package static func items(
    _ series: [SeriesSamples], descriptors: [MetricDescriptor] = [], key: [UInt8], bytesMax: Int
  ) -> [TelemetryItem] {
    var result: [TelemetryItem] = []
    var encoder = RemoteWriteEncoder()
    append(series[...], descriptors, key, bytesMax, &encoder, &result)
    return result
  }

  /// Halves the series until each part fits. A series that alone is too large keeps its size and is refused later.
  private static func append(
    _ series: ArraySlice<SeriesSamples>, _ descriptors: [MetricDescriptor], _ key: [UInt8], _ bytesMax: Int,
    _ encoder: inout RemoteWriteEncoder, _ result: inout [TelemetryItem]
  ) {
    if series.isEmpty, descriptors.isEmpty { return }
    if series.count > 1, estimate(series) > bytesMax {
      let middle = series.startIndex + series.count / 2
      append(series[..<middle], descriptors, key, bytesMax, &encoder, &result)
      append(series[middle...], [], key, bytesMax, &encoder, &result)
      return
    }
    if let only = series.first, series.count == 1, only.values.count > 1, estimate(series) > bytesMax {
      let middle = only.values.count / 2
      for range in [0..<middle, middle..<only.values.count] {
        let part = SeriesSamples(
          labels: only.labels, timestamps: Array(only.timestamps[range]), values: Array(only.values[range]))
        append([part], range.lowerBound == 0 ? descriptors : [], key, bytesMax, &encoder, &result)
      }
      return
    }
    let bytes = encoder.encode(Array(series), descriptors: descriptors)
    let samples = series.reduce(0) { $0 + $1.values.count }
    result.append(
      TelemetryItem(
        key: key,
        content: .encoded(TelemetryItem.EncodedValue(bytes: bytes, type: .remoteWrite, sampleCount: samples))))
  }

  /// What some series take at most: a sample up to 22 bytes, a label its own bytes and 8 more.
  private static func estimate(_ series: ArraySlice<SeriesSamples>) -> Int {
    series.reduce(0) { $0 + 16 + 3 * $1.labels.bytes.count + 22 * $1.values.count }
  }
}
