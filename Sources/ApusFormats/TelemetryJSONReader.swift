import ApusIO
import ApusModel

/// Reads telemetry objects in bulk: the messages of one producer, one after another.
///
/// As with the CSV, an object that repeats a series is known by its bytes around the time and the value, so its labels
/// are not read again. The result is for the per-series lane: a producer of single objects has no scrapes.
package struct TelemetryJSONReader: Sendable {
  /// What the messages since the last `take` held.
  package struct Batch: Sendable {
    package var samples: [SeriesSamples] = []
    package var sampleCount = 0
    /// The first rejected objects, by the byte of their message where they begin.
    package var errors: [FormatError] = []
    /// All rejected objects.
    package var errorCount = 0
  }

  /// Series that are remembered; when there are more, all are forgotten.
  package let seriesMax: Int
  /// Rejected objects that are listed one by one.
  package let errorsListedMax: Int
  private var directory = SeriesDirectory()
  private var templates = RowTemplates(.json)
  private var batch = Batch()
  /// By series number, its place in the batch's samples or -1.
  private var places: [Int32] = []
  private var lastTime: [UInt8] = []
  private var lastMilliseconds: Int64 = 0

  package init(seriesMax: Int = 1_000_000, errorsListedMax: Int = 16) {
    self.seriesMax = seriesMax
    self.errorsListedMax = errorsListedMax
  }

  /// Reads a message: an object or an array of objects. Objects without a time get `now`. A message that is not JSON
  /// throws and adds nothing; an object that is no telemetry costs only itself.
  package mutating func read(_ message: UnsafeRawBufferPointer, now: Timestamp) throws(FormatError) {
    if directory.count > seriesMax { forget() }
    var rows = Rows()
    do throws(JSONError) {
      var scanner = JSONScanner(message)
      if try scanner.peekKind() == .array {
        try scanner.beginArray()
        while try scanner.nextElement() { try readObject(&scanner, now, &rows) }
      } else {
        try readObject(&scanner, now, &rows)
      }
      try scanner.finish()
    } catch { throw .json(error) }
    for row in rows.samples { append(row.series, row.timestamp, row.value) }
    batch.errorCount += rows.errors.count
    batch.errors += rows.errors.prefix(max(0, errorsListedMax - batch.errors.count))
  }

  package mutating func read(_ message: [UInt8], now: Timestamp) throws(FormatError) {
    var failure: FormatError?
    message.withUnsafeBytes { message in
      do throws(FormatError) { try read(message, now: now) } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// What was read since the last call. The samples of a series ascend by time; of equal times the later object is last.
  package mutating func take() -> Batch {
    for index in batch.samples.indices { TelemetryJSONReader.sort(&batch.samples[index]) }
    places = [Int32](repeating: -1, count: directory.count)
    defer { batch = Batch() }
    return batch
  }

  /// The objects of one message, until it is known to be JSON to its end.
  private struct Rows {
    var samples: [(series: Int32, timestamp: Int64, value: Double)] = []
    var errors: [FormatError] = []
  }

  private mutating func readObject(
    _ scanner: inout JSONScanner, _ now: Timestamp, _ rows: inout Rows
  ) throws(JSONError) {
    guard try scanner.peekKind() == .object else {
      throw JSONError(kind: .expected(.object), offset: scanner.position)
    }
    let start = scanner.position
    let text = scanner.bytes
    if let match = templates.matchNext(text, at: start), let row = known(text, match) {
      rows.samples.append(row)
      scanner.skipKnownValue(endingAt: match.end)
      return
    }
    let fields = try TelemetryJSONFields(&scanner)
    do throws(TelemetryProblem) {
      let timestamp = try fields.readTimestamp()
      let value = try fields.readValue()
      let range = start..<scanner.position
      let tokens = fields.tokens(in: text)
      let series: Int32
      if let tokens,
        let template = templates.find(text, row: range, first: tokens.first, second: tokens.second)
      {
        series = templates[template].series
      } else {
        series = directory.number(of: try fields.object().labels())
        if let tokens {
          templates.learn(
            text, row: range, first: tokens.first, second: tokens.second, series: series,
            isValueFirst: tokens.isValueFirst, lines: 0)
        }
      }
      rows.samples.append((series, timestamp?.milliseconds ?? now.milliseconds, value))
    } catch {
      rows.errors.append(.telemetry(error, position: start))
    }
  }

  /// The sample of an object that is known by its bytes; nil when its tokens must be looked at more closely.
  private mutating func known(
    _ text: UnsafeRawBufferPointer, _ match: RowTemplates.Match
  ) -> (series: Int32, timestamp: Int64, value: Double)? {
    let template = templates[match.template]
    let valueRange = template.isValueFirst ? match.first : match.second
    let timeRange = template.isValueFirst ? match.second : match.first
    guard let value = number(text, valueRange) else { return nil }
    let isQuoted = text[timeRange.lowerBound - 1] == UInt8(ascii: "\"")
    guard !timeRange.isEmpty, isQuoted || number(text, timeRange) != nil else { return nil }
    if isEqual(text, timeRange, lastTime) {
      return (template.series, lastMilliseconds, value)
    }
    guard let parsed = TimeNotation.parse(UnsafeRawBufferPointer(rebasing: text[timeRange])) else { return nil }
    lastTime = Array(text[timeRange])
    lastMilliseconds = parsed
    return (template.series, parsed, value)
  }

  /// A token's number: in quotes any decimal, without them only what JSON takes for one.
  private func number(_ text: UnsafeRawBufferPointer, _ range: Range<Int>) -> Double? {
    guard let first = text[range].first else { return nil }
    let token = UnsafeRawBufferPointer(rebasing: text[range])
    if text[range.lowerBound - 1] != UInt8(ascii: "\"") {
      // What a decimal may have and JSON may not: a plus, a bare point, a leading zero.
      let digits = first == UInt8(ascii: "-") ? token.dropFirst() : token[...]
      guard let digit = digits.first, digit &- 0x30 < 10 else { return nil }
      if digit == 0x30, let next = digits.dropFirst().first, next &- 0x30 < 10 { return nil }
      if let point = digits.firstIndex(of: UInt8(ascii: ".")) {
        guard point + 1 < digits.endIndex, digits[point + 1] &- 0x30 < 10 else { return nil }
      }
    }
    return DecimalNumber.parse(token)
  }

  private mutating func append(_ series: Int32, _ timestamp: Int64, _ value: Double) {
    let number = Int(series)
    if number >= places.count { places += [Int32](repeating: -1, count: directory.count - places.count) }
    if places[number] < 0 {
      places[number] = Int32(batch.samples.count)
      batch.samples.append(SeriesSamples(labels: directory.labels[number], timestamps: [], values: []))
    }
    let place = Int(places[number])
    batch.samples[place].timestamps.append(timestamp)
    batch.samples[place].values.append(value)
    batch.sampleCount += 1
  }

  private static func sort(_ samples: inout SeriesSamples) {
    var isSorted = true
    for index in samples.timestamps.indices.dropFirst()
    where samples.timestamps[index] < samples.timestamps[index - 1] { isSorted = false }
    if isSorted { return }
    let order = samples.timestamps.indices.sorted { (samples.timestamps[$0], $0) < (samples.timestamps[$1], $1) }
    samples.timestamps = order.map { [timestamps = samples.timestamps] in timestamps[$0] }
    samples.values = order.map { [values = samples.values] in values[$0] }
  }

  /// Starts anew, but for what waits to be taken.
  private mutating func forget() {
    let waiting = batch
    self = TelemetryJSONReader(seriesMax: seriesMax, errorsListedMax: errorsListedMax)
    batch = waiting
  }
}
