/// Long files and long functions: asked about, not forbidden. What good looks like is 70 to 350 lines a file.
enum Sizes {
  static let fileLines = 500
  static let functionLines = 70

  /// The file, if it is long, and its long functions.
  static func check(_ source: SwiftSource) -> [Finding] {
    var findings: [Finding] = []
    if source.lines.count > fileLines {
      findings.append(
        Finding(path: source.path, line: 1, problem: "\(source.lines.count) lines: is it still one thing?"))
    }
    var start: (line: Int, indent: Int)?
    for (index, line) in source.code.enumerated() {
      let indent = line.prefix { $0 == " " }.count
      if let open = start {
        guard indent == open.indent, line.dropFirst(indent).hasPrefix("}") else { continue }
        if index - open.line > functionLines {
          findings.append(
            Finding(path: source.path, line: open.line + 1, problem: "a function of \(index - open.line) lines"))
        }
        start = nil
      } else if declaresFunction(line), !line.contains("}") || line.hasSuffix("{") {
        start = (index, indent)
      }
    }
    return findings
  }

  private static func declaresFunction(_ line: String) -> Bool {
    let words = line.split(separator: " ")
    return words.contains("func") || words.contains { $0.hasPrefix("init(") }
  }
}
