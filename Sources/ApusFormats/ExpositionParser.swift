#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif
import ApusIO
import ApusModel

/// Reads the pages of one source: Prometheus' text exposition, version 0.0.4, and OpenMetrics 1.0.
///
/// An exporter repeats its page with other values, so the parser keeps how the last page was laid out. Where a line has
/// the bytes of last time before its value, its series is known by its place, with no label read and nothing hashed;
/// where it has not, that line is parsed in full, and the parser finds its place again behind it. Both ways give the
/// same result. A source is a scrape target, the `X-Apus-Source` header of a push, or its connection and query.
///
/// Lines that share a timestamp form a scrape; lines without one take the time of the page. A line that is rejected
/// costs only itself. A page without samples says nothing of the series: dcgm-exporter answers so while it reloads.
///
/// Cost: about 30 ns a sample where the page matches, none of it an allocation. Memory: about two pages.
package struct ExpositionParser: Sendable {
  package struct Configuration: Sendable {
    package var format: ExpositionFormat
    /// Labels that every series gets unless it has them itself, such as `instance` and `job`.
    package var extraLabels: [(name: String, value: String)] = []
    /// DCGM's blanks are no values: integers from 9223372036854775792 on, the four 32-bit blanks (2147483632 to
    /// 2147483635), and numbers with a point from 140737488355328.0 on. Such a sample is absent.
    package var dropsBlanks = false
    package var lineBytesMax = 64 * 1024
    package var seriesMax = FormatLimits.seriesPerSet
    /// Rejected lines that are listed one by one; all are counted.
    package var errorsListedMax = 16
    /// Fewer lines than this that share a timestamp are no scrape, unless all of the page's do.
    package var scrapeLinesMin = 8
    /// Scrapes made of one page; lines with other timestamps go to the per-series lane.
    package var scrapesMax = 64
    /// A page may be of many hosts (a push that collects them): each host's lines become scrapes of their own, so that
    /// a change on one host makes no new set of the others, and `ExpositionResult.hosts` names them.
    package var cutsByHost = false

    package init(format: ExpositionFormat = .text) { self.format = format }
  }

  package var configuration: Configuration
  var layout = PageLayout()
  /// The last layout holds a series twice, which only pages with timestamps may.
  var layoutHasRepeats = false
  private var index: [UInt64: Int32]?
  var directory = SeriesDirectory()
  /// One for each host that is cut out (by its number), one for all that is not.
  var keepers: [Int32: SetKeeper] = [:]
  var hosts = HostDirectory()
  /// The host of all series of the last layout, where it is one.
  var layoutHost: Int32? = HostDirectory.none
  var families = MetricFamilies()
  /// By series number: the last `generation` in which the series had a sample.
  var stamps: [UInt32] = []
  var generation: UInt32 = 0
  private var parts: [ExpositionLine.LabelPart] = []

  package init(_ configuration: Configuration = Configuration()) {
    self.configuration = configuration
  }

  /// Sets made for this source so far, for a metric.
  package var setsMade: Int { keepers.values.reduce(0) { $0 + $1.setsMade } }

  /// What the parser keeps in memory, roughly: the last page's bytes, and the labels of its series.
  package var byteCount: Int {
    layout.bytes.count + 20 * layout.count + directory.labelBytes + 160 * directory.count
      + (index == nil ? 0 : 32 * layout.count)
  }

  /// Parses a page; `now` is the time of the lines that have none of their own.
  package mutating func parse(_ page: UnsafeRawBufferPointer, now: Timestamp) -> ExpositionResult {
    var scan = PageScan(now: now.milliseconds)
    guard page.count <= Int(Int32.max) else {
      scan.result.errorCount = 1
      scan.result.errors = [LineError(line: 1, column: 1, reason: .pageTooLarge)]
      return scan.result
    }
    forgetWhenOutgrown()
    beginGeneration()
    while scan.position < page.count {
      if !scan.isChanged, !scan.hasEnd, scan.entry < layout.count {
        if scan.times == nil {
          if !layoutHasRepeats { runByPlace(page, &scan) }
        } else if configuration.format == .text, !configuration.dropsBlanks {
          runByPlaceAndTime(page, &scan)
        }
        if scan.position == page.count { break }
      }
      step(page, &scan)
    }
    if configuration.format == .openMetrics, !scan.hasEnd {
      reject(page, LineFault(reason: .missingEnd, position: page.count), &scan)
    }
    finish(page, &scan)
    return scan.result
  }

  package mutating func parse(_ page: [UInt8], now: Timestamp) -> ExpositionResult {
    page.withUnsafeBytes { parse($0, now: now) }
  }
}

/// How far a page has been read.
struct PageScan {
  let now: Int64
  var position = 0
  /// The entry of the last layout that is expected next.
  var entry = 0
  /// The page differs from the last one, so a new layout is being made. Until then sample n is entry n.
  var isChanged = false
  var layout = PageLayout()
  var hasRepeats = false
  /// Where the bytes of the next sample's layout entry begin.
  var segmentStart = 0
  /// The values in the order of the page.
  var values: [Double] = []
  /// The indices of values that are blank.
  var blanks: [Int] = []
  /// Each sample's time, and where its line begins, once any line has had a time of its own.
  var times: [Int64]?
  var lines: [Int] = []
  /// `# EOF` has been seen.
  var hasEnd = false
  var result = ExpositionResult()

  init(now: Int64) { self.now = now }
}

extension ExpositionParser {
  /// The lines that are as last time but for their values, as many as there are in a row.
  private func runByPlace(_ page: UnsafeRawBufferPointer, _ scan: inout PageScan) {
    let room = layout.count - scan.entry
    let dropsBlanks = configuration.dropsBlanks
    let lineBytesMax = configuration.lineBytesMax
    var position = scan.position
    withUnsafeTemporaryAllocation(of: Double.self, capacity: room) { values in
      var count = 0
      let first = scan.entry
      layout.bytes.withUnsafeBytes { bytes in
        layout.entries.withUnsafeBufferPointer { entries in
          guard let known = bytes.baseAddress, let start = page.baseAddress else { return }
          while count < room {
            let entry = entries[first + count]
            let length = Int(entry.length)
            guard length < page.count - position,
              memcmp(known + Int(entry.start), start + position, length) == 0
            else { return }
            var end = position + length
            let valueStart = end
            guard let value = DecimalNumber.scan(page, &end), end < page.count, page[end] == UInt8(ascii: "\n") else {
              return
            }
            guard end - position - Int(entry.prefix) <= lineBytesMax else { return }
            // The smallest blank: one comparison for nearly all values.
            if dropsBlanks, value >= DCGMBlank.smallest, DCGMBlank.isBlank(value, page, valueStart, end) { return }
            values[count] = value
            count += 1
            position = end + 1
          }
        }
      }
      scan.values.append(contentsOf: values[..<count])
      scan.entry += count
      scan.result.matchedCount += count
    }
    if position > scan.position {
      scan.position = position
      scan.segmentStart = position
    }
  }

  /// As `runByPlace`, where every line has a time of its own: a value, one blank, digits, a line feed.
  private func runByPlaceAndTime(_ page: UnsafeRawBufferPointer, _ scan: inout PageScan) {
    let room = layout.count - scan.entry
    let lineBytesMax = configuration.lineBytesMax
    let first = scan.entry
    var position = scan.position
    var count = 0
    withUnsafeTemporaryAllocation(of: Double.self, capacity: room) { values in
      withUnsafeTemporaryAllocation(of: Int64.self, capacity: room) { times in
        withUnsafeTemporaryAllocation(of: Int.self, capacity: room) { lines in
          layout.bytes.withUnsafeBytes { bytes in
            layout.entries.withUnsafeBufferPointer { entries in
              guard let known = bytes.baseAddress, let start = page.baseAddress else { return }
              while count < room {
                let entry = entries[first + count]
                let length = Int(entry.length)
                guard length < page.count - position,
                  memcmp(known + Int(entry.start), start + position, length) == 0
                else { return }
                var end = position + length
                guard let value = DecimalNumber.scan(page, &end), end < page.count, page[end] == UInt8(ascii: " ")
                else { return }
                end += 1
                let timeStart = end
                var time: Int64 = 0
                while end < page.count, page[end] &- 0x30 < 10, end - timeStart < 18 {
                  time = time &* 10 &+ Int64(page[end] &- 0x30)
                  end += 1
                }
                guard end > timeStart, end < page.count, page[end] == UInt8(ascii: "\n"),
                  end - position - Int(entry.prefix) <= lineBytesMax
                else { return }
                values[count] = value
                times[count] = time
                lines[count] = position + Int(entry.prefix)
                count += 1
                position = end + 1
              }
            }
          }
          scan.lines.append(contentsOf: lines[..<count])
        }
        scan.times?.append(contentsOf: times[..<count])
      }
      scan.values.append(contentsOf: values[..<count])
    }
    scan.entry += count
    scan.result.matchedCount += count
    if position > scan.position {
      scan.position = position
      scan.segmentStart = position
    }
  }

  /// One line, in whichever way it can be read.
  private mutating func step(_ page: UnsafeRawBufferPointer, _ scan: inout PageScan) {
    if scan.hasEnd {
      reject(page, LineFault(reason: .textBehindEnd, position: scan.position), &scan)
      scan.position = page.count
      return
    }
    if stepByPlace(page, &scan) { return }
    let start = scan.position
    let (end, next) = endOfLine(page, from: start)
    let line = ExpositionLine(page: page, end: end, format: configuration.format)
    scan.position = next
    let first = line.skipBlanks(start)
    if first == end { return }
    do throws(LineFault) {
      guard end - start <= configuration.lineBytesMax else { throw LineFault(reason: .lineTooLong, position: start) }
      if page[first] == UInt8(ascii: "#") {
        scan.hasEnd = try line.scanComment(from: first, into: &families)
        return
      }
      // The last line of a page that was cut off may have lost digits.
      if configuration.format == .openMetrics, next == page.count, page[page.count - 1] != UInt8(ascii: "\n") {
        throw LineFault(reason: .missingEnd, position: end)
      }
      let (name, valueStart) = try line.scanKey(from: start, into: &parts)
      let tail = try line.scanTail(from: valueStart)
      markChanged(&scan)
      let key = UnsafeRawBufferPointer(rebasing: page[start..<valueStart])
      let number: Int32
      if let found = find(key) {
        number = layout.series[found]
        scan.entry = found + 1
      } else {
        let labels = try line.labels(name, parts, extra: configuration.extraLabels)
        number = directory.number(of: labels)
      }
      try accept(page, number, tail, lineStart: start, valueStart: valueStart, &scan)
    } catch {
      reject(page, error, &scan)
    }
    scan.segmentStart = next
  }

  /// The line that is expected next, where it needs more than `runByPlace` does: comments that changed before it, a
  /// timestamp, a value in words. False where the line is another one.
  private mutating func stepByPlace(_ page: UnsafeRawBufferPointer, _ scan: inout PageScan) -> Bool {
    guard scan.entry < layout.count else { return false }
    let start = scan.position
    var lineStart = start
    let isWhole = layout.matches(scan.entry, page, at: start)
    if isWhole {
      lineStart += Int(layout.entries[scan.entry].prefix)
    } else if !layout.matchesKey(scan.entry, page, at: start) {
      return false
    }
    let valueStart = lineStart + layout.keyLength(scan.entry)
    // A blank or a brace here shows that the name and the labels go on.
    guard valueStart < page.count, !ExpositionLine.isBlank(page[valueStart]), page[valueStart] != UInt8(ascii: "{")
    else { return false }
    let (end, next) = endOfLine(page, from: valueStart)
    guard end - lineStart <= configuration.lineBytesMax else { return false }
    if configuration.format == .openMetrics, next == page.count, page[page.count - 1] != UInt8(ascii: "\n") {
      return false
    }
    let line = ExpositionLine(page: page, end: end, format: configuration.format)
    // Nothing but what stood there last time stands between the last sample and this one.
    let isAsBefore = isWhole && scan.segmentStart == start
    let number = layout.series[scan.entry]
    scan.position = next
    do throws(LineFault) {
      let tail = try line.scanTail(from: valueStart)
      if !isAsBefore { markChanged(&scan) }
      try accept(page, number, tail, lineStart: lineStart, valueStart: valueStart, &scan)
      scan.result.matchedCount += 1
      scan.entry += 1
    } catch {
      // The place of the line is empty on this page.
      markChanged(&scan)
      scan.entry += 1
      reject(page, error, &scan)
    }
    scan.segmentStart = next
    return true
  }

  /// Takes in a sample, or finds that the series has one already.
  private mutating func accept(
    _ page: UnsafeRawBufferPointer, _ number: Int32, _ tail: ExpositionLine.Tail, lineStart: Int, valueStart: Int,
    _ scan: inout PageScan
  ) throws(LineFault) {
    guard scan.values.count < configuration.seriesMax else {
      throw LineFault(reason: .tooManySeries, position: lineStart)
    }
    if let timestamp = tail.timestamp, scan.times == nil {
      scan.times = [Int64](repeating: scan.now, count: scan.values.count)
      scan.lines = [Int](repeating: 0, count: scan.values.count)
      scan.times?.reserveCapacity(layout.count)
      scan.times?.append(timestamp)
      scan.lines.append(lineStart)
    } else if scan.times != nil {
      scan.times?.append(tail.timestamp ?? scan.now)
      scan.lines.append(lineStart)
    }
    let isRepeat = isRepeated(number, &scan)
    if isRepeat, scan.times == nil { throw LineFault(reason: .duplicateSample, position: lineStart) }
    let isBlank =
      configuration.dropsBlanks && tail.value >= DCGMBlank.smallest
      && DCGMBlank.isBlank(tail.value, page, valueStart, tail.valueEnd)
    if isBlank {
      scan.blanks.append(scan.values.count)
      scan.result.blankCount += 1
    }
    scan.values.append(isBlank ? 0 : tail.value)
    if scan.isChanged {
      let segment = UnsafeRawBufferPointer(rebasing: page[scan.segmentStart..<valueStart])
      scan.layout.append(segment, prefix: lineStart - scan.segmentStart, series: number)
      if isRepeat { scan.hasRepeats = true }
    }
  }

  /// Whether the series has had a sample on this page. While the page is as the last one, places tell series apart.
  private mutating func isRepeated(_ number: Int32, _ scan: inout PageScan) -> Bool {
    guard scan.isChanged || layoutHasRepeats else { return false }
    let slot = Int(number)
    if slot >= stamps.count { stamps += [UInt32](repeating: 0, count: max(directory.count, slot + 1) - stamps.count) }
    defer { stamps[slot] = generation }
    return stamps[slot] == generation
  }

  /// From here on the page is not as the last one, and makes a layout of its own.
  private mutating func markChanged(_ scan: inout PageScan) {
    guard !scan.isChanged else { return }
    scan.isChanged = true
    scan.layout = PageLayout(layout, prefix: scan.entry)
    scan.hasRepeats = layoutHasRepeats
    if stamps.count < directory.count { stamps += [UInt32](repeating: 0, count: directory.count - stamps.count) }
    for number in scan.layout.series { stamps[Int(number)] = generation }
  }

  /// The entry of the last layout with these bytes of name and labels.
  private mutating func find(_ key: UnsafeRawBufferPointer) -> Int? {
    if layout.count == 0 { return nil }
    let index = self.index ?? layout.makeIndex()
    self.index = index
    guard let found = index[KeyHash.hash(key)] else { return nil }
    let entry = Int(found)
    return layout.keyLength(entry) == key.count && layout.matchesKey(entry, key, at: 0) ? entry : nil
  }

  private func endOfLine(_ page: UnsafeRawBufferPointer, from start: Int) -> (end: Int, next: Int) {
    guard let base = page.baseAddress else { return (start, start) }
    var end = page.count
    var next = page.count
    if let found = memchr(base + start, 0x0a, page.count - start) {
      end = base.distance(to: UnsafeRawPointer(found))
      next = end + 1
    }
    // A carriage return before the line feed is let pass.
    if end > start, page[end - 1] == 0x0d { end -= 1 }
    return (end, next)
  }

  func reject(_ page: UnsafeRawBufferPointer, _ fault: LineFault, _ scan: inout PageScan) {
    scan.result.errorCount += 1
    guard scan.result.errors.count < configuration.errorsListedMax else { return }
    var line = 1
    var lineStart = 0
    for position in 0..<fault.position where page[position] == 0x0a {
      line += 1
      lineStart = position + 1
    }
    scan.result.errors.append(LineError(line: line, column: fault.position - lineStart + 1, reason: fault.reason))
  }
}

extension ExpositionParser {
  /// Keeps the page's layout for the next one, and makes scrapes of what was read.
  private mutating func finish(_ page: UnsafeRawBufferPointer, _ scan: inout PageScan) {
    // No data is not the same as no series.
    guard !scan.values.isEmpty else { return }
    if scan.entry < layout.count { markChanged(&scan) }
    if scan.isChanged {
      layout = scan.layout
      layoutHasRepeats = scan.hasRepeats
      index = nil
      layoutHost = configuration.cutsByHost ? hosts.common(to: layout.series, directory) : HostDirectory.none
    }
    cut(page, &scan)
  }

  /// A source that keeps changing its series would be remembered without bound: when four times as many are known as
  /// its page has, all is forgotten, and the next page is read as the first.
  private mutating func forgetWhenOutgrown() {
    guard directory.count > 4 * layout.count + 4096 else { return }
    self = ExpositionParser(configuration)
  }

  mutating func beginGeneration() {
    if generation == .max {
      generation = 0
      stamps = [UInt32](repeating: 0, count: stamps.count)
    }
    generation += 1
  }
}

/// The values that DCGM writes where it has none.
enum DCGMBlank {
  /// The least of them, the 32-bit blank.
  static let smallest = 2_147_483_632.0

  /// Whether a value of at least `smallest`, whose text is given, is a blank. An integer and a number with a point have
  /// different ones, and of the 32-bit blanks only the four themselves are meant: counters may well be larger.
  static func isBlank(_ value: Double, _ page: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> Bool {
    if value <= smallest + 3 { return value == value.rounded() }
    // 9223372036854775792, of which Float64 keeps 9223372036854775808.
    if value >= 0x1p63 { return true }
    return value >= 140_737_488_355_328 && page[start..<end].contains(UInt8(ascii: "."))
  }
}
