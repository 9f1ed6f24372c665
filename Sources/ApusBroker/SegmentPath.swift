import ApusIO

/// The names of the files of a segment: its base offset in 20 digits, so that names sort as offsets do.
struct SegmentPath: Hashable, Sendable {
  let directory: String
  let baseOffset: Int64

  var log: String { named("log") }
  var offsetIndex: String { named("index") }
  var timeIndex: String { named("timeindex") }
  /// The idempotent producers as they stood where the segment begins.
  var producers: String { named("producers") }
  /// Good batches saved from a corrupt segment, before they take its place.
  var salvage: String { named("salvage") }

  func named(_ suffix: String) -> String { Disks.join(directory, SegmentPath.digits(baseOffset) + "." + suffix) }

  static func digits(_ offset: Int64) -> String {
    let text = String(offset)
    return String(repeating: "0", count: max(0, 20 - text.utf8.count)) + text
  }

  /// The base offset in a file's name, when it is such a name with that suffix.
  static func baseOffset(ofName name: String, suffix: String) -> Int64? {
    guard name.utf8.count == 21 + suffix.utf8.count, name.hasSuffix("." + suffix) else { return nil }
    let digits = name.utf8.prefix(20)
    guard digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else { return nil }
    return Int64(String(name.prefix(20)))
  }
}
