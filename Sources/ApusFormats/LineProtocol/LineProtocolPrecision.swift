/// The unit of a line's timestamp, told by the request's `precision` parameter.
package enum LineProtocolPrecision: String, Hashable, Sendable, CaseIterable {
  case nanoseconds = "ns"
  case microseconds = "us"
  case milliseconds = "ms"
  case seconds = "s"
  case minutes = "m"
  case hours = "h"

  /// The parameter in the words of InfluxDB's versions 1 (`n`, `u`, …), 2 and 3 (`ns`, `us`, `nanosecond`, …); absent
  /// or empty it means nanoseconds. Nil for any other word.
  package init?(parameter: String?) {
    switch parameter ?? "" {
    case "", "n", "ns", "nanosecond": self = .nanoseconds
    case "u", "us", "µ", "µs", "microsecond": self = .microseconds
    case "ms", "millisecond": self = .milliseconds
    case "s", "second": self = .seconds
    case "m": self = .minutes
    case "h": self = .hours
    default: return nil
    }
  }

  /// The instant in milliseconds, rounded down; nil when it is beyond what 64 bits hold.
  package func milliseconds(_ value: Int64) -> Int64? {
    switch self {
    case .nanoseconds: LineProtocolPrecision.floor(value, 1_000_000)
    case .microseconds: LineProtocolPrecision.floor(value, 1_000)
    case .milliseconds: value
    case .seconds: LineProtocolPrecision.scale(value, 1_000)
    case .minutes: LineProtocolPrecision.scale(value, 60_000)
    case .hours: LineProtocolPrecision.scale(value, 3_600_000)
    }
  }

  private static func floor(_ value: Int64, _ divisor: Int64) -> Int64 {
    let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? quotient - 1 : quotient
  }

  private static func scale(_ value: Int64, _ factor: Int64) -> Int64? {
    let (product, overflow) = value.multipliedReportingOverflow(by: factor)
    return overflow ? nil : product
  }
}
