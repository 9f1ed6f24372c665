/// The repository speaks of the product, not of the machine it was written on.
enum MachinePaths {
  /// Folders of one machine. Put together here, so that this file does not trip over itself.
  static let words = ["/wo" + "rk/", "/ro" + "ot/", "/ho" + "me/", "/opt/sw" + "ift"]

  /// The lines of one file that name such a folder.
  static func check(path: String, text: String) -> [Finding] {
    var findings: [Finding] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      for word in words where names(line, word) {
        findings.append(Finding(path: path, line: index + 1, problem: "\(word) is a path of one machine"))
      }
    }
    return findings
  }

  /// Whether the line has the folder as the start of a path, not in the middle of one (`docs/wo…/`).
  private static func names(_ line: Substring, _ word: String) -> Bool {
    var rest = line
    while let range = rest.firstRange(of: word) {
      let before = range.lowerBound == line.startIndex ? " " : line[line.index(before: range.lowerBound)]
      if !before.isLetter && !before.isNumber && !"._-}".contains(before) { return true }
      rest = rest[range.upperBound...]
    }
    return false
  }
}
