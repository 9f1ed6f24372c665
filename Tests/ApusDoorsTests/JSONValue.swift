import ApusIO

/// A JSON text as a tree, for looking at answers in tests.
enum JSONValue: Equatable, Sendable {
  case null
  case boolean(Bool)
  case integer(Int64)
  case double(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  /// Reads one value and answers where it ends.
  static func parse(_ bytes: UnsafeRawBufferPointer) throws -> (value: JSONValue, end: Int) {
    var scanner = JSONScanner(bytes)
    let value = try parse(&scanner)
    return (value, scanner.position)
  }

  static func parse(_ bytes: [UInt8]) throws -> JSONValue { try bytes.withUnsafeBytes { try parse($0).value } }

  private static func parse(_ scanner: inout JSONScanner) throws -> JSONValue {
    switch try scanner.peekKind() {
    case .null:
      try scanner.readNull()
      return .null
    case .boolean: return .boolean(try scanner.readBoolean())
    case .string: return .string(try scanner.readString().string)
    case .number:
      let number = try scanner.readNumber()
      return number.integer.map { .integer($0) } ?? .double(number.double)
    case .array:
      try scanner.beginArray()
      var list: [JSONValue] = []
      while try scanner.nextElement() { list.append(try parse(&scanner)) }
      return .array(list)
    case .object:
      try scanner.beginObject()
      var members: [String: JSONValue] = [:]
      while let key = try scanner.nextKey() { members[key.string] = try parse(&scanner) }
      return .object(members)
    }
  }

  subscript(key: String) -> JSONValue? {
    if case .object(let members) = self { return members[key] }
    return nil
  }

  subscript(index: Int) -> JSONValue? {
    if case .array(let list) = self, list.indices.contains(index) { return list[index] }
    return nil
  }

  var count: Int {
    switch self {
    case .array(let list): list.count
    case .object(let members): members.count
    default: 0
    }
  }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
  init(stringLiteral value: String) { self = .string(value) }
  init(integerLiteral value: Int64) { self = .integer(value) }
  init(booleanLiteral value: Bool) { self = .boolean(value) }
}

extension JSONValue: ExpressibleByDictionaryLiteral {
  init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(Dictionary(uniqueKeysWithValues: elements))
  }
}
