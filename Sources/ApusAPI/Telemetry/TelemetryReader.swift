import ApusIO
import ApusModel
import ApusService
import ApusStore

/// Which rows a request wants of a selection of series.
struct TelemetryQuestion: Sendable {
  var selection: SeriesSelection
  /// From the oldest row on; else the newest rows.
  var direction: WindowWalk.Direction
  var range: TimeRange
  /// Milliseconds; nil for every sample.
  var step: Int64?
  var limit: Int
}

/// Reads pages of telemetry rows, and gives out the cursors between them.
struct TelemetryReader: Sendable {
  var reader: FleetReader

  /// What the rows of a question with a step were read from, coarsest first: `1h`, `5m`, `raw`. Nil where no roll-up was.
  var resolution: String? {
    guard reader.resolutions.contains(where: { $0 > 0 }) else { return nil }
    return reader.resolutions.sorted(by: >).map { TelemetryReader.name(ofResolution: $0) }.joined(separator: ", ")
  }

  private static func name(ofResolution milliseconds: Int64) -> String {
    if milliseconds == 0 { return "raw" }
    if milliseconds % 3_600_000 == 0 { return "\(milliseconds / 3_600_000)h" }
    if milliseconds % 60_000 == 0 { return "\(milliseconds / 60_000)m" }
    return "\(milliseconds)ms"
  }

  /// The page that a request asks for and the cursor of the next one, if there are more rows.
  mutating func page(
    _ question: TelemetryQuestion, for request: RouteRequest
  ) async throws -> (rows: [TelemetryRow], next: String?) {
    var question = question
    var after: RowPlace?
    if let key = try Cursor.key(.telemetry, of: request) {
      let position = try TelemetryPosition(key)
      question.direction = position.direction
      question.range = position.range
      after = RowPlace(timestamp: position.timestamp, labels: try await series(position.series, of: question))
    }
    // The end of the data bounds the walk; an open range would begin it in a void.
    var range = question.range
    if var extent = try await reader.extent() {
      if let step = question.step {
        // Whole intervals: a rolled-up bucket that is cut is no answer.
        extent.start.milliseconds = TelemetryScan.interval(of: extent.start.milliseconds, step: step).start
        extent.end.milliseconds = TelemetryScan.interval(of: extent.end.milliseconds, step: step).end
      }
      range.start = max(range.start, extent.start)
      range.end = min(range.end, extent.end)
    }
    var scan = TelemetryScan(
      question.direction, over: range, limit: question.limit, step: question.step, after: after)
    while let window = scan.window {
      try Task.checkCancellation()
      do throws(StoreError) {
        if let step = question.step {
          scan.take(try await reader.lastSamples(question.selection, in: window, step: step))
        } else {
          scan.take(try await reader.select(question.selection, in: window))
        }
      } catch {
        guard case .tooManySamples = error, reader.samplesRead <= reader.samplesPerRequestMax, scan.shrink() else {
          throw error
        }
      }
    }
    let (rows, hasMore) = scan.page
    guard hasMore, let last = scan.lastPlace else { return (rows, nil) }
    let position = TelemetryPosition(
      direction: question.direction, range: question.range, timestamp: last.timestamp,
      series: SeriesName.hash(last.labels))
    return (rows, Cursor.encode(.telemetry, for: request, key: position.bytes))
  }

  private func series(_ name: SeriesSetID, of question: TelemetryQuestion) async throws -> Labels {
    for labels in try await reader.series(question.selection) where SeriesName.hash(labels) == name { return labels }
    throw Problem.badParameter(
      "cursor", "cursor stands at a row whose series has been deleted since; begin without it")
  }
}

/// A short name for a series: 128 bits of hash, where all of its labels would make an address too long.
enum SeriesName {
  static func hash(_ labels: Labels) -> SeriesSetID { SeriesSet(series: [labels]).id }
}

/// What the cursor of a page of telemetry holds. The range is in it because `window` counts from the time of the first
/// request, and the pages of one list must be cut from one range.
struct TelemetryPosition: Hashable, Sendable {
  var direction: WindowWalk.Direction
  var range: TimeRange
  var timestamp: Int64
  var series: SeriesSetID

  init(direction: WindowWalk.Direction, range: TimeRange, timestamp: Int64, series: SeriesSetID) {
    self.direction = direction
    self.range = range
    self.timestamp = timestamp
    self.series = series
  }

  init(_ bytes: [UInt8]) throws(Problem) {
    let parsed = bytes.withUnsafeBytes { raw -> TelemetryPosition? in
      var reader = ByteReader(raw)
      do throws(ByteReaderError) {
        guard let direction = WindowWalk.Direction(rawValue: try reader.read()) else { return nil }
        let start = try reader.readZigzag()
        let end = try reader.readZigzag()
        let timestamp = try reader.readZigzag()
        let series = SeriesSetID(high: try reader.read(), low: try reader.read())
        guard reader.isAtEnd else { return nil }
        return TelemetryPosition(
          direction: direction,
          range: TimeRange(start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: end)),
          timestamp: timestamp, series: series)
      } catch { return nil }
    }
    guard let parsed else { throw .badParameter("cursor", "cursor is not one that this server gave out") }
    self = parsed
  }

  var bytes: [UInt8] {
    var writer = ByteWriter(reserving: 48)
    writer.write(direction.rawValue)
    writer.writeZigzag(range.start.milliseconds)
    writer.writeZigzag(range.end.milliseconds)
    writer.writeZigzag(timestamp)
    writer.write(series.high)
    writer.write(series.low)
    return writer.bytes
  }
}
