/// What coded integers are told less of: the number that is expected (docs/format/store.md, "Coded integers").
///
/// The means are running ones, in which the newest number counts a quarter: they are kept as four times themselves, so
/// that a residual is added to them as it is.
enum Predictor: UInt8, CaseIterable {
  /// The integer before the run and the base: for noise around one level.
  case level = 0
  /// The integer before and the base: for steps and slow walks.
  case slope = 1
  /// As far again as the last step went; the base is the first step.
  case differences = 2
  /// The running mean of the integers, from that before the run and the base on: for noise around a level that moves.
  case mean = 3
  /// The integer before and the running mean of the steps, from the base on: for counters at a rate that moves.
  case meanSlope = 4

  /// Calls `body` with each of a run's residuals. `values[-1]` is the integer before the run.
  @inline(__always) static func residuals(
    _ predictor: Predictor, _ values: UnsafePointer<Int64>, count: Int, base: Int64,
    _ body: (_ row: Int, _ residual: Int64) -> Void
  ) {
    switch predictor {
    case .level:
      let level = values[-1] &+ base
      for row in 0..<count { body(row, values[row] &- level) }
    case .slope:
      for row in 0..<count { body(row, values[row] &- values[row - 1] &- base) }
    case .differences:
      var step = base
      for row in 0..<count {
        let next = values[row] &- values[row - 1]
        body(row, next &- step)
        step = next
      }
    case .mean:
      var four = (values[-1] &+ base) << 2
      for row in 0..<count {
        let residual = values[row] &- four >> 2
        body(row, residual)
        four = four &+ residual
      }
    case .meanSlope:
      var four = base << 2
      for row in 0..<count {
        let residual = values[row] &- values[row - 1] &- four >> 2
        body(row, residual)
        four = four &+ residual
      }
    }
  }

  /// Turns a run's residuals back into its integers, where they are. `target[-1]` is the integer before the run.
  static func restore(_ predictor: Predictor, _ target: UnsafeMutablePointer<Int64>, count: Int, base: Int64) {
    var value = target[-1]
    switch predictor {
    case .level:
      let level = value &+ base
      for row in 0..<count { target[row] = level &+ target[row] }
    case .slope:
      for row in 0..<count {
        value = value &+ base &+ target[row]
        target[row] = value
      }
    case .differences:
      var step = base
      for row in 0..<count {
        step = step &+ target[row]
        value = value &+ step
        target[row] = value
      }
    case .mean:
      var four = (value &+ base) << 2
      for row in 0..<count {
        let residual = target[row]
        target[row] = four >> 2 &+ residual
        four = four &+ residual
      }
    case .meanSlope:
      var four = base << 2
      for row in 0..<count {
        let residual = target[row]
        value = value &+ four >> 2 &+ residual
        four = four &+ residual
        target[row] = value
      }
    }
  }
}
