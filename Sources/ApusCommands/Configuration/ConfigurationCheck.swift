/// Explains a configuration line by line: what each key does, and for one that means nothing, which was probably meant.
struct ConfigurationCheck: Sendable {
  enum Finding: Hashable, Sendable {
    case known(origin: String, option: String, value: String, help: String)
    case unknown(origin: String, name: String, suggestion: String?)
  }

  var findings: [Finding] = []

  var hasErrors: Bool {
    findings.contains { if case .unknown = $0 { true } else { false } }
  }

  init(file: ConfigurationFile?, environment: [String: String], tree: CommandTree) {
    let options = tree.allOptions
    let byName = Dictionary(uniqueKeysWithValues: options.map { ($0.name, $0) })
    let names = options.map(\.name)
    for entry in file?.entries ?? [] {
      let origin = "\(file?.path ?? ""), line \(entry.line)" + (entry.role.map { " (\($0))" } ?? "")
      if let option = byName[entry.key] {
        findings.append(
          .known(
            origin: origin, option: option.name, value: entry.values.joined(separator: ", "), help: option.help))
      } else {
        findings.append(
          .unknown(origin: origin, name: entry.key, suggestion: ConfigurationCheck.nearest(to: entry.key, of: names)))
      }
    }
    let byVariable = Dictionary(uniqueKeysWithValues: options.map { (ArgumentExpansion.variable(for: $0.name), $0) })
    for (variable, value) in environment.sorted(by: { $0.key < $1.key })
    where variable.hasPrefix("APUS_") && variable != "APUS_CONFIG" {
      if let option = byVariable[variable] {
        findings.append(.known(origin: variable, option: option.name, value: value, help: option.help))
      } else {
        findings.append(
          .unknown(
            origin: "environment", name: variable,
            suggestion: ConfigurationCheck.nearest(to: variable, of: Array(byVariable.keys.sorted()))))
      }
    }
  }

  /// The name that takes the fewest single-letter changes to reach, if they are few enough to be a slip.
  static func nearest(to name: String, of names: [String]) -> String? {
    let best = names.map { (distance(name, $0), $0) }.min { $0 < $1 }
    guard let best, best.0 <= max(2, name.count / 4) else { return nil }
    return best.1
  }

  private static func distance(_ left: String, _ right: String) -> Int {
    let left = Array(left.utf8)
    let right = Array(right.utf8)
    var row = Array(0...right.count)
    for (i, a) in left.enumerated() {
      var diagonal = row[0]
      row[0] = i + 1
      for (j, b) in right.enumerated() {
        let substituted = diagonal + (a == b ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(substituted, row[j] + 1, row[j + 1] + 1)
      }
    }
    return row[right.count]
  }
}
