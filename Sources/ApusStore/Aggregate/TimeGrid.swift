/// Divides all of time into windows of one length. Every instant is in one, the extremes of `Int64` included.
struct TimeGrid: Hashable, Sendable {
  let step: Int64
  let origin: Int64

  /// - Precondition: the step is above 0.
  init(step: Int64, origin: Int64 = 0) {
    precondition(step > 0, "a step of \(step) ms")
    self.step = step
    self.origin = origin
  }

  /// The first and the last instant of the window that an instant is in, cut where `Int64` ends.
  func window(of instant: Int64) -> (start: Int64, end: Int64) {
    let behind = TimeGrid.modulo(TimeGrid.modulo(instant, step) - TimeGrid.modulo(origin, step), step)
    let (start, below) = instant.subtractingReportingOverflow(behind)
    let (end, above) = instant.addingReportingOverflow(step - 1 - behind)
    return (below ? .min : start, above ? .max : end)
  }

  /// The remainder that is never negative.
  private static func modulo(_ number: Int64, _ divisor: Int64) -> Int64 {
    let remainder = number % divisor
    return remainder < 0 ? remainder + divisor : remainder
  }

  /// A run of an ascending timestamp column that lies in one window.
  struct Segment: Sendable {
    var rows: Range<Int>
    var start: Int64
  }

  /// Cuts an ascending column at the windows' borders. Cost: one pass, once for all series that share the column.
  func segments(_ timestamps: some RandomAccessCollection<Int64>) -> [Segment] {
    var result: [Segment] = []
    var end = Int64.min
    for (row, timestamp) in timestamps.enumerated() {
      if result.isEmpty || timestamp > end {
        let window = window(of: timestamp)
        result.append(Segment(rows: row..<row + 1, start: window.start))
        end = window.end
      } else {
        let last = result.count - 1
        result[last].rows = result[last].rows.lowerBound..<row + 1
      }
    }
    return result
  }

  /// Whether each window is made of whole buckets of another grid.
  func isMade(of buckets: TimeGrid) -> Bool {
    step % buckets.step == 0 && TimeGrid.modulo(origin, buckets.step) == TimeGrid.modulo(buckets.origin, buckets.step)
  }
}
