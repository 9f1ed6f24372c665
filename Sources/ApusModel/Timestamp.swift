/// An instant: milliseconds since 1970-01-01T00:00:00Z, leap seconds ignored. Negative before 1970.
package struct Timestamp: Hashable, Comparable, Sendable {
  package var milliseconds: Int64

  package init(milliseconds: Int64) {
    self.milliseconds = milliseconds
  }

  package static func < (left: Timestamp, right: Timestamp) -> Bool {
    left.milliseconds < right.milliseconds
  }
}

/// A span of time that includes both of its ends.
package struct TimeRange: Hashable, Sendable {
  package var start: Timestamp
  package var end: Timestamp

  package init(start: Timestamp, end: Timestamp) {
    self.start = start
    self.end = end
  }

  /// Every instant there is.
  package static let all = TimeRange(start: Timestamp(milliseconds: .min), end: Timestamp(milliseconds: .max))

  package func contains(_ instant: Timestamp) -> Bool { start <= instant && instant <= end }

  package func overlaps(_ other: TimeRange) -> Bool { start <= other.end && other.start <= end }
}
