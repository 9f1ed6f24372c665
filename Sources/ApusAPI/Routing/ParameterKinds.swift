import ApusIO
import ApusModel
import ApusService

extension Parameter where Value == Int {
  /// A whole number within bounds; `fallback` is only written to the document.
  package static func integer(
    _ name: String, _ summary: String, minimum: Int, maximum: Int, fallback: Int? = nil, isRepeatable: Bool = false
  ) -> Parameter {
    Parameter(
      name, summary, schema: .integer(minimum: minimum, maximum: maximum, fallback: fallback),
      isRepeatable: isRepeatable
    ) { text throws(ParameterRefusal) in
      guard let value = wholeNumber(text) else { throw ParameterRefusal("is not a whole number") }
      guard value >= minimum, value <= maximum else {
        throw ParameterRefusal("is \(text); it may be \(minimum) to \(maximum)")
      }
      return value
    }
  }

  /// As JSON writes whole numbers: no plus sign, no leading zeros, so that one number has one spelling.
  private static func wholeNumber(_ text: String) -> Int? {
    let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
    guard digits.count <= 19, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      digits.count == 1 || digits.first != "0"
    else { return nil }
    return Int(text)
  }
}

extension Parameter where Value == String {
  /// Any text of 1 to `maxLength` characters.
  package static func text(
    _ name: String, in place: ParameterDeclaration.Place = .query, _ summary: String, maxLength: Int = 256,
    isRepeatable: Bool = false
  ) -> Parameter {
    Parameter(
      name, in: place, summary, schema: .text(minLength: 1, maxLength: maxLength), isRepeatable: isRepeatable
    ) { text throws(ParameterRefusal) in
      if text.isEmpty { throw ParameterRefusal("is empty") }
      // The document counts characters as code points, so this does too.
      guard text.unicodeScalars.count <= maxLength else {
        throw ParameterRefusal("is longer than \(maxLength) characters")
      }
      return text
    }
  }
}

extension Parameter where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
  /// One of a few words.
  package static func choice(_ name: String, _ summary: String) -> Parameter {
    let words = Value.allCases.map(\.rawValue)
    return Parameter(name, summary, schema: .choice(words)) { text throws(ParameterRefusal) in
      guard let value = Value(rawValue: text) else {
        throw ParameterRefusal("is \"\(text.prefix(64))\"; it may be \(words.joined(separator: " or "))")
      }
      return value
    }
  }
}

extension Parameter where Value == Timestamp {
  /// An instant: RFC 3339, or seconds since 1970 with an optional fraction.
  package static func time(_ name: String, _ summary: String) -> Parameter {
    let seconds = Schema.number.json
    var bounded: [JSONTree.Member] = []
    if case .object(let members) = seconds { bounded = members }
    bounded.append(.init("minimum", .integer(RFC3339.earliest / 1000)))
    bounded.append(.init("maximum", .integer(RFC3339.latest / 1000)))
    let schema = Schema.anyOf([.time, Schema(members: bounded)])
    return Parameter(name, summary, schema: schema) { text throws(ParameterRefusal) in
      guard let value = TimeText.parse(text) else {
        throw ParameterRefusal(
          "is \"\(text.prefix(64))\"; write it as RFC 3339 (2025-07-18T20:42:34Z) or as seconds since 1970,"
            + " within the years 0000 to 9999")
      }
      return value
    }
  }
}

extension Parameter where Value == Duration {
  /// A length of time with a unit, above zero and at most 100 years.
  package static func duration(_ name: String, _ summary: String) -> Parameter {
    let pattern = "^([0-9]+(w|d|h|m|s|ms))+$"
    return Parameter(name, summary, schema: .text(pattern: pattern, maxLength: 64)) { text throws(ParameterRefusal) in
      guard text.utf8.count <= 64 else { throw ParameterRefusal("is longer than 64 characters") }
      let value: Duration
      do throws(ServiceError) { value = try DurationText.parse(text) } catch {
        throw ParameterRefusal("cannot be read: \(error)")
      }
      guard value >= .milliseconds(1), value <= .seconds(100 * 366 * 86_400) else {
        throw ParameterRefusal("must be from 1ms to 100 years")
      }
      return value
    }
  }
}

/// Instants as the parameters of requests write them.
package enum TimeText {
  /// RFC 3339 or seconds since 1970; nil for anything else, and outside of the years 0000 to 9999.
  package static func parse(_ text: String) -> Timestamp? {
    if let seconds = decimal(text) {
      let milliseconds = (seconds * 1000).rounded(.down)
      guard milliseconds >= Double(RFC3339.earliest), milliseconds <= Double(RFC3339.latest) else { return nil }
      return Timestamp(milliseconds: Int64(milliseconds))
    }
    // In a query an unescaped plus sign is a space; nobody means a space before an offset.
    var characters = Array(text.utf8)
    if characters.count > 20, characters[characters.count - 6] == UInt8(ascii: " ") {
      characters[characters.count - 6] = UInt8(ascii: "+")
    }
    let parsed = characters.withUnsafeBytes { RFC3339.parse($0) }
    return parsed.map { Timestamp(milliseconds: min(max($0, RFC3339.earliest), RFC3339.latest)) }
  }

  private static func decimal(_ text: String) -> Double? {
    let bytes = Array(text.utf8)
    guard bytes.count <= 32 else { return nil }
    return bytes.withUnsafeBytes { DecimalNumber.parse($0) }
  }
}
