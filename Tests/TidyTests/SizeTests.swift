import Testing

// Goal: what grows is seen. Method: long files and functions of the sources are printed; they fail nothing.

@Test func longFilesAndFunctionsAreListed() {
  let findings = Repository.sources.flatMap(Sizes.check)
  for finding in findings { print("long: \(finding)") }
}

@Test func aLongFileAndALongFunctionAreFound() {
  let body = String(repeating: "    a()\n", count: 80)
  let long = SwiftSource(path: "Sources/ApusIO/A.swift", text: "struct A {\n  func b() {\n\(body)  }\n}\n")
  #expect(Sizes.check(long).map(\.line) == [2])
  let file = SwiftSource(path: "Sources/ApusIO/A.swift", text: String(repeating: "let a = 1\n", count: 501))
  #expect(Sizes.check(file).count == 1)
  #expect(Sizes.check(SwiftSource(path: "Sources/ApusIO/A.swift", text: "func b() {\n  a()\n}\n")).isEmpty)
}
