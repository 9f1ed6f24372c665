import ApusModel

/// Walks a span of time in windows, forwards or backwards, each as wide as what the last one held suggests.
///
/// The store answers ranges, and a page needs the first or last so many rows of a range that may span years. The walk
/// doubles its step over sparse time and cuts it where a window held too much, so a page costs about what it shows.
struct WindowWalk: Sendable {
  enum Direction: UInt8, Sendable {
    case forward = 0
    case backward = 1
  }

  let direction: Direction
  /// What is left to walk; nil at the end.
  private(set) var rest: TimeRange?
  /// Milliseconds. Windows begin and end on whole multiples of it, so that no interval of a step is divided.
  private let grain: Int64
  private var span: Int64

  /// The width of the first window, in milliseconds, unless the grain is wider.
  static let firstSpan: Int64 = 300_000

  /// - Parameters:
  ///   - grain: in milliseconds, at least 1.
  ///   - firstSpan: the width of the first window, in milliseconds.
  init(_ direction: Direction, over range: TimeRange, grain: Int64 = 1, firstSpan: Int64 = WindowWalk.firstSpan) {
    precondition(grain >= 1, "grain \(grain)")
    self.direction = direction
    self.grain = grain
    rest = range.start <= range.end ? range : nil
    span = max(firstSpan, grain)
  }

  /// The window to read now; nil when the walk is over. Stays the same until `advance` or `shrink`.
  var window: TimeRange? {
    guard let rest else { return nil }
    let (start, end) = (rest.start.milliseconds, rest.end.milliseconds)
    switch direction {
    case .forward:
      let last = WindowWalk.add(WindowWalk.floor(start, grain), span - 1)
      return TimeRange(start: rest.start, end: Timestamp(milliseconds: min(end, WindowWalk.ceiling(last, grain))))
    case .backward:
      let first = WindowWalk.floor(WindowWalk.add(end, -(span - 1)), grain)
      return TimeRange(start: Timestamp(milliseconds: max(start, first)), end: rest.end)
    }
  }

  /// The window has been read: go on behind it, with wider ones when it held little.
  mutating func advance(heldLittle: Bool) {
    guard let rest, let window else { return }
    switch direction {
    case .forward:
      self.rest =
        window.end < rest.end
        ? TimeRange(start: Timestamp(milliseconds: window.end.milliseconds + 1), end: rest.end) : nil
    case .backward:
      self.rest =
        rest.start < window.start
        ? TimeRange(start: rest.start, end: Timestamp(milliseconds: window.start.milliseconds - 1)) : nil
    }
    if heldLittle { span = span > Int64.max / 8 ? Int64.max / 2 : span * 4 }
  }

  /// The window holds more than may be read at once; false when it cannot be made smaller.
  mutating func shrink() -> Bool {
    guard let window else { return false }
    // The window may have been cut by the end of the walk, so its own width counts and not the span's.
    let (width, overflow) = window.end.milliseconds.subtractingReportingOverflow(window.start.milliseconds)
    let current = min(span, overflow ? Int64.max / 2 : max(1, width + 1))
    guard current > grain else { return false }
    span = max(grain, current / 4)
    return true
  }

  private static func floor(_ value: Int64, _ grain: Int64) -> Int64 {
    let remainder = value % grain
    return add(value, remainder < 0 ? -(remainder + grain) : -remainder)
  }

  /// The last instant of the grain that `value` is in.
  private static func ceiling(_ value: Int64, _ grain: Int64) -> Int64 { add(floor(value, grain), grain - 1) }

  /// A sum that stops at the ends of what can be said.
  private static func add(_ left: Int64, _ right: Int64) -> Int64 {
    let (sum, overflow) = left.addingReportingOverflow(right)
    return overflow ? (right < 0 ? .min : .max) : sum
  }
}
