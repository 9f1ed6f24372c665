/// The tokens of a selector.
struct SelectorScanner {
  private let bytes: [UInt8]
  private(set) var position = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { position >= bytes.count }

  func isAt(_ character: Unicode.Scalar) -> Bool {
    position < bytes.count && bytes[position] == UInt8(ascii: character)
  }

  var isAtQuote: Bool { isAt("\"") || isAt("'") || isAt("`") }

  /// What was found where something else had to stand.
  func unexpected(_ wanted: String) -> SelectorError {
    let found =
      isAtEnd
      ? "the text ends" : "found \(String(decoding: bytes[position..<min(bytes.count, position + 16)], as: UTF8.self))"
    return SelectorError(position: position, reason: "\(found) where \(wanted) is expected")
  }

  mutating func skipBlanks() {
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r"): position += 1
      case UInt8(ascii: "#"):
        while position < bytes.count, bytes[position] != UInt8(ascii: "\n") { position += 1 }
      default: return
      }
    }
  }

  mutating func take(_ character: Unicode.Scalar) -> Bool {
    guard isAt(character) else { return false }
    position += 1
    return true
  }

  /// A name without quotes; those of metrics may have colons.
  mutating func readName(colons: Bool) -> String? {
    let start = position
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"):
        position += 1
      case UInt8(ascii: "0")...UInt8(ascii: "9") where position > start: position += 1
      case UInt8(ascii: ":") where colons: position += 1
      default: return name(from: start)
      }
    }
    return name(from: start)
  }

  private func name(from start: Int) -> String? {
    position > start ? String(decoding: bytes[start..<position], as: UTF8.self) : nil
  }

  mutating func readOperation() -> Selector.Operation? {
    guard position < bytes.count else { return nil }
    let next = position + 1 < bytes.count ? bytes[position + 1] : 0
    switch (bytes[position], next) {
    case (UInt8(ascii: "="), UInt8(ascii: "~")):
      position += 2
      return .matches
    case (UInt8(ascii: "="), _):
      position += 1
      return .equal
    case (UInt8(ascii: "!"), UInt8(ascii: "=")):
      position += 2
      return .notEqual
    case (UInt8(ascii: "!"), UInt8(ascii: "~")):
      position += 2
      return .matchesNot
    default: return nil
    }
  }

  /// A string at a quote: with Go's escapes, or as it stands between back quotes.
  mutating func readString() throws(SelectorError) -> String {
    let start = position
    let quote = bytes[position]
    position += 1
    var content: [UInt8] = []
    while position < bytes.count {
      let byte = bytes[position]
      if byte == quote {
        position += 1
        guard let text = String(validating: content, as: UTF8.self) else {
          throw SelectorError(position: start, reason: "the string is not UTF-8")
        }
        return text
      }
      if quote != UInt8(ascii: "`") {
        if byte == UInt8(ascii: "\n") { break }
        if byte == UInt8(ascii: "\\") {
          try readEscape(quote, into: &content)
          continue
        }
      }
      content.append(byte)
      position += 1
    }
    throw SelectorError(position: start, reason: "the string has no end")
  }

  private mutating func readEscape(_ quote: UInt8, into content: inout [UInt8]) throws(SelectorError) {
    let start = position
    func wrong() -> SelectorError { SelectorError(position: start, reason: "this escape is not known") }
    guard position + 1 < bytes.count else { throw wrong() }
    let kind = bytes[position + 1]
    position += 2
    switch kind {
    case UInt8(ascii: "a"): content.append(0x07)
    case UInt8(ascii: "b"): content.append(0x08)
    case UInt8(ascii: "f"): content.append(0x0c)
    case UInt8(ascii: "n"): content.append(0x0a)
    case UInt8(ascii: "r"): content.append(0x0d)
    case UInt8(ascii: "t"): content.append(0x09)
    case UInt8(ascii: "v"): content.append(0x0b)
    case UInt8(ascii: "\\"): content.append(kind)
    case quote: content.append(kind)
    case UInt8(ascii: "x"):
      guard let value = readDigits(2, radix: 16) else { throw wrong() }
      content.append(UInt8(value))
    case UInt8(ascii: "u"), UInt8(ascii: "U"):
      guard let value = readDigits(kind == UInt8(ascii: "u") ? 4 : 8, radix: 16), let scalar = Unicode.Scalar(value)
      else { throw wrong() }
      content += Array(String(scalar).utf8)
    case UInt8(ascii: "0")...UInt8(ascii: "7"):
      position -= 1
      guard let value = readDigits(3, radix: 8), value < 256 else { throw wrong() }
      content.append(UInt8(value))
    default: throw wrong()
    }
  }

  /// Exactly so many digits.
  private mutating func readDigits(_ count: Int, radix: UInt32) -> UInt32? {
    guard position + count <= bytes.count else { return nil }
    var value: UInt32 = 0
    for byte in bytes[position..<position + count] {
      let digit: UInt32
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt32(byte) - 48
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = UInt32(byte) - 87
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = UInt32(byte) - 55
      default: return nil
      }
      guard digit < radix else { return nil }
      value = value << (radix == 16 ? 4 : 3) | digit
    }
    position += count
    return value
  }
}
