#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Whether a stretch of a text is the same as remembered bytes.
@inline(__always)
func isEqual(_ text: UnsafeRawBufferPointer, _ range: Range<Int>, _ known: [UInt8]) -> Bool {
  guard range.count == known.count, let base = text.baseAddress else { return false }
  return known.withUnsafeBytes { known in
    known.baseAddress.map { memcmp($0, base + range.lowerBound, known.count) == 0 } ?? true
  }
}

/// Rows that differ from each other in nothing but a time and a value: what a source writes for one series, again and
/// again. Where the next row has the bytes of a known one around those two, its series is known without a look at them.
///
/// A template is the row cut into three pieces, before, between and behind its two tokens. The tokens hold nothing that
/// could end a field, so that bytes which match the pieces also fall into the same fields.
struct RowTemplates: Sendable {
  /// What ends a token that stands without quotes.
  enum Grammar: Sendable {
    case csv
    case json
  }

  struct Template: Sendable {
    fileprivate var start: Int
    fileprivate var before: UInt32
    fileprivate var between: UInt32
    fileprivate var behind: UInt32
    var series: Int32
    /// The template of the row that followed the last row of this one.
    fileprivate var next: Int32
    /// The value comes before the time.
    var isValueFirst: Bool
    /// The row has both tokens; else only the first, which is the value.
    var hasSecond: Bool
    /// How many line feeds the row holds.
    var lines: Int32
  }

  struct Match {
    var template: Int
    var first: Range<Int>
    var second: Range<Int>
    /// Behind the row.
    var end: Int
  }

  /// All templates together; when they are more, all are forgotten.
  static let bytesMax = 256 * 1024 * 1024

  private let grammar: Grammar
  private var bytes: [UInt8] = []
  private(set) var templates: [Template] = []
  private var index: [UInt64: Int32] = [:]
  private var last = 0

  init(_ grammar: Grammar) { self.grammar = grammar }

  subscript(template: Int) -> Template { templates[template] }

  /// The row at `position`, if it is the one that followed the last row the time before.
  mutating func matchNext(_ text: UnsafeRawBufferPointer, at position: Int) -> Match? {
    guard last < templates.count, let base = text.baseAddress else { return nil }
    let index = Int(templates[last].next)
    let template = templates[index]
    let match = bytes.withUnsafeBytes { bytes -> Match? in
      guard let known = bytes.baseAddress else { return nil }
      var cursor = position
      var piece = known + template.start
      guard RowTemplates.take(piece, Int(template.before), text, base, &cursor) else { return nil }
      let first = token(text, cursor)
      cursor = first.upperBound
      piece += Int(template.before)
      guard RowTemplates.take(piece, Int(template.between), text, base, &cursor) else { return nil }
      guard template.hasSecond else {
        return Match(template: index, first: first, second: cursor..<cursor, end: cursor)
      }
      let second = token(text, cursor)
      cursor = second.upperBound
      piece += Int(template.between)
      guard RowTemplates.take(piece, Int(template.behind), text, base, &cursor) else { return nil }
      return Match(template: index, first: first, second: second, end: cursor)
    }
    if match != nil { last = index }
    return match
  }

  /// A known row that was taken apart already, wherever it stood last time.
  mutating func find(
    _ text: UnsafeRawBufferPointer, row: Range<Int>, first: Range<Int>, second: Range<Int>?
  ) -> Int? {
    guard let found = index[hash(text, row, first, second)].map(Int.init), isEqual(found, text, row, first, second)
    else { return nil }
    follow(found)
    return found
  }

  /// Remembers a row. Its tokens must hold no quote, no escape and nothing that ends a field.
  mutating func learn(
    _ text: UnsafeRawBufferPointer, row: Range<Int>, first: Range<Int>, second: Range<Int>?, series: Int32,
    isValueFirst: Bool, lines: Int
  ) {
    if bytes.count + row.count > RowTemplates.bytesMax { forget() }
    let number = templates.count
    let start = bytes.count
    let pieces = RowTemplates.pieces(row, first, second)
    for piece in [pieces.0, pieces.1, pieces.2] { bytes.append(contentsOf: text[piece]) }
    templates.append(
      Template(
        start: start, before: UInt32(pieces.0.count), between: UInt32(pieces.1.count), behind: UInt32(pieces.2.count),
        series: series, next: 0, isValueFirst: isValueFirst, hasSecond: second != nil, lines: Int32(lines)))
    index[hash(text, row, first, second)] = Int32(number)
    follow(number)
  }

  /// Notes that this row came behind the last one.
  private mutating func follow(_ template: Int) {
    // A row that matched and was then looked at more closely comes here as its own successor, which it is not.
    if template != last, last < templates.count { templates[last].next = Int32(template) }
    last = template
  }

  private mutating func forget() {
    bytes = []
    templates = []
    index = [:]
    last = 0
  }

  @inline(__always)
  private static func take(
    _ piece: UnsafeRawPointer, _ count: Int, _ text: UnsafeRawBufferPointer, _ base: UnsafeRawPointer,
    _ cursor: inout Int
  ) -> Bool {
    guard count <= text.count - cursor, memcmp(piece, base + cursor, count) == 0 else { return false }
    cursor += count
    return true
  }

  /// The token at `start`: up to the next quote, or where no quote was opened, to what ends a bare field.
  @inline(__always)
  private func token(_ text: UnsafeRawBufferPointer, _ start: Int) -> Range<Int> {
    var end = start
    if start > 0, text[start - 1] == UInt8(ascii: "\"") {
      while end < text.count, text[end] != UInt8(ascii: "\""), text[end] != UInt8(ascii: "\\"), text[end] >= 0x20 {
        end += 1
      }
    } else {
      while end < text.count, !endsBareField(text[end]) { end += 1 }
    }
    return start..<end
  }

  @inline(__always)
  private func endsBareField(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: ","), UInt8(ascii: "\""), 0x0a, 0x0d: true
    case UInt8(ascii: "}"), 0x20, 0x09: grammar == .json
    default: false
    }
  }

  private static func pieces(
    _ row: Range<Int>, _ first: Range<Int>, _ second: Range<Int>?
  ) -> (Range<Int>, Range<Int>, Range<Int>) {
    let before = row.lowerBound..<first.lowerBound
    guard let second else {
      return (before, first.upperBound..<row.upperBound, row.upperBound..<row.upperBound)
    }
    return (before, first.upperBound..<second.lowerBound, second.upperBound..<row.upperBound)
  }

  private func hash(
    _ text: UnsafeRawBufferPointer, _ row: Range<Int>, _ first: Range<Int>, _ second: Range<Int>?
  ) -> UInt64 {
    let pieces = RowTemplates.pieces(row, first, second)
    var result: UInt64 = 0
    for piece in [pieces.0, pieces.1, pieces.2] {
      result = (result << 7 | result >> 57) ^ KeyHash.hash(UnsafeRawBufferPointer(rebasing: text[piece]))
    }
    return result
  }

  private func isEqual(
    _ template: Int, _ text: UnsafeRawBufferPointer, _ row: Range<Int>, _ first: Range<Int>, _ second: Range<Int>?
  ) -> Bool {
    let template = templates[template]
    let pieces = RowTemplates.pieces(row, first, second)
    guard template.before == pieces.0.count, template.between == pieces.1.count, template.behind == pieces.2.count,
      template.hasSecond == (second != nil)
    else { return false }
    var start = template.start
    for piece in [pieces.0, pieces.1, pieces.2] {
      guard bytes[start..<start + piece.count].elementsEqual(text[piece]) else { return false }
      start += piece.count
    }
    return true
  }
}
