/// What is known of a metric beside its samples: the `# TYPE`, `# HELP` and `# UNIT` of the exposition formats.
package struct MetricDescriptor: Hashable, Sendable {
  /// The types of OpenMetrics 1.0; `unknown` is 0.0.4's `untyped`.
  package enum Kind: UInt8, Hashable, Sendable, CaseIterable {
    case unknown = 0
    case gauge = 1
    case counter = 2
    case histogram = 3
    case summary = 4
    case info = 5
    case stateset = 6
    case gaugehistogram = 7
  }

  package var name: String
  package var kind: Kind
  package var help: String
  /// OpenMetrics' unit, such as `seconds`; empty when not told.
  package var unit: String

  package init(name: String, kind: Kind, help: String = "", unit: String = "") {
    self.name = name
    self.kind = kind
    self.help = help
    self.unit = unit
  }
}
