/// Whoever steps outside of what the compiler checks says why that is right, in a comment with the word `Invariant:`.
enum Invariants {
  /// What the compiler cannot check.
  static let patterns = [
    "@unchecked Sendable", "nonisolated(unsafe)", "unowned(unsafe)", "unsafeBitCast(", "unsafeDowncast(", "Unmanaged.",
    "unsafelyUnwrapped", "@_unsafe",
  ]

  /// How many lines away the comment may stand.
  static let reach = 3

  /// The uses without a reason in one file.
  static func check(_ source: SwiftSource) -> [Finding] {
    var findings: [Finding] = []
    for (index, line) in source.code.enumerated() {
      for pattern in patterns where line.contains(pattern) {
        if source.hasComment("Invariant", around: index, reach: reach) { continue }
        findings.append(
          Finding(
            path: source.path, line: index + 1,
            problem: "\(pattern) without an \"Invariant:\" comment within \(reach) lines that says why it is right"))
      }
    }
    return findings
  }
}
