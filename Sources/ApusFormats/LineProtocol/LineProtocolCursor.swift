import ApusIO

/// Walks over the bytes of line protocol: where names, values and lines end.
///
/// Invariant (unsafe memory): used only within the call of the decoder that borrowed the body.
struct LineProtocolCursor {
  let bytes: UnsafeRawBufferPointer
  var position = 0
  /// The line at hand, from 1.
  private(set) var number = 0
  private var lineStart = 0
  /// Where the next line begins; -1 until it is known.
  private var nextStart = 0
  /// Line breaks within the strings of the line at hand.
  private var breaksInside = 0

  init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// Goes to the next line that is neither empty nor a comment; false at the end.
  mutating func nextLine() -> Bool {
    position = nextStart
    number += breaksInside
    breaksInside = 0
    while position < bytes.count {
      number += 1
      lineStart = position
      skipBlanks()
      if isAtLineEnd {
        _ = takeLineEnd()
        position = nextStart
      } else if bytes[position] == UInt8(ascii: "#") {
        abandon(isString: false)
        position = nextStart
      } else {
        return true
      }
    }
    return false
  }

  /// Gives the line up: the next one begins behind the next line break, or, when a string had no end and swallowed all
  /// that follows, behind the first one after the line's beginning.
  mutating func abandon(isString: Bool) {
    if isString {
      position = lineStart
      breaksInside = 0
    }
    while position < bytes.count, bytes[position] != 0x0a { position += 1 }
    nextStart = min(position + 1, bytes.count)
  }

  @inline(__always)
  func isBlank(at place: Int) -> Bool { place < bytes.count && bytes[place] == 0x20 }

  @inline(__always)
  func isEquals(at place: Int) -> Bool { place < bytes.count && bytes[place] == UInt8(ascii: "=") }

  /// Whether the line, and with it the body perhaps, ends here: at LF, CR LF, or CR as the last byte.
  var isAtLineEnd: Bool {
    guard position < bytes.count else { return true }
    if bytes[position] == 0x0a { return true }
    guard bytes[position] == 0x0d else { return false }
    return position + 1 == bytes.count || bytes[position + 1] == 0x0a
  }

  /// Goes behind the line's end; false when there is more of it.
  mutating func takeLineEnd() -> Bool {
    guard isAtLineEnd else { return false }
    if position < bytes.count, bytes[position] == 0x0d { position += 1 }
    nextStart = min(position + 1, bytes.count)
    return true
  }

  /// Whether there was at least one.
  @discardableResult
  mutating func skipBlanks() -> Bool {
    let start = position
    while position < bytes.count, bytes[position] == 0x20 || bytes[position] == 0x09 { position += 1 }
    return position > start
  }

  @inline(__always)
  mutating func take(_ byte: UInt8) -> Bool {
    guard position < bytes.count, bytes[position] == byte else { return false }
    position += 1
    return true
  }

  /// To the blank behind measurement and tags.
  mutating func scanPrefix() throws(SeriesFailure) {
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "\\"): position += isEscape(at: position) ? 2 : 1
      case 0x20: return
      case 0x0a: throw .problem(.missingFields)
      default: position += 1
      }
    }
    throw .problem(.missingFields)
  }

  /// To the equals sign behind a field's name.
  mutating func scanFieldKey() throws(SeriesFailure) {
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "\\"): position += isEscape(at: position) ? 2 : 1
      case UInt8(ascii: "="): return
      case UInt8(ascii: ","), 0x20, 0x0a: throw .problem(.missingFieldValue)
      default: position += 1
      }
    }
    throw .problem(.missingFieldValue)
  }

  /// Whether the backslash at `place` takes the next byte's meaning from it.
  private func isEscape(at place: Int) -> Bool {
    guard place + 1 < bytes.count else { return false }
    let next = bytes[place + 1]
    return next == UInt8(ascii: ",") || next == 0x20 || next == UInt8(ascii: "=")
  }

  /// A field's value as a number, nil for a string; the position moves behind it.
  @inline(__always)
  mutating func scanValue() throws(SeriesFailure) -> Double? {
    let start = position
    if let value = DecimalNumber.scan(bytes, &position) {
      if position == bytes.count || isValueEnd(bytes[position]) {
        guard value.isFinite else { throw .problem(.invalidFieldValue) }
        return value
      }
      return try scanWholeNumber(start)
    }
    return try scanWord()
  }

  /// Digits with `i` or `u` behind them.
  private mutating func scanWholeNumber(_ start: Int) throws(SeriesFailure) -> Double {
    let digits = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
    let value: Double
    if take(UInt8(ascii: "i")), let number = DecimalNumber.parseInteger(digits) {
      value = Double(number)
    } else if take(UInt8(ascii: "u")), let number = LineProtocolCursor.parseUnsigned(digits) {
      value = Double(number)
    } else {
      throw .problem(.invalidFieldValue)
    }
    guard position == bytes.count || isValueEnd(bytes[position]) else { throw .problem(.invalidFieldValue) }
    return value
  }

  private mutating func scanWord() throws(SeriesFailure) -> Double? {
    guard position < bytes.count, !isValueEnd(bytes[position]) else { throw .problem(.missingFieldValue) }
    if bytes[position] == UInt8(ascii: "\"") {
      try scanString()
      return nil
    }
    let start = position
    while position < bytes.count, !isValueEnd(bytes[position]) { position += 1 }
    switch String(decoding: bytes[start..<min(position, start + 6)], as: UTF8.self) {
    case "t", "T", "true", "True", "TRUE": return 1
    case "f", "F", "false", "False", "FALSE": return 0
    default: throw .problem(.invalidFieldValue)
    }
  }

  private mutating func scanString() throws(SeriesFailure) {
    position += 1
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "\\"):
        // `\"` and `\\` are escapes, any other backslash stands for itself; only the quote matters here.
        let isEscape =
          position + 1 < bytes.count
          && (bytes[position + 1] == UInt8(ascii: "\"") || bytes[position + 1] == UInt8(ascii: "\\"))
        position += isEscape ? 2 : 1
      case UInt8(ascii: "\""):
        position += 1
        guard position == bytes.count || isValueEnd(bytes[position]) else { throw .problem(.invalidFieldValue) }
        return
      case 0x0a:
        breaksInside += 1
        position += 1
      default: position += 1
      }
    }
    throw .problem(.unterminatedString)
  }

  /// A whole number up to a blank or the line's end.
  mutating func scanInteger() -> Int64? {
    let start = position
    while position < bytes.count, bytes[position] != 0x20, !isAtLineEnd { position += 1 }
    return DecimalNumber.parseInteger(UnsafeRawBufferPointer(rebasing: bytes[start..<position]))
  }

  @inline(__always)
  private func isValueEnd(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: ",") || byte == 0x20 || byte == 0x0a || byte == 0x0d
  }

  private static func parseUnsigned(_ digits: UnsafeRawBufferPointer) -> UInt64? {
    guard !digits.isEmpty else { return nil }
    var value: UInt64 = 0
    for byte in digits {
      let digit = byte &- 0x30
      guard digit < 10 else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, overflowToo) = product.addingReportingOverflow(UInt64(digit))
      if overflow || overflowToo { return nil }
      value = sum
    }
    return value
  }

  /// A name without its escapes, up to one of `ends` or the end of the bytes; the position is at that end.
  mutating func takeName(endingWith ends: [UInt8], equalsIsEscaped: Bool) -> [UInt8] {
    var name: [UInt8] = []
    while position < bytes.count {
      let byte = bytes[position]
      if ends.contains(byte) { break }
      if byte == UInt8(ascii: "\\"), position + 1 < bytes.count {
        let next = bytes[position + 1]
        if next == UInt8(ascii: ",") || next == 0x20 || (equalsIsEscaped && next == UInt8(ascii: "=")) {
          name.append(next)
          position += 2
          continue
        }
      }
      name.append(byte)
      position += 1
    }
    return name
  }
}
