/// The name of a series set: a 128-bit hash of its content (docs/format/records.md, "Set identity").
package struct SeriesSetID: Hashable, Sendable {
  package var high: UInt64
  package var low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }
}

extension SeriesSetID: CustomStringConvertible {
  package var description: String {
    func hex(_ word: UInt64) -> String {
      let digits = String(word, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }
    return hex(high) + hex(low)
  }
}

/// The ordered list of series that one source reports at one instant, scrape after scrape.
///
/// Immutable and shared by reference: a scrape points at its set, so that the labels of a few hundred series are stored
/// once for as long as the source's list does not change. Two sets with the same ordered list have the same `id`.
package final class SeriesSet: Sendable {
  package let id: SeriesSetID
  /// The series, in the order of a scrape's values. No series occurs twice.
  package let series: [Labels]
  /// What is known of the metrics in the set (type, help, unit). Not part of the identity.
  package let descriptors: [MetricDescriptor]

  /// Computes the identity. Cost: one pass over all labels.
  /// - Precondition: no series occurs twice; parsers and decoders check that before they come here.
  package init(series: [Labels], descriptors: [MetricDescriptor] = []) {
    self.series = series
    self.descriptors = descriptors
    var hash = ContentHash()
    hash.add(UInt64(series.count))
    for labels in series {
      hash.add(UInt64(labels.bytes.count))
      labels.bytes.withUnsafeBytes { hash.add($0) }
    }
    id = hash.finish()
  }

  package var count: Int { series.count }
}

extension SeriesSet: Equatable {
  package static func == (left: SeriesSet, right: SeriesSet) -> Bool { left.id == right.id }
}
