import ApusModel

/// A series selector as PromQL writes it: `metric{label="value", other!="value"}`.
///
///     let selector = try Selector(parsing: #"DCGM_FI_DEV_GPU_TEMP{Hostname="node-1", gpu!="0"}"#)
///     let matchers = try selector.matchers()
///
/// The grammar is Prometheus': a metric's name, matchers in braces, or both; a trailing comma; names of labels and of the
/// metric may be quoted in braces (`{"my.metric", "my.label"="x"}`); strings in double or single quotes with Go's escapes, or in
/// back quotes without; comments from `#` to the end of a line. What follows a selector in PromQL (`[5m]`, `offset`) is not part of it.
package struct Selector: Hashable, Sendable {
  package enum Operation: String, Hashable, Sendable {
    case equal = "="
    case notEqual = "!="
    case matches = "=~"
    case matchesNot = "!~"
  }

  /// One condition, as written.
  package struct Condition: Hashable, Sendable {
    package var label: String
    package var operation: Operation
    package var value: String
    /// Where it begins, in bytes from the start of the text.
    package var position: Int
  }

  /// The most bytes of a selector's text and conditions of one.
  package static let bytesMax = 1 << 16
  package static let conditionsMax = 256

  /// In the order of the text; a metric's name is a condition on `__name__`.
  package private(set) var conditions: [Condition] = []

  /// Reads a text that is a selector and nothing else.
  package init(parsing text: String) throws(SelectorError) {
    var scanner = SelectorScanner(Array(text.utf8))
    guard text.utf8.count <= Selector.bytesMax else {
      throw SelectorError(position: Selector.bytesMax, reason: "it is longer than \(Selector.bytesMax) bytes")
    }
    scanner.skipBlanks()
    let start = scanner.position
    if let name = scanner.readName(colons: true) { addMetric(name, at: start) }
    scanner.skipBlanks()
    if scanner.take("{") { try readBraces(&scanner) }
    scanner.skipBlanks()
    guard scanner.isAtEnd else { throw scanner.unexpected("the end") }
    guard !conditions.isEmpty else {
      throw SelectorError(position: start, reason: "it selects by nothing; name a metric or a label")
    }
    guard conditions.contains(where: { $0.excludesAbsent }) else {
      throw SelectorError(
        position: start, reason: "every condition of it holds for a series without the label, so it selects everything")
    }
  }

  private mutating func addMetric(_ name: String, at position: Int) {
    conditions.append(
      Condition(label: Labels.metricNameLabel, operation: .equal, value: name, position: position))
  }

  private mutating func readBraces(_ scanner: inout SelectorScanner) throws(SelectorError) {
    while true {
      scanner.skipBlanks()
      if scanner.take("}") { return }
      let start = scanner.position
      let isQuoted = scanner.isAtQuote
      guard let label = isQuoted ? try scanner.readString() : scanner.readName(colons: false) else {
        throw scanner.unexpected("a label's name or }")
      }
      scanner.skipBlanks()
      if isQuoted, scanner.isAtEnd || scanner.isAt(",") || scanner.isAt("}") {
        if conditions.contains(where: { $0.label == Labels.metricNameLabel }) {
          throw SelectorError(position: start, reason: "the metric's name is given twice")
        }
        addMetric(label, at: start)
      } else {
        guard let operation = scanner.readOperation() else { throw scanner.unexpected("=, !=, =~ or !~") }
        scanner.skipBlanks()
        guard scanner.isAtQuote else { throw scanner.unexpected("a value in quotes") }
        conditions.append(
          Condition(label: label, operation: operation, value: try scanner.readString(), position: start))
      }
      guard conditions.count <= Selector.conditionsMax else {
        throw SelectorError(position: start, reason: "it has more than \(Selector.conditionsMax) conditions")
      }
      scanner.skipBlanks()
      if scanner.take(",") { continue }
      guard scanner.take("}") else { throw scanner.unexpected("a comma or }") }
      return
    }
  }

  /// The conditions as the store takes them. Regular expressions are refused: the store has no matcher for them.
  package func matchers() throws(SelectorError) -> [Matcher] {
    var result: [Matcher] = []
    for condition in conditions {
      switch condition.operation {
      case .equal: result.append(.equal(condition.label, condition.value))
      case .notEqual: result.append(.notEqual(condition.label, condition.value))
      case .matches, .matchesNot:
        throw SelectorError(
          position: condition.position,
          reason: "\(condition.operation.rawValue) is not supported here; name the values with = or !=")
      }
    }
    return result
  }
}

extension Selector.Condition {
  /// Whether a series without the label does not meet it, as far as that can be told without a regular expression.
  fileprivate var excludesAbsent: Bool {
    switch operation {
    case .equal: !value.isEmpty
    case .notEqual: value.isEmpty
    case .matches: !value.isEmpty
    case .matchesNot: false
    }
  }
}

/// Why a text is no selector, and where.
package struct SelectorError: Error, Hashable, Sendable, CustomStringConvertible {
  /// In bytes from the start of the text.
  package var position: Int
  package var reason: String

  package var description: String { "the selector is wrong at byte \(position): \(reason)" }
}
