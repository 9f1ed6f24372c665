import ApusIO
import ApusModel

/// Reads telemetry from a CSV that comes in pieces of any size: RFC 4180 quoting with line feeds inside quotes, line
/// ends with and without a carriage return, a byte order mark, the columns of `TelemetryField` in any order and among
/// others.
///
/// The samples come out as columns that name their series by number. A row that repeats a series is known by its bytes
/// around the time and the value, so labels are built once a series, not once a row.
///
/// A row that cannot be used costs only itself. After a quote that never closes, reading goes on in the next line.
package struct CSVReader: Sendable {
  package struct Configuration: Sendable {
    /// Whether rows keep the time that they state, or take the time at which they are read.
    package enum Timestamps: Hashable, Sendable {
      case original
      case now
    }

    package var timestamps = Timestamps.original
    package var rowBytesMax = 64 * 1024
    package var columnsMax = 256
    /// Rows of more series than this are rejected.
    package var seriesMax = FormatLimits.seriesPerSet
    /// Errors that are listed one by one for each piece; all are counted.
    package var errorsListedMax = 64

    package init() {}
  }

  package let configuration: Configuration
  /// What the header says; nil until it has been read.
  package private(set) var header: CSVHeader?
  /// The header cannot be used, so nothing behind it is read.
  package private(set) var failure: FormatError?
  /// Bytes up to the end of the last row that was taken in or rejected: where a later reader may go on.
  package private(set) var offset: Int64 = 0
  /// The line in which the next row begins, counted from 1.
  package private(set) var line = 1
  private var directory = SeriesDirectory()
  private var hosts: [String: Int32] = [:]
  private var hostNames: [String] = []
  /// By series number.
  private var hostOfSeries: [Int32] = []
  private var templates = RowTemplates(.csv)
  private var row = CSVRow()
  /// The beginning of a row whose end has not come yet.
  private var carry: [UInt8] = []
  private var rowEnd = CSVRowEnd()
  /// A row was given up; its line is passed over to the next line feed.
  private var isSkippingLine = false
  /// The last time that was read, and its bytes: rows of one scrape repeat it.
  private var lastTime: [UInt8] = []
  private var lastMilliseconds: Int64 = 0

  package init(_ configuration: Configuration = Configuration()) {
    self.configuration = configuration
  }

  /// How many series have been seen.
  package var seriesCount: Int { directory.count }

  package func labels(of series: Int32) -> Labels { directory.labels[Int(series)] }

  /// The number of the host of a series, for grouping.
  package func host(of series: Int32) -> Int32 { hostOfSeries[Int(series)] }

  /// The name of a host by its number; empty where rows name none.
  package func hostName(_ host: Int32) -> String { hostNames[Int(host)] }

  var seriesDirectory: SeriesDirectory { directory }

  /// Takes in the next piece of the file and appends the samples of all rows that are whole. `now` is the time of the
  /// rows where they do not keep their own.
  package mutating func feed(_ piece: UnsafeRawBufferPointer, now: Timestamp, into rows: inout CSVRows) {
    rows.errorsListedMax = configuration.errorsListedMax
    var position = 0
    while position < piece.count, failure == nil {
      if isSkippingLine {
        position = skipLine(piece, from: position)
      } else if !carry.isEmpty {
        position = completeCarry(piece, from: position, now, &rows)
      } else if let match = templates.matchNext(piece, at: position), take(piece, match, position, now, &rows) {
        position = match.end
      } else {
        position = takeRow(piece, from: position, now, &rows)
      }
    }
  }

  package mutating func feed(_ piece: [UInt8], now: Timestamp, into rows: inout CSVRows) {
    piece.withUnsafeBytes { feed($0, now: now, into: &rows) }
  }

  /// The file has ended: takes in a last row without a line end.
  package mutating func finish(now: Timestamp, into rows: inout CSVRows) {
    rows.errorsListedMax = configuration.errorsListedMax
    while !carry.isEmpty, failure == nil {
      let rest = carry
      carry = []
      if rowEnd.isInQuotes {
        rest.withUnsafeBytes { giveUp($0, 0..<$0.count, .unterminatedQuote, now, &rows) }
      } else {
        rest.withUnsafeBytes { use($0, 0..<$0.count, now, &rows) }
      }
    }
    if header == nil, failure == nil { fail(.csv(.emptyFile, line: 1), &rows) }
  }

  /// Goes on at a place where a row begins, as an earlier reader's `offset` and `line` said. The header must have been
  /// fed before; the next piece begins at `offset`.
  package mutating func resume(at offset: Int64, line: Int) {
    precondition(header != nil && carry.isEmpty, "the header must be read before the reader can go on elsewhere")
    self.offset = offset
    self.line = line
    rowEnd = CSVRowEnd()
  }
}

extension CSVReader {
  /// A row that is wholly in the piece, or the beginning of one. Returns the position behind it.
  private mutating func takeRow(
    _ piece: UnsafeRawBufferPointer, from start: Int, _ now: Timestamp, _ rows: inout CSVRows
  ) -> Int {
    rowEnd = CSVRowEnd()
    let end = rowEnd.find(piece, from: start)
    let taken = start..<(end ?? piece.count)
    guard taken.count <= configuration.rowBytesMax else {
      giveUp(piece, taken, .rowTooLong(limit: configuration.rowBytesMax), now, &rows)
      return taken.upperBound
    }
    if end == nil {
      carry.append(contentsOf: piece[taken])
    } else {
      use(piece, taken, now, &rows)
    }
    return taken.upperBound
  }

  /// Adds to a row that began in an earlier piece.
  private mutating func completeCarry(
    _ piece: UnsafeRawBufferPointer, from start: Int, _ now: Timestamp, _ rows: inout CSVRows
  ) -> Int {
    let end = rowEnd.find(piece, from: start)
    // Not more of a row without an end than the bound and one byte, which tells that it is too long.
    let taken = start..<min(end ?? piece.count, start + configuration.rowBytesMax + 1 - carry.count)
    carry.append(contentsOf: piece[taken])
    if carry.count > configuration.rowBytesMax {
      let whole = carry
      carry = []
      whole.withUnsafeBytes {
        giveUp($0, 0..<$0.count, .rowTooLong(limit: configuration.rowBytesMax), now, &rows)
      }
    } else if end != nil {
      let whole = carry
      carry.removeAll(keepingCapacity: true)
      whole.withUnsafeBytes { use($0, 0..<$0.count, now, &rows) }
    }
    return taken.upperBound
  }

  /// Rejects the first line of what was taken for one row, and reads the rest anew: a quote too many must not swallow
  /// the rows behind it.
  private mutating func giveUp(
    _ text: UnsafeRawBufferPointer, _ range: Range<Int>, _ problem: CSVProblem, _ now: Timestamp, _ rows: inout CSVRows
  ) {
    rows.reject(.csv(problem, line: line))
    rowEnd = CSVRowEnd()
    guard header != nil else {
      fail(.csv(problem, line: line), &rows)
      return
    }
    isSkippingLine = true
    let rest = skipLine(text, from: range.lowerBound)
    if rest < range.upperBound {
      feed(UnsafeRawBufferPointer(rebasing: text[rest..<range.upperBound]), now: now, into: &rows)
    }
  }

  private mutating func skipLine(_ text: UnsafeRawBufferPointer, from start: Int) -> Int {
    var position = start
    while position < text.count {
      position += 1
      if text[position - 1] == 0x0a {
        isSkippingLine = false
        line += 1
        break
      }
    }
    offset += Int64(position - start)
    return position
  }

  /// One whole row.
  private mutating func use(
    _ text: UnsafeRawBufferPointer, _ range: Range<Int>, _ now: Timestamp, _ rows: inout CSVRows
  ) {
    if let match = templates.matchNext(text, at: range.lowerBound), match.end == range.upperBound,
      take(text, match, range.lowerBound, now, &rows)
    {
      return
    }
    let rowLine = line
    var lines = 0
    for position in range where text[position] == 0x0a { lines += 1 }
    line += lines
    offset += Int64(range.count)
    if let problem = row.split(text, range) {
      if header == nil { fail(.csv(problem, line: rowLine), &rows) } else { rows.reject(.csv(problem, line: rowLine)) }
      return
    }
    // An empty line is no row.
    if row.fields.count == 1, row.fields[0].range.isEmpty { return }
    guard let header else {
      readHeader(text, rowLine, &rows)
      return
    }
    do throws(TelemetryProblem) {
      try useFields(text, range, header, lines, now, &rows)
    } catch {
      rows.reject(.telemetry(error, position: rowLine))
    }
  }

  private mutating func useFields(
    _ text: UnsafeRawBufferPointer, _ range: Range<Int>, _ header: CSVHeader, _ lines: Int, _ now: Timestamp,
    _ rows: inout CSVRows
  ) throws(TelemetryProblem) {
    guard row.fields.count == header.columnCount else {
      throw .fieldCount(found: row.fields.count, expected: header.columnCount)
    }
    let valueField = row.fields[header.valueColumn]
    if valueField.range.isEmpty { throw .missingValue }
    guard let value = SampleValue.parse(UnsafeRawBufferPointer(rebasing: text[valueField.range])) else {
      throw .invalidValue
    }
    var time: Range<Int>?
    if let column = header.column(of: .timestamp) { time = row.fields[column].range }
    let timestamp = try milliseconds(text, time, now)

    // The tokens in the order in which they stand.
    let isValueFirst = time.map { valueField.range.lowerBound < $0.lowerBound } ?? true
    let first = isValueFirst ? valueField.range : time ?? valueField.range
    let second = time.map { isValueFirst ? $0 : valueField.range }
    let series: Int32
    if let known = templates.find(text, row: range, first: first, second: second) {
      series = templates[known].series
    } else {
      series = try number(text, header)
      let tokens = [first] + (second.map { [$0] } ?? [])
      let isPlain = tokens.allSatisfy { token in
        !text[token].contains { $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") || $0 < 0x20 }
      }
      let endsLine = range.upperBound > range.lowerBound && text[range.upperBound - 1] == 0x0a
      if isPlain, endsLine {
        templates.learn(
          text, row: range, first: first, second: second, series: series, isValueFirst: isValueFirst, lines: lines)
      }
    }
    rows.append(series, timestamp, value, offset)
  }

  /// A row that is known by its bytes. False when its time or value must be looked at more closely.
  @inline(__always)
  private mutating func take(
    _ text: UnsafeRawBufferPointer, _ match: RowTemplates.Match, _ start: Int, _ now: Timestamp,
    _ rows: inout CSVRows
  ) -> Bool {
    let template = templates[match.template]
    let valueRange = template.isValueFirst ? match.first : match.second
    guard match.end - start <= configuration.rowBytesMax,
      let value = DecimalNumber.parse(UnsafeRawBufferPointer(rebasing: text[valueRange]))
    else { return false }
    var timestamp = now.milliseconds
    if configuration.timestamps == .original {
      let range = template.isValueFirst ? match.second : match.first
      if !range.isEmpty, isEqual(text, range, lastTime) {
        timestamp = lastMilliseconds
      } else {
        guard let parsed = TimeNotation.parse(UnsafeRawBufferPointer(rebasing: text[range])) else { return false }
        lastTime.removeAll(keepingCapacity: true)
        lastTime.append(contentsOf: text[range])
        lastMilliseconds = parsed
        timestamp = parsed
      }
    }
    line += Int(template.lines)
    offset += Int64(match.end - start)
    rows.append(template.series, timestamp, value, offset)
    return true
  }

  private func milliseconds(
    _ text: UnsafeRawBufferPointer, _ range: Range<Int>?, _ now: Timestamp
  ) throws(TelemetryProblem) -> Int64 {
    if configuration.timestamps == .now { return now.milliseconds }
    guard let range, let time = TimeNotation.parse(UnsafeRawBufferPointer(rebasing: text[range])) else {
      throw .invalidTimestamp
    }
    return time
  }

  /// The number of the series that the row's fields describe.
  private mutating func number(
    _ text: UnsafeRawBufferPointer, _ header: CSVHeader
  ) throws(TelemetryProblem) -> Int32 {
    var object = TelemetryObject(timestamp: nil, metricName: "", gpuID: "", value: 0)
    for field in TelemetryField.allCases where field != .timestamp && field != .value {
      guard let column = header.column(of: field) else { continue }
      guard row.fields[column].range.count <= FormatLimits.labelValueBytes else {
        throw .fieldTooLong(field, limit: FormatLimits.labelValueBytes)
      }
      guard let content = row.text(column, in: text) else { throw .notUTF8 }
      object[field] = content
    }
    let labels = try object.labels()
    let before = directory.count
    guard before < configuration.seriesMax || directory.contains(labels) else {
      throw .tooManySeries(limit: configuration.seriesMax)
    }
    let number = directory.number(of: labels)
    if directory.count > before {
      let name = labels.text(of: .hostname)
      let host = hosts[name] ?? Int32(hostNames.count)
      if hosts.updateValue(host, forKey: name) == nil { hostNames.append(name) }
      hostOfSeries.append(host)
    }
    return number
  }

  private mutating func readHeader(_ text: UnsafeRawBufferPointer, _ line: Int, _ rows: inout CSVRows) {
    guard row.fields.count <= configuration.columnsMax else {
      fail(.csv(.tooManyColumns(limit: configuration.columnsMax), line: line), &rows)
      return
    }
    let names = row.fields.indices.map { row.text($0, in: text) ?? "" }
    do throws(CSVProblem) {
      header = try CSVHeader(names, needsTimestamp: configuration.timestamps == .original)
    } catch { fail(.csv(error, line: line), &rows) }
  }

  private mutating func fail(_ error: FormatError, _ rows: inout CSVRows) {
    failure = error
    rows.reject(error)
  }
}
