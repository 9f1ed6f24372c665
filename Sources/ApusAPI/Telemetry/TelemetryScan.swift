import ApusModel
import ApusStore

/// One sample of a page.
struct TelemetryRow: Hashable, Sendable {
  var timestamp: Int64
  var value: Double
  var labels: Labels
}

/// A row's place in the order of all rows: by time, then by the metric's name, then by the labels' bytes. No two
/// samples have the same place, so a page can go on behind any row whatever has arrived since.
struct RowPlace: Hashable, Sendable {
  var timestamp: Int64
  var labels: Labels

  static func < (left: RowPlace, right: RowPlace) -> Bool {
    if left.timestamp != right.timestamp { return left.timestamp < right.timestamp }
    return RowPlace.seriesPrecedes(left.labels, right.labels)
  }

  static func seriesPrecedes(_ left: Labels, _ right: Labels) -> Bool {
    let (leftName, rightName) = (left.metricName, right.metricName)
    return leftName == rightName ? left < right : leftName < rightName
  }
}

/// Puts a page of rows together from the windows of a walk: the first rows behind a place, or the last ones before it.
///
/// Pure: whoever drives it reads each `window` from the store and hands the columns to `take`.
struct TelemetryScan: Sendable {
  let limit: Int
  /// With a step, only the last sample of each series in each whole interval of it, in milliseconds.
  let step: Int64?
  /// Rows up to this place (from it on, backwards) have been shown.
  let after: RowPlace?
  private var walk: WindowWalk
  /// In the walk's direction, so backwards the newest first. At most one more than the limit.
  private var found: [TelemetryRow] = []

  /// - Parameter range: both ends are included.
  init(
    _ direction: WindowWalk.Direction, over range: TimeRange, limit: Int, step: Int64?, after: RowPlace?
  ) {
    self.limit = limit
    self.step = step
    self.after = after
    var left = range
    if let after {
      switch direction {
      case .forward: left.start = max(left.start, Timestamp(milliseconds: after.timestamp))
      case .backward:
        // The interval that the last row stood in is read whole, since the last of its samples decides.
        let end = step.map { TelemetryScan.interval(of: after.timestamp, step: $0).end } ?? after.timestamp
        left.end = min(left.end, Timestamp(milliseconds: end))
      }
    }
    walk = WindowWalk(direction, over: left, grain: step ?? 1)
  }

  /// The range to read next; nil when the page is full or there is nothing more.
  var window: TimeRange? { found.count > limit ? nil : walk.window }

  /// Takes what the store has in the window.
  mutating func take(_ columns: [SeriesColumn]) {
    let sorted = columns.sorted { RowPlace.seriesPrecedes($0.labels, $1.labels) }
    // Places are sorted as numbers: the rank of a series stands for its name and labels.
    var places: [(timestamp: Int64, series: Int, sample: Int)] = []
    for (series, column) in sorted.enumerated() { appendPlaces(of: column, series, to: &places) }
    let before = found.count
    switch walk.direction {
    case .forward: places.sort { ($0.timestamp, $0.series) < ($1.timestamp, $1.series) }
    case .backward: places.sort { ($0.timestamp, $0.series) > ($1.timestamp, $1.series) }
    }
    for place in places.prefix(limit + 1 - found.count) {
      let column = sorted[place.series]
      found.append(
        TelemetryRow(timestamp: place.timestamp, value: column.values[place.sample], labels: column.labels))
    }
    walk.advance(heldLittle: (found.count - before) * 2 < limit)
  }

  /// The window has too many samples; false when it cannot be made smaller.
  mutating func shrink() -> Bool { walk.shrink() }

  /// The page, ascending by time, and whether there are more rows behind it.
  var page: (rows: [TelemetryRow], hasMore: Bool) {
    let rows = Array(found.prefix(limit))
    return (walk.direction == .forward ? rows : rows.reversed(), found.count > limit)
  }

  /// Where the next page goes on: the last row in the walk's direction.
  var lastPlace: RowPlace? {
    guard limit > 0, !found.isEmpty else { return nil }
    let row = found[min(limit, found.count) - 1]
    return RowPlace(timestamp: row.timestamp, labels: row.labels)
  }

  private func appendPlaces(
    of column: SeriesColumn, _ series: Int, to places: inout [(timestamp: Int64, series: Int, sample: Int)]
  ) {
    // Within one series only the instant decides, but at the instant of the last row its labels do.
    let comesAfterInstant = after.map { RowPlace.seriesPrecedes($0.labels, column.labels) } ?? true
    let isSame = after?.labels == column.labels
    for index in column.timestamps.indices where !StaleMarker.isStale(column.values[index]) {
      let timestamp = column.timestamps[index]
      if let step {
        // A marker is no sample: the one before it is the last of its interval.
        var next = index + 1
        while next < column.values.count, StaleMarker.isStale(column.values[next]) { next += 1 }
        if next < column.timestamps.count,
          TelemetryScan.interval(of: timestamp, step: step).end >= column.timestamps[next]
        {
          continue
        }
      }
      if let after {
        switch walk.direction {
        case .forward:
          if timestamp < after.timestamp || (timestamp == after.timestamp && !comesAfterInstant) { continue }
        case .backward:
          if timestamp > after.timestamp || (timestamp == after.timestamp && (comesAfterInstant || isSame)) {
            continue
          }
        }
      }
      places.append((timestamp, series, index))
    }
  }

  /// The whole interval of a step that an instant is in, counted from 1970.
  static func interval(of timestamp: Int64, step: Int64) -> (start: Int64, end: Int64) {
    let remainder = timestamp % step
    let (start, below) = timestamp.subtractingReportingOverflow(remainder < 0 ? remainder + step : remainder)
    if below { return (.min, .min + step - 1) }
    let (end, above) = start.addingReportingOverflow(step - 1)
    return (start, above ? .max : end)
  }
}
