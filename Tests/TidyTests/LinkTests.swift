import Testing

// Goal: no document sends its reader nowhere. Method: the relative links of every Markdown file, and the documents that
// comments in the sources name, against the files there are.

@Test func documentLinksLeadSomewhere() {
  var findings: [Finding] = []
  for path in Repository.files where path.hasSuffix(".md") {
    guard let text = Repository.text(path) else { continue }
    findings += Links.check(path: path, text: text, exists: Repository.exists, content: Repository.text)
  }
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test func documentsNamedInSourcesAreThere() {
  let findings = Repository.swift.filter { !$0.path.hasPrefix("Tests/TidyTests/") }
    .flatMap { Links.checkCitations($0, exists: Repository.exists) }
  #expect(findings.isEmpty, "\(findings.report)")
}

private let documents = [
  "docs/start.md": "# Start\n## A first step, and `more`\n", "README.md": "# Apus\n", "Sources": "",
]

@Test(arguments: [
  "[a](docs/none.md)", "[a](docs/start.md#nowhere)", "[a](#nowhere)", "text [a](docs/start.md) and [b](gone.md).",
])
func aDeadLinkIsFound(text: String) {
  let findings = Links.check(
    path: "README.md", text: text, exists: { documents[$0] != nil }, content: { documents[$0] })
  #expect(findings.count == 1, "\(findings.report)")
}

@Test(arguments: [
  "[a](docs/start.md)", "[a](docs/start.md#a-first-step-and-more)", "[a](#apus)", "[a](https://example.org/x)",
  "`[a](gone.md)`", "```\n[a](gone.md)\n```", "[a](Sources/)",
])
func aLivingLinkIsNot(text: String) {
  let findings = Links.check(
    path: "README.md", text: text, exists: { documents[$0] != nil }, content: { documents[$0] })
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test func aDocumentThatASourceNamesInVainIsFound() {
  let text = "/// See docs/none.md, \"Frames\".\n/// And docs/start.md.\nlet a = \"docs/other.md\"\n"
  let source = SwiftSource(path: "Sources/ApusIO/A.swift", text: text)
  let findings = Links.checkCitations(source) { documents[$0] != nil }
  #expect(findings.map(\.line) == [1])
}
