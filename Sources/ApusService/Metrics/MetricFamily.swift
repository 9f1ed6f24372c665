/// A metric as it is at one moment: its name, help, type and samples.
package struct MetricFamily: Sendable {
  package enum Kind: String, Sendable {
    case counter
    case gauge
    case histogram
    case untyped
  }

  package struct Sample: Sendable {
    /// What follows the family's name: empty, `_bucket`, `_sum` or `_count`.
    package var suffix: String
    package var labels: [(String, String)]
    package var value: Double

    package init(suffix: String = "", labels: [(String, String)] = [], value: Double) {
      self.suffix = suffix
      self.labels = labels
      self.value = value
    }
  }

  package var name: String
  package var help: String
  package var kind: Kind
  package var samples: [Sample]

  package init(name: String, help: String, kind: Kind, samples: [Sample]) {
    self.name = name
    self.help = help
    self.kind = kind
    self.samples = samples
  }

  /// A family of one number without labels.
  package init(_ kind: Kind, _ name: String, _ help: String, _ value: Double) {
    self.init(name: name, help: help, kind: kind, samples: [Sample(value: value)])
  }
}

/// Writes families in the Prometheus text format 0.0.4.
struct ExpositionWriter {
  private(set) var bytes: [UInt8] = []

  /// Writes one family; of samples with equal names and labels only the first, since a scraper refuses the page else.
  mutating func write(_ family: MetricFamily) {
    guard !family.samples.isEmpty else { return }
    append("# HELP \(family.name) ")
    appendEscaped(family.help, quotes: false)
    append("\n# TYPE \(family.name) \(family.kind.rawValue)\n")
    var seen: Set<String> = []
    for sample in family.samples {
      let head = family.name + sample.suffix + ExpositionWriter.labelText(sample.labels)
      guard seen.insert(head).inserted else { continue }
      append(head)
      append(" ")
      append(ExpositionWriter.number(sample.value))
      append("\n")
    }
  }

  /// `{name="value",…}` with the names ascending, or nothing.
  static func labelText(_ labels: [(String, String)]) -> String {
    if labels.isEmpty { return "" }
    var writer = ExpositionWriter()
    for (index, label) in labels.sorted(by: { $0.0 < $1.0 }).enumerated() {
      writer.append(index == 0 ? "{" : ",")
      writer.append("\(label.0)=\"")
      writer.appendEscaped(label.1, quotes: true)
      writer.append("\"")
    }
    writer.append("}")
    return String(decoding: writer.bytes, as: UTF8.self)
  }

  /// Whole numbers without a fraction, the rest in the shortest form that reads back to the same value.
  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    if value == value.rounded(.towardZero), abs(value) < 9_007_199_254_740_992 { return "\(Int64(value))" }
    return "\(value)"
  }

  private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

  private mutating func appendEscaped(_ text: String, quotes: Bool) {
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\\"): append("\\\\")
      case UInt8(ascii: "\n"): append("\\n")
      case UInt8(ascii: "\"") where quotes: append("\\\"")
      default: bytes.append(byte)
      }
    }
  }
}
