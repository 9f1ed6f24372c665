import ApusModel

/// What a source has told of its metrics (TYPE, HELP, UNIT), by the family's name.
struct MetricFamilies: Sendable {
  private var families: [String: MetricDescriptor] = [:]

  /// The endings that the samples of one family may carry.
  static let sampleSuffixes = ["_total", "_created", "_bucket", "_sum", "_count", "_gsum", "_gcount", "_info"]

  init() {}

  init(_ descriptors: [MetricDescriptor]) {
    for descriptor in descriptors { families[descriptor.name] = descriptor }
  }

  /// Changes one family, which is made if it is new and the bound allows it.
  mutating func update(_ name: String, _ change: (inout MetricDescriptor) -> Void) {
    if families[name] == nil, families.count >= FormatLimits.descriptorsPerSet { return }
    change(&families[name, default: MetricDescriptor(name: name, kind: .unknown)])
  }

  /// The family that a sample's name belongs to: itself, or itself without one of the endings.
  func family(ofSample name: String) -> MetricDescriptor? {
    if families.isEmpty { return nil }
    if let family = families[name] { return family }
    for suffix in MetricFamilies.sampleSuffixes where name.hasSuffix(suffix) {
      if let family = families[String(name.dropLast(suffix.count))] { return family }
    }
    return nil
  }

  /// The families of these series, each once, in the order of their first series.
  func descriptors(of series: [Labels]) -> [MetricDescriptor] {
    if families.isEmpty { return [] }
    var seen: Set<String> = []
    var result: [MetricDescriptor] = []
    var previous = ""
    for labels in series {
      let name = labels.metricName
      if name == previous { continue }
      previous = name
      if let family = family(ofSample: name), seen.insert(family.name).inserted { result.append(family) }
    }
    return result
  }
}
