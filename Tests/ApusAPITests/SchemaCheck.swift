import ApusAPI

/// Compares a value with a schema: as much of JSON Schema as the document uses.
struct SchemaCheck {
  let document: JSONTree

  /// The first thing that is not as the schema says, or nil.
  func mismatch(_ value: JSONTree, _ schema: JSONTree, at place: String) -> String? {
    if let reference = schema["$ref"]?.string {
      guard let name = reference.split(separator: "/").last,
        let target = document["components"]?["schemas"]?[String(name)]
      else { return "\(place): \(reference) leads nowhere" }
      return mismatch(value, target, at: place)
    }
    if let alternatives = schema["anyOf"]?.elements {
      let reasons = alternatives.compactMap { mismatch(value, $0, at: place) }
      return reasons.count < alternatives.count ? nil : reasons.joined(separator: "; or ")
    }
    if let words = schema["enum"]?.elements, !words.contains(value) { return "\(place): \(value) is none of \(words)" }
    switch schema["type"]?.string {
    case "object": return object(value, schema, at: place)
    case "array":
      guard case .array(let elements) = value else { return "\(place): \(value) is no array" }
      guard let items = schema["items"] else { return nil }
      for (index, element) in elements.enumerated() {
        if let reason = mismatch(element, items, at: "\(place)[\(index)]") { return reason }
      }
      return nil
    case "string":
      guard let text = value.string else { return "\(place): \(value) is no text" }
      if schema["format"] == "date-time", TimeText.parse(text) == nil { return "\(place): \(text) is no time" }
      return nil
    case "integer":
      guard case .integer(let number) = value else { return "\(place): \(value) is no whole number" }
      if let minimum = schema["minimum"]?.double, Double(number) < minimum { return "\(place): \(number) is too small" }
      return nil
    case "number": return value.double == nil ? "\(place): \(value) is no number" : nil
    case "boolean":
      guard case .boolean = value else { return "\(place): \(value) is no boolean" }
      return nil
    case "null": return value == .null ? nil : "\(place): \(value) is not null"
    default: return nil
    }
  }

  private func object(_ value: JSONTree, _ schema: JSONTree, at place: String) -> String? {
    guard case .object(let members) = value else { return "\(place): \(value) is no object" }
    for required in schema["required"]?.elements.compactMap(\.string) ?? [] where value[required] == nil {
      return "\(place): \(required) is missing"
    }
    for member in members {
      if let known = schema["properties"]?[member.name] {
        if let reason = mismatch(member.value, known, at: "\(place).\(member.name)") { return reason }
      } else if schema["additionalProperties"] == false {
        return "\(place): \(member.name) is not declared"
      } else if let others = schema["additionalProperties"], case .object = others {
        if let reason = mismatch(member.value, others, at: "\(place).\(member.name)") { return reason }
      }
    }
    return nil
  }
}
