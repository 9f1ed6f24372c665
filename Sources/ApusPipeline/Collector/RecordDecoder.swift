import ApusBroker
import ApusFormats
import ApusModel
import ApusStore

/// Reads the records of one partition: tells their content types apart and keeps the series sets it has met. Pure.
struct RecordDecoder: ~Copyable {
  enum Result {
    /// A set's definition: nothing for the store.
    case set(SeriesSetID)
    case content(StoreBatch.Item.Content)
    /// What a value held; `problem` says why a part of it could not be used.
    case several(RecordValueDecoder.Value)
    /// The record cannot be read before this set is known; a copy of it may be at the offset (-1: not told).
    case unknownSet(SeriesSetID, offset: Int64)
    case invalid(reason: String)
  }

  /// The most sets to keep; beyond it the ones unused for longest are forgotten and fetched again when met.
  static let setsMax = 50_000

  private struct Known {
    var set: SeriesSet
    var lastUse: UInt64
  }

  private var sets: [SeriesSetID: Known] = [:]
  private var uses: UInt64 = 0
  private var values = RecordValueDecoder()

  func knows(_ id: SeriesSetID) -> Bool { sets[id] != nil }

  /// Reads one record's value. `key` tells sources of text apart, whose pages repeat themselves.
  mutating func decode(
    _ value: UnsafeRawBufferPointer?, contentType: UnsafeRawBufferPointer?, key: UnsafeRawBufferPointer?,
    timestamp: Int64
  ) -> Result {
    guard let value else { return .invalid(reason: "the record has no value") }
    let type: ContentType
    if let contentType {
      guard let known = ContentType(headerValue: contentType) else {
        let text = String(decoding: contentType.prefix(100), as: UTF8.self)
        return .invalid(reason: "the content type \"\(text)\" is not known")
      }
      type = known
    } else {
      type = .json
    }
    if type == .scrape { return decodeScrape(value) }
    do throws(FormatError) {
      let read = try values.decode(value, type: type, key: key, timestamp: timestamp)
      if read.contents.isEmpty, let problem = read.problem { return .invalid(reason: problem) }
      return .several(read)
    } catch { return .invalid(reason: error.description) }
  }

  /// Reads a record that is known to be of the columnar kind.
  mutating func decodeScrape(_ value: UnsafeRawBufferPointer) -> Result {
    uses += 1
    let decoded: ScrapeRecord.Decoded
    do throws(FormatError) {
      decoded = try ScrapeRecord.decode(value) { use($0) }
    } catch { return .invalid(reason: error.description) }
    switch decoded {
    case .set(let set):
      remember(set)
      return .set(set.id)
    case .scrape(let scrape): return .content(.scrape(scrape))
    case .samples(let samples): return .content(.samples(samples))
    case .unknownSet(let id, let offset): return .unknownSet(id, offset: offset)
    }
  }

  private mutating func use(_ id: SeriesSetID) -> SeriesSet? {
    guard let index = sets.index(forKey: id) else { return nil }
    sets.values[index].lastUse = uses
    return sets.values[index].set
  }

  private mutating func remember(_ set: SeriesSet) {
    // A copy of a known set is dropped, so that all scrapes of a set share one object.
    if use(set.id) != nil { return }
    if sets.count >= RecordDecoder.setsMax {
      for (id, _) in sets.sorted(by: { $0.value.lastUse < $1.value.lastUse }).prefix(RecordDecoder.setsMax / 10) {
        sets[id] = nil
      }
    }
    sets[set.id] = Known(set: set, lastUse: uses)
  }
}
