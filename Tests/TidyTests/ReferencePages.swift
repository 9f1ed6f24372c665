/// What users may rely on by name stands on its reference page: self-metrics, error codes, exit codes, configuration keys.
enum ReferencePages {
  static let metricsPage = "docs/reference/metrics.md"
  static let errorsPage = "docs/reference/errors.md"
  static let configurationPage = "docs/reference/configuration.md"

  /// What every self-metric's name begins with.
  static let metricPrefix = "gpu_telemetry_"

  /// Every self-metric that a source file names, with its line: whole names in literals, and where a file has one
  /// literal that is the beginning of a name (`"gpu_telemetry_broker_\(name)"`), that with the first literal of each
  /// call that makes an instrument.
  static func metricNames(in source: SwiftSource) -> [(line: Int, name: String)] {
    var found = words(in: source) { $0.hasPrefix(metricPrefix) && $0.count > metricPrefix.count && !$0.hasSuffix("_") }
    let beginnings = Set(words(in: source) { $0.hasPrefix(metricPrefix) && $0.hasSuffix("_") }.map(\.name))
    guard let beginning = beginnings.first, beginnings.count == 1 else { return found }
    for (index, line) in source.code.enumerated() {
      guard makers.contains(where: { Places.contains(line, $0) }) else { continue }
      // The literal stands behind the parenthesis or on the next line.
      for at in [index, index + 1] where at < source.strings.count {
        guard let word = source.strings[at].split(separator: " ").first else { continue }
        let isName = word.allSatisfy { $0.isLowercase || $0.isNumber || $0 == "_" }
        if isName && !word.hasPrefix(metricPrefix) { found.append((at + 1, beginning + word)) }
        break
      }
    }
    return found
  }

  /// The calls that make an instrument.
  private static let makers = ["counter(", "gauge(", "histogram("]

  /// A file with two beginnings of names leaves open which belongs to what.
  static func checkMetricNames(_ source: SwiftSource) -> [Finding] {
    let beginnings = words(in: source) { $0.hasPrefix(metricPrefix) && $0.hasSuffix("_") }
    guard Set(beginnings.map(\.name)).count > 1 else { return [] }
    return beginnings.map {
      Finding(
        path: source.path, line: $0.line, problem: "write names with \"\($0.name)\" whole: there is another beginning")
    }
  }

  /// The self-metrics of a source file that the page does not have (as `name` in back quotes).
  static func checkMetrics(_ source: SwiftSource, page: String) -> [Finding] {
    metricNames(in: source).compactMap { line, name in
      if page.contains("`\(name)`") { return nil }
      return Finding(path: source.path, line: line, problem: "\(name) is not in \(metricsPage)")
    }
  }

  /// The self-metrics that the page has and no source names: it promises what is not there.
  static func checkPromises(page: String, names: Set<String>) -> [Finding] {
    var findings: [Finding] = []
    for (index, line) in page.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      for (position, part) in line.split(separator: "`", omittingEmptySubsequences: false).enumerated()
      where position % 2 == 1 && part.hasPrefix(metricPrefix) && !names.contains(String(part)) {
        findings.append(Finding(path: metricsPage, line: index + 1, problem: "no source has a metric \(part)"))
      }
    }
    return findings
  }

  /// The options and flags that a source file of the commands declares, as they are written on the command line.
  static func options(in source: SwiftSource) -> [(line: Int, name: String)] {
    var found: [(line: Int, name: String)] = []
    var isOpen = false
    var custom: String?
    for (index, code) in source.code.enumerated() {
      if code.contains("@Option(") || code.contains("@Flag") {
        isOpen = true
        custom = nil
      }
      guard isOpen else { continue }
      if code.contains(".customLong("), let word = source.strings[index].split(separator: " ").first {
        custom = String(word)
      }
      guard let place = code.firstRange(of: " var ") else { continue }
      let name = code[place.upperBound...].prefix { $0.isLetter || $0.isNumber }
      found.append((index + 1, "--" + (custom ?? kebab(name))))
      isOpen = false
    }
    return found
  }

  /// The options that the page does not have in back quotes, alone or before a value.
  static func checkOptions(_ source: SwiftSource, page: String) -> [Finding] {
    options(in: source).compactMap { line, name in
      if page.contains("`\(name)`") || page.contains("`\(name) ") { return nil }
      return Finding(path: source.path, line: line, problem: "\(name) is not in \(configurationPage)")
    }
  }

  /// `headBytes` → `head-bytes`, as the argument parser does.
  private static func kebab(_ name: Substring) -> String {
    var result = ""
    for character in name {
      if character.isUppercase { result.append("-") }
      result += character.lowercased()
    }
    return result
  }

  /// The cases of an enum with raw values: name, value as written, and line (from 1). `enumName` must be declared in the
  /// file, and the cases at the next level of it.
  static func rawCases(of enumName: String, in source: SwiftSource) -> [(line: Int, name: String, value: String)] {
    var found: [(line: Int, name: String, value: String)] = []
    var isInside = false
    var indent = 0
    for (index, code) in source.code.enumerated() {
      if !isInside {
        guard Places.contains(code, "enum \(enumName)") else { continue }
        isInside = true
        indent = code.prefix { $0 == " " }.count
        continue
      }
      if code.prefix(while: { $0 == " " }).count == indent, code.dropFirst(indent).hasPrefix("}") { break }
      let words = source.lines[index].split(separator: " ")
      guard words.first == "case", code.prefix(while: { $0 == " " }).count == indent + 2 else { continue }
      let name = words.count > 1 ? String(words[1]) : ""
      let value = words.count > 3 && words[2] == "=" ? String(words[3]).filter { $0 != "\"" } : name
      found.append((index + 1, name, value))
    }
    return found
  }

  /// The values that the page does not have in back quotes.
  static func checkCodes(of enumName: String, in source: SwiftSource, page: String, pagePath: String) -> [Finding] {
    let cases = rawCases(of: enumName, in: source)
    if cases.isEmpty {
      return [Finding(path: source.path, line: 1, problem: "no cases of \(enumName) were found; was it moved?")]
    }
    return cases.compactMap { line, _, value in
      if page.contains("`\(value)`") { return nil }
      return Finding(path: source.path, line: line, problem: "\(value) is not in \(pagePath)")
    }
  }

  /// The words of letters, digits and `_` inside the string literals that the condition wants.
  private static func words(in source: SwiftSource, where isWanted: (String) -> Bool) -> [(line: Int, name: String)] {
    var found: [(line: Int, name: String)] = []
    for (index, line) in source.strings.enumerated() where line.contains(metricPrefix) {
      for word in line.split(whereSeparator: { !$0.isLetter && !$0.isNumber && $0 != "_" })
      where isWanted(String(word)) {
        found.append((index + 1, String(word)))
      }
    }
    return found
  }
}
