/// What a value looks like: a JSON Schema of draft 2020-12, as OpenAPI 3.1 embeds them.
package struct Schema: Hashable, Sendable {
  package var json: JSONTree

  init(members: [JSONTree.Member]) { json = .object(members) }

  /// A copy with a sentence that says what the value means.
  package func described(_ text: String) -> Schema {
    guard case .object(let members) = json else { return self }
    return Schema(members: members + [.init("description", .string(text))])
  }

  package static func text(
    format: String? = nil, pattern: String? = nil, minLength: Int? = nil, maxLength: Int? = nil
  ) -> Schema {
    var members: [JSONTree.Member] = [.init("type", "string")]
    if let format { members.append(.init("format", .string(format))) }
    if let pattern { members.append(.init("pattern", .string(pattern))) }
    if let minLength { members.append(.init("minLength", .integer(Int64(minLength)))) }
    if let maxLength { members.append(.init("maxLength", .integer(Int64(maxLength)))) }
    return Schema(members: members)
  }

  package static func choice(_ values: [String]) -> Schema {
    Schema(members: [.init("type", "string"), .init("enum", .array(values.map { .string($0) }))])
  }

  package static func integer(minimum: Int? = nil, maximum: Int? = nil, fallback: Int? = nil) -> Schema {
    var members: [JSONTree.Member] = [.init("type", "integer")]
    if let minimum { members.append(.init("minimum", .integer(Int64(minimum)))) }
    if let maximum { members.append(.init("maximum", .integer(Int64(maximum)))) }
    if let fallback { members.append(.init("default", .integer(Int64(fallback)))) }
    return Schema(members: members)
  }

  package static let number = Schema(members: [.init("type", "number")])
  package static let boolean = Schema(members: [.init("type", "boolean")])
  package static let time = text(format: "date-time")

  /// A sample's value: a number, or one of the words for what JSON has no number for.
  package static let sampleValue = anyOf([.number, .choice(["NaN", "+Inf", "-Inf"])])

  /// The same, or null.
  package func orNull() -> Schema { .anyOf([self, Schema(members: [.init("type", "null")])]) }

  package static func array(of element: Schema, maxItems: Int? = nil) -> Schema {
    var members: [JSONTree.Member] = [.init("type", "array"), .init("items", element.json)]
    if let maxItems { members.append(.init("maxItems", .integer(Int64(maxItems)))) }
    return Schema(members: members)
  }

  package static func anyOf(_ alternatives: [Schema]) -> Schema {
    Schema(members: [.init("anyOf", .array(alternatives.map(\.json)))])
  }

  /// An object of exactly these members.
  package static func object(_ properties: [Property]) -> Schema {
    Schema(members: [
      .init("type", "object"),
      .init("properties", .object(properties.map { .init($0.name, $0.schema.json) })),
      .init("required", .array(properties.filter(\.isRequired).map { .string($0.name) })),
      .init("additionalProperties", false),
    ])
  }

  /// An object whose members have names that are not known beforehand.
  package static func map(of value: Schema?) -> Schema {
    Schema(members: [.init("type", "object"), .init("additionalProperties", value?.json ?? true)])
  }

  /// A schema of `components`.
  package static func reference(_ name: String) -> Schema {
    Schema(members: [.init("$ref", .string("#/components/schemas/\(name)"))])
  }

  /// One member of an object.
  package struct Property: Sendable {
    package var name: String
    package var schema: Schema
    package var isRequired: Bool

    package static func required(_ name: String, _ schema: Schema, _ text: String) -> Property {
      Property(name: name, schema: schema.described(text), isRequired: true)
    }

    package static func optional(_ name: String, _ schema: Schema, _ text: String) -> Property {
      Property(name: name, schema: schema.described(text), isRequired: false)
    }
  }
}
