import ApusFormats
import ApusModel

/// How a stored series says which node and GPU it belongs to, over the generations of exporters.
enum FleetLabels {
  /// The labels that identify a GPU, the best first.
  static let uuid = TelemetryField.uuid.labelsRead
  /// The labels that name a node as a whole, the best first; behind them comes the host part of `instance`.
  static let node = TelemetryField.hostname.labelsRead
  static let instance = "instance"
  static let index = "gpu"
  static let datacenter = "datacenter"

  /// The first of some labels that a series has.
  static func first(_ names: [String], of labels: Labels) -> String? {
    for name in names {
      if let value = labels[name] { return value }
    }
    return nil
  }

  /// A node's id: the first there is of `Hostname`, `hostname`, `node` and the host part of `instance`.
  static func nodeID(_ labels: Labels) -> String? {
    first(node, of: labels) ?? labels[instance].map(Labels.host)
  }

  static func gpuUUID(_ labels: Labels) -> String? { first(uuid, of: labels) }

  /// For each of several labels the matchers under which that label decides: the better ones are absent.
  static func deciding(_ names: [String]) -> [(label: String, absent: [Matcher])] {
    names.indices.map { index in (names[index], names[..<index].map { .equal($0, "") }) }
  }
}

/// Series by one or several lists of matchers that exclude each other: what one store request cannot say, because the
/// name of the label that identifies a GPU or a node differs by exporter.
struct SeriesSelection: Sendable {
  var alternatives: [[Matcher]]

  /// All series of a GPU.
  static func gpu(uuid: String) -> SeriesSelection {
    SeriesSelection(
      alternatives: FleetLabels.deciding(FleetLabels.uuid).map { [.equal($0.label, uuid)] + $0.absent })
  }

  /// Narrowed by more conditions.
  func adding(_ matchers: [Matcher]) -> SeriesSelection {
    SeriesSelection(alternatives: alternatives.map { $0 + matchers })
  }

  /// Narrowed to what some series have in common: all of them, and little else.
  func narrowed(to series: some Collection<Labels>) -> SeriesSelection {
    adding(SeriesSelection.common(to: series))
  }

  /// Conditions that these series meet, and few others do.
  static func common(to series: some Collection<Labels>) -> [Matcher] {
    [Labels.metricNameLabel, FleetLabels.uuid[0], FleetLabels.node[0]].map { label in
      .oneOf(label, Set(series.map { $0[label] ?? "" }))
    }
  }
}
