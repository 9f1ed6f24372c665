#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Walks over an answer's bytes. It knows as much of JSON and CSV as the servers' answers need, and nothing of the
/// program's own readers, which are among what is checked.
///
/// Invariant (unsafe memory): lives no longer than the bytes that it was made over, which are followed by a zero.
struct Scanner {
  private let bytes: UnsafePointer<UInt8>
  private let count: Int
  var position = 0

  init(_ bytes: UnsafeBufferPointer<UInt8>) {
    self.bytes = bytes.baseAddress!
    count = bytes.count - 1
  }

  /// Lends a scanner over bytes.
  static func over<Value>(_ bytes: [UInt8], _ body: (inout Scanner) throws(ToolError) -> Value) throws(ToolError)
    -> Value
  {
    let ended = bytes + [0]
    let result = ended.withUnsafeBufferPointer { buffer -> Result<Value, ToolError> in
      var scanner = Scanner(buffer)
      do throws(ToolError) { return .success(try body(&scanner)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  var isAtEnd: Bool { position >= count }
  var byte: UInt8 { bytes[position] }

  /// Steps over the byte if it is this one.
  mutating func take(_ byte: Character) -> Bool {
    guard bytes[position] == byte.asciiValue else { return false }
    position += 1
    return true
  }

  mutating func expect(_ text: StaticString) throws(ToolError) {
    guard position + text.utf8CodeUnitCount <= count,
      memcmp(bytes + position, text.utf8Start, text.utf8CodeUnitCount) == 0
    else {
      let here = String(
        decoding: UnsafeBufferPointer(start: bytes + position, count: min(80, count - position)), as: UTF8.self)
      throw ToolError("\(text) was expected at byte \(position), there is: \(here)")
    }
    position += text.utf8CodeUnitCount
  }

  /// A JSON string without its quotes; escapes are not of this fleet.
  mutating func string() throws(ToolError) -> String {
    try expect("\"")
    return try until("\"")
  }

  /// The text up to a byte, which is stepped over.
  mutating func until(_ end: Character) throws(ToolError) -> String {
    let start = position
    try skip(past: end)
    return String(decoding: UnsafeBufferPointer(start: bytes + start, count: position - 1 - start), as: UTF8.self)
  }

  mutating func skip(past end: Character) throws(ToolError) {
    guard let found = memchr(bytes + position, Int32(end.asciiValue!), count - position) else {
      throw ToolError("the answer ends where \(end) was expected")
    }
    position = UnsafeRawPointer(found) - UnsafeRawPointer(bytes) + 1
  }

  /// A number, read by the C library.
  mutating func number() throws(ToolError) -> Double {
    var end: UnsafeMutablePointer<CChar>?
    let start = UnsafeRawPointer(bytes + position).assumingMemoryBound(to: CChar.self)
    let value = strtod(start, &end)
    guard let end, end > UnsafeMutablePointer(mutating: start) else { throw ToolError("no number at byte \(position)") }
    position += UnsafePointer(end) - start
    return value
  }

  /// A whole number.
  mutating func integer() throws(ToolError) -> Int64 {
    var value: Int64 = 0
    let start = position
    while bytes[position] >= 48, bytes[position] <= 57 {
      value = value * 10 + Int64(bytes[position] - 48)
      position += 1
    }
    guard position > start else { throw ToolError("no whole number at byte \(position)") }
    return value
  }

  /// Seconds with at most three decimals, as milliseconds.
  mutating func seconds() throws(ToolError) -> Int64 {
    var value = try integer() * 1000
    if take(".") {
      var unit: Int64 = 100
      while bytes[position] >= 48, bytes[position] <= 57 {
        value += Int64(bytes[position] - 48) * unit
        unit /= 10
        position += 1
      }
    }
    return value
  }

  /// `2026-01-01T00:00:00.123Z` as milliseconds.
  mutating func instant() throws(ToolError) -> Int64 {
    let year = try integer()
    try expect("-")
    let month = try integer()
    try expect("-")
    let day = try integer()
    try expect("T")
    let hour = try integer()
    try expect(":")
    let minute = try integer()
    try expect(":")
    let rest = try seconds()
    try expect("Z")
    // Days from 1970 by the civil calendar, the year begun in March.
    let shifted = month <= 2 ? year - 1 : year
    let era = shifted / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    return ((days * 24 + hour) * 60 + minute) * 60_000 + rest
  }

  /// `{"name":"value",…}`.
  mutating func labels() throws(ToolError) -> [(name: String, value: String)] {
    var found: [(name: String, value: String)] = []
    try expect("{")
    while !take("}") {
      _ = take(",")
      let name = try string()
      try expect(":")
      found.append((name, try string()))
    }
    return found
  }

  /// A cell of a CSV and what ends it is stepped over. Cells in quotes have theirs doubled.
  mutating func cell() throws(ToolError) -> String {
    guard take("\"") else {
      let start = position
      while position < count, bytes[position] != UInt8(ascii: ","), bytes[position] != 10 { position += 1 }
      defer { position += 1 }
      return String(decoding: UnsafeBufferPointer(start: bytes + start, count: position - start), as: UTF8.self)
    }
    var text = try until("\"")
    while take("\"") { text += "\"" + (try until("\"")) }
    position += 1
    return text
  }

  /// The rest of the line as a place in the bytes, stepped over.
  mutating func line() -> Range<Int> {
    let start = position
    let found = memchr(bytes + position, 10, count - position)
    let end = found.map { UnsafeRawPointer($0) - UnsafeRawPointer(bytes) } ?? count
    position = end + 1
    return start..<end
  }

  func text(_ range: Range<Int>) -> String {
    String(decoding: UnsafeBufferPointer(start: bytes + range.lowerBound, count: range.count), as: UTF8.self)
  }

  func equals(_ range: Range<Int>, _ other: [UInt8]) -> Bool {
    range.count == other.count
      && other.withUnsafeBytes { memcmp(bytes + range.lowerBound, $0.baseAddress!, $0.count) == 0 }
  }

  func copy(_ range: Range<Int>) -> [UInt8] {
    Array(UnsafeBufferPointer(start: bytes + range.lowerBound, count: range.count))
  }
}
