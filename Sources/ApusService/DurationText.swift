/// Durations as configuration writes them: whole numbers with units, the larger first (`30s`, `1h30m`, `250ms`, `7d`).
///
/// A bare number is refused, because nobody can tell seconds from milliseconds.
package enum DurationText {
  private static let units: [(name: String, nanoseconds: Int64)] = [
    ("w", 604_800_000_000_000), ("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("m", 60_000_000_000),
    ("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000), ("ns", 1),
  ]

  /// Reads a finite duration of at most 292 years.
  package static func parse(_ text: String) throws(ServiceError) -> Duration {
    func fail(_ reason: String) -> ServiceError { .invalidDuration(text: text, reason: reason) }
    if text == "inf" { throw fail("it must be finite here") }
    guard !text.isEmpty else { throw fail("it is empty") }
    var rest = Substring(text)
    var total: Int64 = 0
    var smallest = Int64.max
    while !rest.isEmpty {
      let digits = rest.prefix { $0.isASCII && $0.isNumber }
      guard !digits.isEmpty else { throw fail("\"\(rest)\" does not begin with a whole number") }
      rest = rest.dropFirst(digits.count)
      let unitText = rest.prefix { $0.isASCII && $0.isLetter }
      rest = rest.dropFirst(unitText.count)
      if unitText.isEmpty {
        throw fail(rest.isEmpty ? "it has no unit" : "use a whole number of a smaller unit")
      }
      guard let unit = units.first(where: { $0.name == unitText }) else {
        throw fail("\"\(unitText)\" is not one of w, d, h, m, s, ms, us, ns")
      }
      guard unit.nanoseconds < smallest else { throw fail("larger units come first, each once") }
      smallest = unit.nanoseconds
      guard let number = Int64(digits) else { throw fail("the number is too large") }
      let (part, partOverflow) = number.multipliedReportingOverflow(by: unit.nanoseconds)
      let (sum, sumOverflow) = total.addingReportingOverflow(part)
      guard !partOverflow, !sumOverflow else { throw fail("the number is too large") }
      total = sum
    }
    return .nanoseconds(total)
  }

  /// As `parse`, where `inf` is allowed and answered with nil: no bound.
  package static func parseOrInfinite(_ text: String) throws(ServiceError) -> Duration? {
    text == "inf" ? nil : try parse(text)
  }

  /// The form that `parse` reads back to the same duration: `1h30m`, `250ms`, `0s`. Parts of a nanosecond are dropped.
  /// - Precondition: not negative, and at most 292 years.
  package static func format(_ duration: Duration) -> String {
    var rest = duration.wholeNanoseconds
    precondition(rest >= 0, "negative duration \(duration)")
    if rest == 0 { return "0s" }
    var result = ""
    // Weeks are read but not written: 30d is clearer than 4w2d.
    for unit in units.dropFirst() where rest >= unit.nanoseconds {
      result += "\(rest / unit.nanoseconds)\(unit.name)"
      rest %= unit.nanoseconds
    }
    return result
  }

  /// As `format`; nil is `inf`.
  package static func format(orInfinite duration: Duration?) -> String { duration.map { format($0) } ?? "inf" }
}

extension Duration {
  /// Whole nanoseconds, the rest dropped. Traps beyond 292 years.
  package var wholeNanoseconds: Int64 {
    components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000
  }

  /// Seconds as a number for metrics and messages.
  package var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
