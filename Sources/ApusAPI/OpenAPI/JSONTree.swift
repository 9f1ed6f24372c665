import ApusIO

/// A JSON value whose objects keep the order in which their members were written: what the OpenAPI document is made of.
package indirect enum JSONTree: Hashable, Sendable {
  case null
  case boolean(Bool)
  case integer(Int64)
  case number(Double)
  case string(String)
  case array([JSONTree])
  case object([Member])

  package struct Member: Hashable, Sendable {
    package var name: String
    package var value: JSONTree

    package init(_ name: String, _ value: JSONTree) {
      self.name = name
      self.value = value
    }
  }

  /// The value of a member of an object; nil where it is absent or this is no object.
  package subscript(name: String) -> JSONTree? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  /// The text, two spaces a level, members on lines of their own: made to be read and compared.
  package var indented: [UInt8] {
    var bytes: [UInt8] = []
    JSONTree.append(self, level: 0, to: &bytes)
    return bytes
  }

  private static func append(_ value: JSONTree, level: Int, to bytes: inout [UInt8]) {
    switch value {
    case .array(let elements) where !elements.isEmpty:
      bytes.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        breakLine(before: index, level: level + 1, to: &bytes)
        append(element, level: level + 1, to: &bytes)
      }
      breakLine(before: 0, level: level, to: &bytes)
      bytes.append(UInt8(ascii: "]"))
    case .object(let members) where !members.isEmpty:
      bytes.append(UInt8(ascii: "{"))
      for (index, member) in members.enumerated() {
        breakLine(before: index, level: level + 1, to: &bytes)
        append(.string(member.name), level: level + 1, to: &bytes)
        bytes += ": ".utf8
        append(member.value, level: level + 1, to: &bytes)
      }
      breakLine(before: 0, level: level, to: &bytes)
      bytes.append(UInt8(ascii: "}"))
    default: appendScalar(value, to: &bytes)
    }
  }

  private static func appendScalar(_ value: JSONTree, to bytes: inout [UInt8]) {
    var writer = JSONWriter()
    switch value {
    case .null: writer.null()
    case .boolean(let flag): writer.boolean(flag)
    case .integer(let integer): writer.integer(integer)
    case .number(let number): writer.double(number)
    case .string(let text): writer.string(text)
    case .array:
      writer.beginArray()
      writer.endArray()
    case .object:
      writer.beginObject()
      writer.endObject()
    }
    bytes += writer.bytes
  }

  private static func breakLine(before index: Int, level: Int, to bytes: inout [UInt8]) {
    if index > 0 { bytes.append(UInt8(ascii: ",")) }
    bytes.append(UInt8(ascii: "\n"))
    bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: 2 * level))
  }
}

extension JSONTree: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  package init(stringLiteral value: String) { self = .string(value) }
  package init(integerLiteral value: Int64) { self = .integer(value) }
  package init(booleanLiteral value: Bool) { self = .boolean(value) }
  package init(arrayLiteral elements: JSONTree...) { self = .array(elements) }
  package init(dictionaryLiteral elements: (String, JSONTree)...) { self = .object(elements.map { Member($0, $1) }) }
}
