import ApusIO
import ApusModel
import ApusPipeline
import ApusService
import ArgumentParser

/// The readers of option values that say in their errors what was wrong and how to write it.
enum Parsing {
  static func bytes(_ text: String) throws -> ByteCount {
    try explained { () throws(ServiceError) in try ByteCount.parse(text) }
  }

  /// A size of at least one byte.
  static func positiveBytes(_ text: String) throws -> ByteCount {
    let size = try bytes(text)
    guard size.bytes > 0 else { throw ValidationError("it must be larger than nothing") }
    return size
  }

  static func duration(_ text: String) throws -> Duration {
    try explained { () throws(ServiceError) in try DurationText.parse(text) }
  }

  static func positiveDuration(_ text: String) throws -> Duration {
    let duration = try duration(text)
    guard duration > .zero else { throw ValidationError("it must be longer than nothing") }
    return duration
  }

  static func retention(_ text: String) throws -> Retention {
    try explained { () throws(ServiceError) in Retention(duration: try DurationText.parseOrInfinite(text)) }
  }

  static func address(_ text: String) throws -> ListenAddress {
    try explained { () throws(ServiceError) in try ListenAddress.parse(text) }
  }

  static func fleet(_ text: String) throws -> FleetShape {
    try explained { () throws(PipelineError) in try FleetShape(parsing: text) }
  }

  /// An instant as RFC 3339, or `now`.
  static func instant(_ text: String) throws -> Timestamp {
    if text == "now" { return Timestamp(milliseconds: SystemClock().now) }
    guard let milliseconds = RFC3339.parse(text) else {
      throw ValidationError("write a time like 2026-01-01T00:00:00Z")
    }
    return Timestamp(milliseconds: milliseconds)
  }

  private static func explained<Value, Failure: Error & CustomStringConvertible>(
    _ body: () throws(Failure) -> Value
  ) throws -> Value {
    do { return try body() } catch { throw ValidationError(error.description) }
  }
}

/// How long to keep something; without a duration, for ever (`inf`).
struct Retention: Hashable, Sendable, CustomStringConvertible {
  var duration: Duration?

  var description: String { DurationText.format(orInfinite: duration) }

  /// Whole milliseconds; nil for ever.
  var milliseconds: Int64? { duration.map { $0.wholeNanoseconds / 1_000_000 } }
}

extension ListenAddress: ExpressibleByArgument {
  package init?(argument: String) {
    guard let address = try? ListenAddress.parse(argument) else { return nil }
    self = address
  }

  package var defaultValueDescription: String { description }
}

/// `1/3`: the first of three streamers that share one file.
struct ShardText: Hashable, Sendable, CustomStringConvertible {
  /// From 0.
  var index: Int
  var count: Int

  var description: String { "\(index + 1)/\(count)" }

  static func parse(_ text: String) throws -> ShardText {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let number = Int(parts[0]), let count = Int(parts[1]), count > 0,
      (1...count).contains(number)
    else { throw ValidationError("write it as i/n with i from 1 to n, like 1/2") }
    return ShardText(index: number - 1, count: count)
  }
}

/// `name=value`, a label put on everything that a source reports.
struct LabelText: Hashable, Sendable, CustomStringConvertible {
  var name: String
  var value: String

  var description: String { "\(name)=\(value)" }

  static func parse(_ text: String) throws -> LabelText {
    guard let equals = text.firstIndex(of: "=") else { throw ValidationError("write it as name=value") }
    let name = String(text[..<equals])
    let isName = name.utf8.enumerated().allSatisfy { index, byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"): true
      case UInt8(ascii: "0")...UInt8(ascii: "9"): index > 0
      default: false
      }
    }
    guard isName, !name.isEmpty, !name.hasPrefix("__") else {
      throw ValidationError("\"\(name)\" cannot be a label's name; use letters, digits and _")
    }
    return LabelText(name: name, value: String(text[text.index(after: equals)...]))
  }
}
