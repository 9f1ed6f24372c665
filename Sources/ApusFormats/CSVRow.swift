/// One row of a CSV taken into its fields (RFC 4180). Positions are bytes of the text it stands in.
struct CSVRow {
  struct Field {
    /// Without the quotes around it.
    var range: Range<Int>
    /// It holds doubled quotes.
    var hasDoubledQuotes = false
  }

  private(set) var fields: [Field] = []

  /// Takes a whole row, line end included, into its fields; the problem where a closing quote is followed by text.
  mutating func split(_ text: UnsafeRawBufferPointer, _ row: Range<Int>) -> CSVProblem? {
    fields.removeAll(keepingCapacity: true)
    var end = row.upperBound
    if end > row.lowerBound, text[end - 1] == 0x0a { end -= 1 }
    if end > row.lowerBound, text[end - 1] == 0x0d { end -= 1 }
    var position = row.lowerBound
    while true {
      if position < end, text[position] == UInt8(ascii: "\"") {
        let start = position + 1
        var hasDoubledQuotes = false
        position = start
        while true {
          guard position < end else { return .unterminatedQuote }
          if text[position] == UInt8(ascii: "\"") {
            guard position + 1 < end, text[position + 1] == UInt8(ascii: "\"") else { break }
            hasDoubledQuotes = true
            position += 1
          }
          position += 1
        }
        fields.append(Field(range: start..<position, hasDoubledQuotes: hasDoubledQuotes))
        position += 1
        if position < end, text[position] != UInt8(ascii: ",") { return .textAfterQuote }
      } else {
        let start = position
        while position < end, text[position] != UInt8(ascii: ",") { position += 1 }
        fields.append(Field(range: start..<position))
      }
      if position >= end { return nil }
      position += 1
    }
  }

  /// The text of a field, or nil when it is not UTF-8.
  func text(_ index: Int, in text: UnsafeRawBufferPointer) -> String? {
    let field = fields[index]
    guard field.hasDoubledQuotes else { return String(validating: text[field.range], as: UTF8.self) }
    var plain: [UInt8] = []
    plain.reserveCapacity(field.range.count)
    var position = field.range.lowerBound
    while position < field.range.upperBound {
      plain.append(text[position])
      position += text[position] == UInt8(ascii: "\"") ? 2 : 1
    }
    return String(validating: plain, as: UTF8.self)
  }
}

/// Looks for the end of a row, byte after byte, and can be stopped anywhere: quotes may hold line feeds.
struct CSVRowEnd: Sendable {
  private enum State: Sendable {
    case fieldStart
    case bare
    case quoted
    /// Behind a quote inside quotes: the end of the field, or the first of a doubled one.
    case quote
  }

  private var state = State.fieldStart

  var isInQuotes: Bool { state == .quoted }

  /// The position behind the line feed that ends the row, or nil when the text ends before it.
  mutating func find(_ text: UnsafeRawBufferPointer, from start: Int) -> Int? {
    var position = start
    while position < text.count {
      let byte = text[position]
      position += 1
      switch state {
      case .quoted:
        if byte == UInt8(ascii: "\"") { state = .quote }
        continue
      case .quote where byte == UInt8(ascii: "\""):
        state = .quoted
        continue
      case .fieldStart where byte == UInt8(ascii: "\""):
        state = .quoted
        continue
      case .fieldStart, .bare, .quote: break
      }
      switch byte {
      case 0x0a: return position
      case UInt8(ascii: ","): state = .fieldStart
      case 0x0d where state == .quote: break
      default: state = .bare
      }
    }
    return nil
  }
}
