import ApusFormats
import ApusModel

extension FuzzTarget {
  /// Records one after another, each behind a length of two bytes; sets that were decoded are known to those behind.
  /// What was decoded must encode to something that decodes to the same.
  static let scrapeRecord = FuzzTarget("scrape-record", bytesMax: 4096) { bytes in
    var sets: [SeriesSetID: SeriesSet] = [:]
    var position = 0
    while position + 2 <= bytes.count {
      let length = Int(bytes[position]) | Int(bytes[position + 1]) << 8
      let end = min(position + 2 + length, bytes.count)
      let record = UnsafeRawBufferPointer(rebasing: bytes[position + 2..<end])
      position = end
      let header = ScrapeRecord.peek(record)
      guard let decoded = try? ScrapeRecord.decode(record, sets: { sets[$0] }) else { continue }
      precondition(header != nil, "a record was decoded whose head cannot be read")
      switch decoded {
      case .unknownSet: break
      case .set(let set):
        precondition(header?.setID == set.id, "the head names another set")
        for labels in set.series { checkLabels(labels) }
        guard case .set(let back)? = again(ScrapeRecord.encode(set: set), sets),
          back.series == set.series, back.descriptors == set.descriptors
        else { preconditionFailure("a set is not the same after it was written") }
        sets[set.id] = set
      case .scrape(let scrape):
        let bytes = ScrapeRecord.encode(scrape, setOffset: header?.setOffset ?? -1)
        precondition(bytes.elementsEqual(record), "a scrape is not the same after it was written")
      case .samples(let samples):
        for series in samples { checkLabels(series.labels) }
        guard case .samples(let back)? = again(ScrapeRecord.encode(samples: samples), sets),
          counted([], back) == counted([], samples)
        else { preconditionFailure("samples are not the same after they were written") }
      }
    }
  }

  private static func again(_ bytes: [UInt8], _ sets: [SeriesSetID: SeriesSet]) -> ScrapeRecord.Decoded? {
    bytes.withUnsafeBytes { bytes in try? ScrapeRecord.decode(bytes) { sets[$0] } }
  }
}
