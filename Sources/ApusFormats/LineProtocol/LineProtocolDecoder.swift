import ApusIO
import ApusModel

/// Decodes InfluxDB's line protocol into series named `measurement_field`, or `measurement` for a field called `value`.
///
/// `measurement,tag=value field=1.5,other=2i 1700000000000000000`: each line is taken whole or refused whole, with its
/// number and the reason; the good lines around it are taken. Floats, integers (`2i`), unsigned ones (`2u`) and booleans
/// become numbers; string fields are dropped and counted. Escapes are InfluxDB's: a backslash before a comma, a blank
/// and (but for measurements) an equals sign makes it part of the name, any other backslash stands for itself; a quoted
/// string may hold line breaks.
///
/// One decoder serves one request after another; series are remembered by the bytes that write them, so a line like the
/// one that stood there last time costs two comparisons and its numbers.
package struct LineProtocolDecoder: ~Copyable {
  /// What becomes of characters that PromQL's plain names cannot have.
  package enum Naming: Hashable, Sendable {
    /// Names are taken as they are written, as VictoriaMetrics does by default; PromQL reaches them in quotes.
    case asWritten
    /// Every character but letters, digits and `_` (and `:` in metric names) becomes `_`, as Telegraf's Prometheus output
    /// does.
    case classic
  }

  private var cache: SeriesCache
  private var collector = SampleCollector()
  private var assembly = LabelAssembly()
  private let naming: Naming
  private var batch = IngestBatch()
  private var labelBytes = 0

  /// `seed` keeps outsiders from choosing names that collide in the cache.
  package init(naming: Naming = .asWritten, seed: UInt64 = 0) {
    self.naming = naming
    cache = SeriesCache(seed: seed)
  }

  /// Everything that one body holds. `now`, in milliseconds since 1970, is the time of lines that have none.
  ///
  /// Throws only when the body has more series, samples or bytes of labels than one request may; nothing of it is taken.
  package mutating func decode(
    _ body: UnsafeRawBufferPointer, precision: LineProtocolPrecision = .nanoseconds, now: Int64
  ) throws(FormatError) -> IngestBatch {
    cache.beginBatch()
    batch = IngestBatch()
    labelBytes = 0
    var line = LineProtocolCursor(body)
    do throws(FormatError) {
      while line.nextLine() {
        let before = collector.sampleCount
        do throws(SeriesFailure) { try decodeLine(&line, precision, now) } catch {
          switch error {
          case .format(let error): throw error
          case .problem(let problem):
            collector.truncate(toSamples: before)
            batch.problems.add(problem, at: line.number)
            line.abandon(isString: problem == .unterminatedString)
          }
        }
      }
    } catch {
      _ = collector.finish()
      throw error
    }
    batch.sampleCount = collector.sampleCount
    batch.series = collector.finish()
    defer { batch = IngestBatch() }
    return batch
  }

  private mutating func decodeLine(
    _ line: inout LineProtocolCursor, _ precision: LineProtocolPrecision, _ now: Int64
  ) throws(SeriesFailure) {
    let before = collector.sampleCount
    let stringsBefore = batch.skipped.strings
    // The entry that is known to have this line's prefix, or -1.
    var known = cache.guess
    let prefixStart = line.position
    if known >= 0 {
      let end = cache.prefixEnd(known, in: line.bytes, at: prefixStart)
      if end >= 0, line.isBlank(at: end) { line.position = end } else { known = -1 }
    }
    if known < 0 { try line.scanPrefix() }
    let prefix = prefixStart..<line.position
    line.skipBlanks()
    if line.isAtLineEnd { throw .problem(.missingFields) }
    while true {
      try decodeField(&line, prefix, &known)
      if line.take(UInt8(ascii: ",")) { continue }
      break
    }
    let time = try timestamp(&line, precision, now)
    guard line.takeLineEnd() else { throw .problem(.invalidFieldValue) }
    collector.setTimestamp(time, from: before)
    if collector.sampleCount == before, batch.skipped.strings > stringsBefore { batch.skipped.linesWithoutNumbers += 1 }
  }

  @inline(__always)
  private mutating func decodeField(
    _ line: inout LineProtocolCursor, _ prefix: Range<Int>, _ known: inout Int
  ) throws(SeriesFailure) {
    let keyStart = line.position
    var entry = -1
    if known >= 0 {
      let guess = cache.guess
      if guess >= 0, cache.sharePrefix(guess, known) {
        let end = cache.suffixEnd(guess, in: line.bytes, at: keyStart)
        if end >= 0, line.isEquals(at: end) {
          entry = guess
          line.position = end
        }
      }
    }
    if entry < 0 { try line.scanFieldKey() }
    let key = keyStart..<line.position
    line.position += 1
    guard let value = try line.scanValue() else {
      batch.skipped.strings += 1
      return
    }
    guard collector.sampleCount < IngestLimits.samplesPerRequest else {
      throw .format(.tooMany(.samples, limit: IngestLimits.samplesPerRequest))
    }
    var series: Int32 = -1
    if entry < 0 { (entry, series) = try findSeries(line.bytes, prefix, key, &known) }
    if entry >= 0 {
      cache.use(entry)
      known = entry
      series = cache.series(of: entry)
      if series < 0 {
        series = try addSeries(cache.labels(of: entry))
        cache.setSeries(series, of: entry)
      }
    }
    collector.append(series: series, timestamp: 0, value: value)
  }

  /// The cache's entry for a series that was not guessed, or -1 and the series' number where it cannot be remembered.
  private mutating func findSeries(
    _ bytes: UnsafeRawBufferPointer, _ prefix: Range<Int>, _ name: Range<Int>, _ known: inout Int
  ) throws(SeriesFailure) -> (entry: Int, series: Int32) {
    let key = SeriesCache.Key(
      prefix: UnsafeRawBufferPointer(rebasing: bytes[prefix]), suffix: UnsafeRawBufferPointer(rebasing: bytes[name]),
      prefixEntry: known)
    let found = cache.find(key)
    if found >= 0 { return (found, -1) }
    let labels = try makeLabels(key)
    let entry = cache.insert(key, labels)
    if entry < 0 {
      // The cache may have been emptied before it refused.
      known = -1
      return (-1, try addSeries(labels))
    }
    return (entry, -1)
  }

  private mutating func addSeries(_ labels: Labels) throws(SeriesFailure) -> Int32 {
    guard collector.seriesCount < FormatLimits.seriesPerSet else {
      throw .format(.tooMany(.series, limit: FormatLimits.seriesPerSet))
    }
    return collector.addSeries(labels)
  }

  /// The label set of a prefix (measurement and tags) and a field.
  private mutating func makeLabels(_ key: SeriesCache.Key) throws(SeriesFailure) -> Labels {
    labelBytes += key.prefix.count + key.suffix.count
    guard labelBytes <= IngestLimits.labelBytesPerRequest else {
      throw .format(.tooMany(.labelBytes, limit: IngestLimits.labelBytesPerRequest))
    }
    var prefix = LineProtocolCursor(key.prefix)
    let measurement = prefix.takeName(endingWith: [UInt8(ascii: ",")], equalsIsEscaped: false)
    guard !measurement.isEmpty else { throw .problem(.missingMetricName) }
    var field = LineProtocolCursor(key.suffix)
    let fieldName = field.takeName(endingWith: [], equalsIsEscaped: true)
    guard !fieldName.isEmpty else { throw .problem(.emptyLabelName) }
    assembly.removeAll()
    let name = fieldName.elementsEqual("value".utf8) ? measurement : measurement + [UInt8(ascii: "_")] + fieldName
    assembly.add(name: "__name__", value: clean(name, isMetricName: true))
    while prefix.take(UInt8(ascii: ",")) {
      let tag = prefix.takeName(endingWith: [UInt8(ascii: ","), UInt8(ascii: "=")], equalsIsEscaped: true)
      guard !tag.isEmpty else { throw .problem(.emptyLabelName) }
      guard prefix.take(UInt8(ascii: "=")) else { throw .problem(.missingTagValue) }
      let value = prefix.takeName(endingWith: [UInt8(ascii: ","), UInt8(ascii: "=")], equalsIsEscaped: true)
      // An equals sign in a value has to be escaped; what is left behind one would be lost.
      guard !value.isEmpty, !prefix.take(UInt8(ascii: "=")) else { throw .problem(.missingTagValue) }
      let label = clean(tag, isMetricName: false)
      guard !label.elementsEqual(Labels.metricNameLabel.utf8) else { throw .problem(.reservedLabel) }
      assembly.add(name: label, value: value)
    }
    do throws(IngestProblem) { return try assembly.finish(.lenient) } catch { throw .problem(error) }
  }

  private func clean(_ name: [UInt8], isMetricName: Bool) -> [UInt8] {
    naming == .asWritten ? name : ClassicNames.clean(name, isMetricName: isMetricName)
  }

  private func timestamp(
    _ line: inout LineProtocolCursor, _ precision: LineProtocolPrecision, _ now: Int64
  ) throws(SeriesFailure) -> Int64 {
    guard line.skipBlanks(), !line.isAtLineEnd else { return now }
    guard let written = line.scanInteger(), let time = precision.milliseconds(written) else {
      throw .problem(.invalidTimestamp)
    }
    line.skipBlanks()
    guard line.isAtLineEnd else { throw .problem(.invalidTimestamp) }
    return time
  }
}
