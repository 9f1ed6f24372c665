import Testing

// Goal: a newcomer can read what a room offers. Method: `package` declarations of types, and functions of front doors,
// have a doc comment right above them.

@Test func whatCrossesAModuleIsDocumented() {
  let findings = Repository.sources.flatMap(DocComments.check)
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test(arguments: [
  ("Sources/ApusIO/A.swift", "package struct A {}\n"),
  ("Sources/ApusIO/A.swift", "// Not a doc comment.\npackage final class A {}\n"),
  ("Sources/ApusIO/A.swift", "/// Of something else.\n\n@frozen package enum A {}\n"),
  ("Sources/ApusStore/Store.swift", "extension Store {\n  package func all() {}\n}\n"),
])
func aDeclarationWithoutCommentIsFound(path: String, text: String) {
  #expect(DocComments.check(SwiftSource(path: path, text: text)).count == 1)
}

@Test(arguments: [
  ("Sources/ApusIO/A.swift", "/// An A.\npackage struct A {}\n"),
  ("Sources/ApusIO/A.swift", "/// An A.\n@frozen\npackage struct A {}\n"),
  ("Sources/ApusIO/A.swift", "struct A {}\nextension B {\n  package func c() {}\n  package struct D {}\n}\n"),
  ("Sources/ApusStore/Store.swift", "/// A.\npackage protocol A {\n  /// All.\n  package static func all()\n}\n"),
])
func aDeclarationWithCommentIsNot(path: String, text: String) {
  let findings = DocComments.check(SwiftSource(path: path, text: text))
  #expect(findings.isEmpty, "\(findings.report)")
}
