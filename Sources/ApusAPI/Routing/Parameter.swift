import ApusService

/// A parameter of a route: its name and place, what it may be, and how its text becomes a value. The parsing of
/// requests and the document are both made from it.
package struct Parameter<Value: Sendable>: Sendable {
  package let declaration: ParameterDeclaration

  /// - Parameters:
  ///   - place: where it stands. A path parameter is always required, a query parameter never.
  ///   - isRepeatable: may be given more than once, then each is one value.
  ///   - read: the value that a text stands for, or why it cannot be, as a sentence without its end.
  package init(
    _ name: String, in place: ParameterDeclaration.Place = .query, _ summary: String, schema: Schema,
    isRepeatable: Bool = false, read: @escaping @Sendable (String) throws(ParameterRefusal) -> Value
  ) {
    declaration = ParameterDeclaration(
      name: name, place: place, summary: summary, isRepeatable: isRepeatable, schema: schema,
      read: { text throws(ParameterRefusal) -> any Sendable in try read(text) })
  }
}

/// Why a parameter's text was refused.
package struct ParameterRefusal: Error {
  package var reason: String

  package init(_ reason: String) { self.reason = reason }
}

/// A parameter without the type of its value.
package struct ParameterDeclaration: Sendable {
  package enum Place: String, Sendable {
    case path
    case query
  }

  package var name: String
  package var place: Place
  package var summary: String
  package var isRepeatable: Bool
  package var schema: Schema
  var read: @Sendable (String) throws(ParameterRefusal) -> any Sendable
}

/// The values that a request gave to the parameters of its route.
package struct Arguments: Sendable {
  private var values: [String: [any Sendable]] = [:]

  /// The value, or nil where the request does not give the parameter.
  package subscript<Value>(parameter: Parameter<Value>) -> Value? {
    guard let value = values[parameter.declaration.name]?.first else { return nil }
    guard let typed = value as? Value else {
      preconditionFailure("\(parameter.declaration.name) is declared twice with different types")
    }
    return typed
  }

  /// All values of a repeatable parameter, in the request's order.
  package func all<Value>(_ parameter: Parameter<Value>) -> [Value] {
    (values[parameter.declaration.name] ?? []).compactMap { $0 as? Value }
  }

  /// Reads the pairs of a query and the captures of a path by the declarations of a route.
  ///
  /// What is not declared is refused rather than ignored: a misspelt `start_time` must not answer with everything.
  static func read(
    path: [String: String], query: [(name: String, value: String)], by declarations: [ParameterDeclaration]
  ) throws(Problem) -> Arguments {
    var result = Arguments()
    for declaration in declarations where declaration.place == .path {
      guard let raw = path[declaration.name] else {
        preconditionFailure("the path of a route lacks its parameter \(declaration.name)")
      }
      guard let text = PercentEncoding.decode(raw, plusIsSpace: false) else {
        throw .badParameter(declaration.name, "\(declaration.name) is not percent-encoded UTF-8")
      }
      try result.add(text, to: declaration)
    }
    for (name, value) in query {
      guard let declaration = declarations.first(where: { $0.name == name && $0.place == .query }) else {
        let known = declarations.filter { $0.place == .query }.map(\.name).joined(separator: ", ")
        throw .badParameter(
          name, "there is no parameter \(name) here; there \(known.isEmpty ? "are none" : "are: \(known)")")
      }
      if !declaration.isRepeatable, result.values[name] != nil {
        throw .badParameter(name, "\(name) may be given once only")
      }
      try result.add(value, to: declaration)
    }
    return result
  }

  private mutating func add(_ text: String, to declaration: ParameterDeclaration) throws(Problem) {
    do throws(ParameterRefusal) {
      values[declaration.name, default: []].append(try declaration.read(text))
    } catch {
      throw .badParameter(declaration.name, "\(declaration.name) \(error.reason)")
    }
  }
}
