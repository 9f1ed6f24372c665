/// JSON that breaks RFC 8259, or is not what its reader asked for.
package struct JSONError: Error, Hashable, Sendable {
  package enum Kind: Hashable, Sendable {
    case unexpectedEnd
    /// Something else stands where this was expected.
    case expected(JSONExpectation)
    case invalidNumber
    /// A number beyond the range that the reader asked for.
    case numberOutOfRange
    case invalidEscape
    /// Half of a surrogate pair.
    case loneSurrogate
    case invalidUTF8
    /// A byte below 0x20 inside a string.
    case controlCharacter
    case tooDeep(limit: Int)
    case trailingBytes
  }

  package var kind: Kind
  /// Where, in bytes from the start of the text.
  package var offset: Int

  package init(kind: Kind, offset: Int) {
    self.kind = kind
    self.offset = offset
  }
}

/// What a reader of JSON may have asked for.
package enum JSONExpectation: String, Hashable, Sendable {
  case value = "a value"
  case object = "an object"
  case array = "an array"
  case string = "a string"
  case number = "a number"
  case boolean = "true or false"
  case null = "null"
  case key = "a key in quotes"
  case colon = "a colon"
  case commaOrEnd = "a comma or the end of the list"
}

extension JSONError: CustomStringConvertible {
  package var description: String {
    let what =
      switch kind {
      case .unexpectedEnd: "the text ends too early"
      case .expected(let expectation): "expected \(expectation.rawValue)"
      case .invalidNumber: "not a number as JSON writes them"
      case .numberOutOfRange: "the number is out of range"
      case .invalidEscape: "unknown escape in a string"
      case .loneSurrogate: "half of a surrogate pair in a string"
      case .invalidUTF8: "a string is not UTF-8"
      case .controlCharacter: "a string holds a control character that must be escaped"
      case .tooDeep(let limit): "nested deeper than \(limit)"
      case .trailingBytes: "something follows the end of the value"
      }
    return "invalid JSON at byte \(offset): \(what)"
  }
}

/// Pulls values out of a JSON text, strictly as RFC 8259 has them, without a tree and without an allocation a token.
///
///     var scanner = JSONScanner(bytes)
///     try scanner.beginObject()
///     while let key = try scanner.nextKey() {
///       if key == "type" { type = try scanner.readString().string } else { try scanner.skipValue() }
///     }
///     try scanner.finish()
///
/// For each key exactly one value must be read or skipped, and likewise for each `nextElement`. After an error the
/// scanner must not be used again.
///
/// Invariant (unsafe memory): the caller keeps `bytes` alive for as long as the scanner and what it returned are used.
package struct JSONScanner {
  package let bytes: UnsafeRawBufferPointer
  /// Where the next token is looked for.
  package private(set) var position = 0
  package let maxDepth: Int
  private var depth = 0
  /// A list was just opened: its first member has no comma before it.
  private var isAtStart = false

  /// - Parameter maxDepth: how deep objects and arrays may nest, at most 64.
  package init(_ bytes: UnsafeRawBufferPointer, maxDepth: Int = 64) {
    precondition((1...64).contains(maxDepth), "maxDepth \(maxDepth) is not in 1...64")
    self.bytes = bytes
    self.maxDepth = maxDepth
  }

  /// What kind of value comes next, told by its first byte; nothing is consumed but white space.
  package mutating func peekKind() throws(JSONError) -> JSONKind {
    switch try peek() {
    case UInt8(ascii: "{"): return .object
    case UInt8(ascii: "["): return .array
    case UInt8(ascii: "\""): return .string
    case UInt8(ascii: "t"), UInt8(ascii: "f"): return .boolean
    case UInt8(ascii: "n"): return .null
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number
    default: throw failure(.expected(.value))
    }
  }

  package mutating func beginObject() throws(JSONError) { try open(UInt8(ascii: "{"), .object) }

  /// The next member's name, behind its colon; nil once the object is closed.
  package mutating func nextKey() throws(JSONError) -> JSONText? {
    guard try nextMember(closing: UInt8(ascii: "}")) else { return nil }
    guard try peek() == UInt8(ascii: "\"") else { throw failure(.expected(.key)) }
    let key = try scanString()
    guard try peek() == UInt8(ascii: ":") else { throw failure(.expected(.colon)) }
    position += 1
    return key
  }

  package mutating func beginArray() throws(JSONError) { try open(UInt8(ascii: "["), .array) }

  /// Whether there is another element to read; false once the array is closed.
  package mutating func nextElement() throws(JSONError) -> Bool {
    try nextMember(closing: UInt8(ascii: "]"))
  }

  package mutating func readString() throws(JSONError) -> JSONText {
    guard try peek() == UInt8(ascii: "\"") else { throw failure(.expected(.string)) }
    isAtStart = false
    return try scanString()
  }

  package mutating func readNumber() throws(JSONError) -> JSONNumber {
    guard try peekKind() == .number else { throw failure(.expected(.number)) }
    isAtStart = false
    return try scanNumber()
  }

  /// A number without fraction or exponent that fits; `numberOutOfRange` otherwise.
  package mutating func readInteger() throws(JSONError) -> Int64 {
    let number = try readNumber()
    guard let value = number.integer else {
      throw JSONError(kind: .numberOutOfRange, offset: position - number.bytes.count)
    }
    return value
  }

  package mutating func readBoolean() throws(JSONError) -> Bool {
    switch try peek() {
    case UInt8(ascii: "t"): try literal("true", .boolean)
    case UInt8(ascii: "f"):
      try literal("false", .boolean)
      return false
    default: throw failure(.expected(.boolean))
    }
    return true
  }

  package mutating func readNull() throws(JSONError) {
    guard try peek() == UInt8(ascii: "n") else { throw failure(.expected(.null)) }
    try literal("null", .null)
  }

  /// Passes over one value of any kind, checking it as strictly as if it were read. Returns its bytes.
  @discardableResult
  package mutating func skipValue() throws(JSONError) -> UnsafeRawBufferPointer {
    _ = try peek()
    let start = position
    let outerDepth = depth
    // Bit n says whether the list that is open n levels further in is an object.
    var objects: UInt64 = 0
    repeat {
      if depth > outerDepth {
        let isObject = objects >> UInt64(depth - outerDepth - 1) & 1 == 1
        let hasMember = isObject ? try nextKey() != nil : try nextElement()
        if !hasMember { continue }
      }
      switch try peekKind() {
      case .object:
        try beginObject()
        objects |= 1 << UInt64(depth - outerDepth - 1)
      case .array:
        try beginArray()
        objects &= ~(1 << UInt64(depth - outerDepth - 1))
      case .string: _ = try readString()
      case .number: _ = try readNumber()
      case .boolean: _ = try readBoolean()
      case .null: try readNull()
      }
    } while depth > outerDepth
    return UnsafeRawBufferPointer(rebasing: bytes[start..<position])
  }

  /// Passes over a value that the caller knows to be valid, up to its end.
  package mutating func skipKnownValue(endingAt end: Int) {
    precondition(end > position && end <= bytes.count, "value from \(position) to \(end) of \(bytes.count) bytes")
    position = end
    isAtStart = false
  }

  /// Checks that nothing but white space follows.
  package mutating func finish() throws(JSONError) {
    skipWhitespace()
    guard position == bytes.count else { throw failure(.trailingBytes) }
  }
}

/// The kinds of JSON values.
package enum JSONKind: Hashable, Sendable {
  case object
  case array
  case string
  case number
  case boolean
  case null
}

extension JSONScanner {
  private func failure(_ kind: JSONError.Kind) -> JSONError { JSONError(kind: kind, offset: position) }

  private mutating func skipWhitespace() {
    while position < bytes.count {
      switch bytes[position] {
      case 0x20, 0x09, 0x0a, 0x0d: position += 1
      default: return
      }
    }
  }

  /// The first byte that is not white space, not consumed.
  private mutating func peek() throws(JSONError) -> UInt8 {
    skipWhitespace()
    guard position < bytes.count else { throw failure(.unexpectedEnd) }
    return bytes[position]
  }

  private mutating func open(_ bracket: UInt8, _ expectation: JSONExpectation) throws(JSONError) {
    guard try peek() == bracket else { throw failure(.expected(expectation)) }
    guard depth < maxDepth else { throw failure(.tooDeep(limit: maxDepth)) }
    position += 1
    depth += 1
    isAtStart = true
  }

  /// Passes the comma before the next member, or the closing bracket, and says which it was.
  private mutating func nextMember(closing bracket: UInt8) throws(JSONError) -> Bool {
    let byte = try peek()
    if byte == bracket {
      position += 1
      depth -= 1
      isAtStart = false
      return false
    }
    if isAtStart {
      isAtStart = false
      return true
    }
    guard byte == UInt8(ascii: ",") else { throw failure(.expected(.commaOrEnd)) }
    position += 1
    return true
  }

  private mutating func literal(_ word: StaticString, _ expectation: JSONExpectation) throws(JSONError) {
    let count = word.utf8CodeUnitCount
    guard count <= bytes.count - position else { throw failure(.unexpectedEnd) }
    for index in 0..<count where bytes[position + index] != word.utf8Start[index] {
      throw failure(.expected(expectation))
    }
    position += count
    isAtStart = false
  }

  /// From the opening quote to behind the closing one.
  private mutating func scanString() throws(JSONError) -> JSONText {
    position += 1
    let start = position
    var hasEscapes = false
    while true {
      position = JSONScanner.endOfPlainText(bytes, from: position)
      guard position < bytes.count else { throw failure(.unexpectedEnd) }
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "\""):
        let content = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
        position += 1
        return JSONText(bytes: content, hasEscapes: hasEscapes)
      case UInt8(ascii: "\\"):
        hasEscapes = true
        try scanEscape()
      case 0..<0x20: throw failure(.controlCharacter)
      case 0x80...:
        let length = UTF8Check.sequenceLength(bytes, at: position)
        guard length > 0 else { throw failure(.invalidUTF8) }
        position += length
      default: position += 1
      }
    }
  }

  private mutating func scanEscape() throws(JSONError) {
    guard position + 1 < bytes.count else { throw failure(.unexpectedEnd) }
    switch bytes[position + 1] {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
      UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      position += 2
    case UInt8(ascii: "u"):
      guard let unit = JSONText.hexUnit(bytes, at: position + 2) else { throw failure(.invalidEscape) }
      if unit & 0xf800 != 0xd800 {
        position += 6
        return
      }
      guard unit < 0xdc00, position + 12 <= bytes.count, bytes[position + 6] == UInt8(ascii: "\\"),
        bytes[position + 7] == UInt8(ascii: "u"), let low = JSONText.hexUnit(bytes, at: position + 8),
        low & 0xfc00 == 0xdc00
      else { throw failure(.loneSurrogate) }
      position += 12
    default: throw failure(.invalidEscape)
    }
  }

  private mutating func scanNumber() throws(JSONError) -> JSONNumber {
    let start = position
    var isInteger = true
    if bytes[position] == UInt8(ascii: "-") { position += 1 }
    if position < bytes.count, bytes[position] == UInt8(ascii: "0") {
      position += 1
    } else {
      try scanDigits(from: start)
    }
    if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
      isInteger = false
      position += 1
      try scanDigits(from: start)
    }
    if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") {
      isInteger = false
      position += 1
      if position < bytes.count, bytes[position] == UInt8(ascii: "+") || bytes[position] == UInt8(ascii: "-") {
        position += 1
      }
      try scanDigits(from: start)
    }
    if position < bytes.count, JSONScanner.continuesNumber(bytes[position]) {
      throw JSONError(kind: .invalidNumber, offset: start)
    }
    return JSONNumber(bytes: UnsafeRawBufferPointer(rebasing: bytes[start..<position]), isInteger: isInteger)
  }

  /// At least one digit; `start` is where the number began, for the error.
  private mutating func scanDigits(from start: Int) throws(JSONError) {
    let first = position
    while position < bytes.count, bytes[position] &- 0x30 < 10 { position += 1 }
    guard position > first else {
      if position == bytes.count { throw failure(.unexpectedEnd) }
      throw JSONError(kind: .invalidNumber, offset: start)
    }
  }

  /// Bytes that show that a number was meant to go on (`01`, `1.2.3`, `1x`).
  private static func continuesNumber(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "+"), UInt8(ascii: "-"),
      UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"):
      true
    default: false
    }
  }

  /// The first byte from `start` on that is a quote, a backslash, a control character or not ASCII; eight at a time.
  @inline(__always)
  private static func endOfPlainText(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
    let ones: UInt64 = 0x0101_0101_0101_0101
    let tops: UInt64 = 0x8080_8080_8080_8080
    var position = start
    while position + 8 <= bytes.count {
      let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
      let quote = word ^ (ones &* 0x22)
      let backslash = word ^ (ones &* 0x5c)
      // The borrow marks each byte below a bound. A false mark stands only above a true one, or on a byte with its
      // top bit set, which is a stop as well; so the lowest mark is always true.
      let marks = ((quote &- ones) | (backslash &- ones) | (word &- ones &* 0x20) | word) & tops
      if marks != 0 { return position + marks.trailingZeroBitCount / 8 }
      position += 8
    }
    while position < bytes.count {
      let byte = bytes[position]
      if byte == 0x22 || byte == 0x5c || byte < 0x20 || byte >= 0x80 { return position }
      position += 1
    }
    return position
  }
}
