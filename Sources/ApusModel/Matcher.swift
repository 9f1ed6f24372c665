/// A condition on one label of a series. A label that is absent has the empty value.
package struct Matcher: Hashable, Sendable {
  package enum Condition: Hashable, Sendable {
    case equal(String)
    case notEqual(String)
    /// The label's value is one of these.
    case oneOf(Set<String>)
  }

  package var label: String
  package var condition: Condition

  package init(label: String, condition: Condition) {
    self.label = label
    self.condition = condition
  }

  package static func equal(_ label: String, _ value: String) -> Matcher {
    Matcher(label: label, condition: .equal(value))
  }

  package static func notEqual(_ label: String, _ value: String) -> Matcher {
    Matcher(label: label, condition: .notEqual(value))
  }

  package static func oneOf(_ label: String, _ values: Set<String>) -> Matcher {
    Matcher(label: label, condition: .oneOf(values))
  }

  /// The condition of the metric's name.
  package static func metric(_ name: String) -> Matcher { .equal(Labels.metricNameLabel, name) }

  /// Whether a label with this value (empty: absent) meets the condition.
  package func matches(value: String) -> Bool {
    switch condition {
    case .equal(let wanted): value == wanted
    case .notEqual(let refused): value != refused
    case .oneOf(let wanted): wanted.contains(value)
    }
  }

  package func matches(_ labels: Labels) -> Bool { matches(value: labels[label] ?? "") }
}
