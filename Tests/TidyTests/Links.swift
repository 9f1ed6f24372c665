/// Links between documents lead somewhere: the file is there, and so is the heading behind a `#`.
enum Links {
  /// Every `[text](target)` of a Markdown text with the line it stands in (from 1), code blocks and spans left out.
  static func targets(in text: String) -> [(line: Int, target: String)] {
    var found: [(line: Int, target: String)] = []
    var isInCode = false
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      if line.drop(while: { $0 == " " }).hasPrefix("```") {
        isInCode.toggle()
        continue
      }
      if isInCode { continue }
      var rest = withoutCodeSpans(line)[...]
      while let open = rest.firstRange(of: "](") {
        let tail = rest[open.upperBound...]
        guard let close = tail.firstIndex(of: ")") else { break }
        // A title may follow the target.
        let target = tail[..<close].split(separator: " ").first ?? ""
        if !target.isEmpty { found.append((index + 1, String(target))) }
        rest = tail[close...]
      }
    }
    return found
  }

  /// GitHub's anchors of the headings of a Markdown text.
  static func anchors(in text: String) -> Set<String> {
    var found: Set<String> = []
    var isInCode = false
    for line in text.split(separator: "\n") {
      if line.hasPrefix("```") { isInCode.toggle() }
      guard !isInCode, line.hasPrefix("#") else { continue }
      let heading = line.drop { $0 == "#" }.drop { $0 == " " }
      var anchor = ""
      for character in heading.lowercased() {
        if character.isLetter || character.isNumber || character == "-" || character == "_" { anchor.append(character) }
        if character == " " { anchor.append("-") }
      }
      found.insert(anchor)
    }
    return found
  }

  /// The dead links of one document. `exists` and `text` look at the repository, or at a made-up one.
  static func check(
    path: String, text: String, exists: (String) -> Bool, content: (String) -> String?
  ) -> [Finding] {
    targets(in: text).compactMap { line, target in
      if target.contains("://") || target.hasPrefix("mailto:") { return nil }
      let parts = target.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
      let file = parts[0].isEmpty ? path : resolve(parts[0], from: path)
      guard exists(file) else {
        return Finding(path: path, line: line, problem: "the link to \(target) is dead: there is no \(file)")
      }
      guard parts.count > 1, file.hasSuffix(".md"), let other = content(file) else { return nil }
      if anchors(in: other).contains(parts[1]) { return nil }
      return Finding(path: path, line: line, problem: "\(file) has no heading #\(parts[1])")
    }
  }

  /// The documents that a comment of a source file names (`docs/….md`) and that are not there.
  static func checkCitations(_ source: SwiftSource, exists: (String) -> Bool) -> [Finding] {
    var findings: [Finding] = []
    for (index, comment) in source.comments.enumerated() {
      for word in comment.split(whereSeparator: { " (),;:\"'`".contains($0) }) {
        var name = word[...]
        while name.last == "." { name.removeLast() }
        guard name.hasPrefix("docs/") || name == "ARCHITECTURE.md", name.hasSuffix(".md") || name.hasSuffix(".json")
        else { continue }
        if !exists(String(name)) {
          findings.append(Finding(path: source.path, line: index + 1, problem: "there is no \(name)"))
        }
      }
    }
    return findings
  }

  private static func withoutCodeSpans(_ line: Substring) -> String {
    let parts = line.split(separator: "`", omittingEmptySubsequences: false)
    guard parts.count > 2 else { return String(line) }
    return parts.enumerated().map { $0.offset % 2 == 0 ? String($0.element) : "" }.joined()
  }

  private static func resolve(_ target: String, from path: String) -> String {
    if target.hasPrefix("/") { return String(target.dropFirst()) }
    var parts = path.split(separator: "/").dropLast().map(String.init)
    for part in target.split(separator: "/") {
      switch part {
      case ".": continue
      case "..": if !parts.isEmpty { parts.removeLast() }
      default: parts.append(String(part))
      }
    }
    return parts.joined(separator: "/")
  }
}
