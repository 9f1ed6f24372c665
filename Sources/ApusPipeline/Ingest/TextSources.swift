import ApusFormats
import ApusModel
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The sources of pushed text pages, each with the parser that knows its last page.
///
/// A page belongs to the source that its request names (`X-Apus-Source`, else the query) and, within that, to the one whose
/// pages begin with the same series: so the pages of many hosts may come over one connection in any order, and those of
/// one host over any connection. The sources used least recently are forgotten when a bound is reached, which costs a
/// full parse of their next page and nothing else.
package final class TextSources: Sendable {
  package struct Bounds: Hashable, Sendable {
    package var sources = 10_000
    /// Of what the parsers keep.
    package var bytes = 128 << 20

    package init() {}
  }

  /// How the pages of a source are to be read; a part of its name.
  package struct Name: Hashable, Sendable {
    /// `X-Apus-Source`, or empty.
    package var source: String
    package var format: ExpositionFormat
    /// Labels that every series gets unless it has them itself.
    package var extraLabels: [ExtraLabel]

    package struct ExtraLabel: Hashable, Sendable {
      package var name: String
      package var value: String

      package init(name: String, value: String) {
        self.name = name
        self.value = value
      }
    }

    package init(source: String, format: ExpositionFormat, extraLabels: [ExtraLabel]) {
      self.source = source
      self.format = format
      self.extraLabels = extraLabels
    }
  }

  private struct Key: Hashable {
    var name: Name
    var firstSeries: [UInt8]
  }

  /// What is known of one source's last page. Two pages of one source are read one after the other.
  private struct Page {
    var parser: ExpositionParser
    /// Nil for a source that nobody named: its pages may be of anything, and say nothing of what they leave out.
    var staleness: StalenessTracker?
  }

  private final class Source: Sendable {
    let page: Mutex<Page>

    init(_ name: Name) {
      page = Mutex(
        Page(
          parser: ExpositionParser(TextSources.configuration(of: name)),
          staleness: name.source.isEmpty ? nil : StalenessTracker()))
    }
  }

  private struct Entry {
    var source: Source
    var lastUse: UInt64
    var bytes = 0
  }

  private struct State {
    var entries: [Key: Entry] = [:]
    var bytes = 0
    var uses: UInt64 = 0
  }

  private let bounds: Bounds
  private let state = Mutex(State())

  package init(bounds: Bounds = Bounds()) { self.bounds = bounds }

  /// How many sources are known, and what their parsers keep.
  package var level: (sources: Int, bytes: Int) { state.withLock { ($0.entries.count, $0.bytes) } }

  /// Reads a page; `now` is the time of lines that have none of their own. Where the source has a name, the series that
  /// its last page had and this one has not get stale markers at that time, and `markers` says how many; lines with times
  /// of their own are left out of it.
  package func parse(
    _ page: UnsafeRawBufferPointer, of name: Name, now: Timestamp
  ) -> (result: ExpositionResult, markers: Int) {
    let key = Key(name: name, firstSeries: TextSources.firstSeries(page))
    let source = state.withLock { state -> Source in
      state.uses += 1
      if let index = state.entries.index(forKey: key) {
        state.entries.values[index].lastUse = state.uses
        return state.entries.values[index].source
      }
      let source = Source(name)
      state.entries[key] = Entry(source: source, lastUse: state.uses)
      return source
    }
    let (result, markers, bytes) = source.page.withLock { known in
      var result = known.parser.parse(page, now: now)
      // A page with lines that cannot be read does not say what has gone.
      let isWhole = result.errorCount == 0
      let markers = isWhole ? known.staleness?.mark(&result.scrapes, &result.samples, at: now) ?? 0 : 0
      return (result, markers, known.parser.byteCount + (known.staleness?.byteCount ?? 0))
    }
    state.withLock { state in
      guard let index = state.entries.index(forKey: key), state.entries.values[index].source === source else { return }
      let more = bytes + key.firstSeries.count + 512 - state.entries.values[index].bytes
      if more == 0 { return }
      state.entries.values[index].bytes += more
      state.bytes += more
      if state.entries.count > bounds.sources || state.bytes > bounds.bytes { forgetOldest(&state) }
    }
    return (result, markers)
  }

  private static func configuration(of name: Name) -> ExpositionParser.Configuration {
    var configuration = ExpositionParser.Configuration(format: name.format)
    configuration.extraLabels = name.extraLabels.map { ($0.name, $0.value) }
    configuration.cutsByHost = true
    // A push may hold an hour of a source; each instant is a scrape, however many there are.
    configuration.scrapesMax = .max
    configuration.errorsListedMax = IngestProblems.keptMax
    return configuration
  }

  /// Forgets until both bounds are kept with a tenth to spare, so that a churn of sources does not sort at every one.
  private func forgetOldest(_ state: inout State) {
    let order = state.entries.sorted { $0.value.lastUse < $1.value.lastUse }
    for (key, entry) in order {
      if state.entries.count <= bounds.sources / 10 * 9, state.bytes <= bounds.bytes / 10 * 9 { return }
      state.entries[key] = nil
      state.bytes -= entry.bytes
    }
  }

  /// The name and labels of a page's first sample line, as they are written; at most so many bytes of them.
  private static let firstSeriesMax = 1024

  static func firstSeries(_ page: UnsafeRawBufferPointer) -> [UInt8] {
    guard let base = page.baseAddress else { return [] }
    var start = 0
    while start < page.count {
      let found = memchr(base + start, 0x0a, page.count - start)
      let end = found.map { base.distance(to: UnsafeRawPointer($0)) } ?? page.count
      var first = start
      while first < end, page[first] == 0x20 || page[first] == 0x09 || page[first] == 0x0d { first += 1 }
      if first < end, page[first] != UInt8(ascii: "#") { return series(page, first, min(end, first + firstSeriesMax)) }
      start = end + 1
    }
    return []
  }

  /// Up to the brace that closes the labels, or the first blank outside of them.
  private static func series(_ page: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> [UInt8] {
    var position = start
    var isQuoted = false
    var hasLabels = false
    while position < end {
      let byte = page[position]
      if isQuoted {
        if byte == UInt8(ascii: "\\") {
          position += 1
        } else if byte == UInt8(ascii: "\"") {
          isQuoted = false
        }
      } else if byte == UInt8(ascii: "\"") {
        isQuoted = true
      } else if byte == UInt8(ascii: "{") {
        hasLabels = true
      } else if byte == UInt8(ascii: "}") || (!hasLabels && (byte == 0x20 || byte == 0x09)) {
        break
      }
      position += 1
    }
    return [UInt8](page[start..<min(position, end)])
  }
}
