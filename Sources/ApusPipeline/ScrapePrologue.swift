import ApusBroker
import ApusFormats
import ApusModel

/// Repeats the series sets that are in use at the start of each segment of a telemetry topic, so that a segment can be
/// read when those before it are gone.
///
/// A set is in use when a scrape named it since its last copy, or within the last `ageMaxMilliseconds` by the records'
/// timestamps. A set that builds on others comes after them.
package struct ScrapePrologue: SegmentPrologue {
  /// Twice the time after which a streamer repeats its sets.
  package static let ageMaxMilliseconds: Int64 = 600_000
  /// The most sets, and bytes of their definitions, that are kept; beyond it those unused for longest are forgotten.
  package static let setsMax = 50_000
  package static let bytesMax = 64 << 20

  private struct Definition {
    var key: [UInt8]?
    var value: [UInt8]
    var base: SeriesSetID?
    /// Numbers the records seen.
    var lastUse: UInt64
    var lastUseTime: Int64
    var usesSinceCopy = 0
  }

  private static let headers = [
    RecordHeader(name: ContentType.headerName, value: ContentType.scrape.headerValue)
  ]

  private var definitions: [SeriesSetID: Definition] = [:]
  private var bytes = 0
  private var seen: UInt64 = 0

  package init() {}

  package mutating func observe(_ batch: RecordBatch) {
    do {
      try batch.forEachRecord { observe($0) }
    } catch {
      // The log has checked the batch; one that cannot be walked over has no set that a reader could find either.
    }
  }

  private mutating func observe(_ record: borrowing RecordView) {
    guard let value = record.value, let type = record.header("content-type"),
      type.elementsEqual(ContentType.scrape.rawValue.utf8), let header = ScrapeRecord.peek(value), let id = header.setID
    else { return }
    seen += 1
    if header.kind == .scrape {
      guard let index = definitions.index(forKey: id) else { return }
      definitions.values[index].lastUse = seen
      definitions.values[index].lastUseTime = record.timestamp
      definitions.values[index].usesSinceCopy += 1
      return
    }
    if let index = definitions.index(forKey: id) {
      // The same set, whole or as an addition: the copy that is there will do.
      definitions.values[index].usesSinceCopy = 0
      return
    }
    definitions[id] = Definition(
      key: record.key.map { [UInt8]($0) }, value: [UInt8](value), base: header.baseID, lastUse: seen,
      lastUseTime: record.timestamp)
    bytes += value.count
    if definitions.count > ScrapePrologue.setsMax || bytes > ScrapePrologue.bytesMax { forgetOldest() }
  }

  package func records(now: Int64) -> [Record] {
    var records: [Record] = []
    var written: Set<SeriesSetID> = []
    let live = definitions.filter { isLive($0.value, now: now) }
    for (id, _) in live.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
      for member in chain(of: id) where written.insert(member).inserted {
        guard let definition = definitions[member] else { continue }
        records.append(
          Record(
            timestamp: now, key: definition.key, value: definition.value, headers: ScrapePrologue.headers))
      }
    }
    return records
  }

  private func isLive(_ definition: Definition, now: Int64) -> Bool {
    definition.usesSinceCopy > 0 || abs(now - definition.lastUseTime) <= ScrapePrologue.ageMaxMilliseconds
  }

  /// The set and those that it builds on, the first of them first.
  private func chain(of id: SeriesSetID) -> [SeriesSetID] {
    var chain = [id]
    while let base = definitions[chain[chain.count - 1]]?.base, !chain.contains(base) { chain.append(base) }
    return chain.reversed()
  }

  private mutating func forgetOldest() {
    let order = definitions.sorted { $0.value.lastUse < $1.value.lastUse }
    for (id, definition) in order.prefix(max(1, order.count / 10)) {
      bytes -= definition.value.count
      definitions[id] = nil
    }
  }
}
