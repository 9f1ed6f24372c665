import Testing

// Goal: no unchecked claim without its reason. Method: each use of such a claim has the word "Invariant" in a comment
// within three lines.

@Test func uncheckedClaimsHaveTheirReason() {
  let findings = Repository.swift.filter { !$0.path.hasPrefix("Tests/TidyTests/") }.flatMap(Invariants.check)
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test(arguments: [
  "final class A: @unchecked Sendable {}\n",
  "// It is right.\nnonisolated(unsafe) var a = 1\n",
  "// Invariant: too far away.\n\n\n\nlet a = unsafeBitCast(b, to: Int.self)\n",
  "let text = \"Invariant:\"\nlet a = Unmanaged.passRetained(b)\n",
])
func aClaimWithoutReasonIsFound(text: String) {
  #expect(Invariants.check(SwiftSource(path: "Sources/ApusIO/A.swift", text: text)).count == 1)
}

@Test(arguments: [
  "final class A: @unchecked Sendable {\n  // Invariant: `b` is written once, in init.\n}\n",
  "/// Invariant: guarded by the lock.\nnonisolated(unsafe) var a = 1\n",
  "// final class A: @unchecked Sendable {}\n",
])
func aClaimWithReasonIsNot(text: String) {
  #expect(Invariants.check(SwiftSource(path: "Sources/ApusIO/A.swift", text: text)).isEmpty)
}
