import Testing

// Goal: no decoder of outside bytes goes unfuzzed. Method: types named for decoding, by the code of the fuzz targets.

@Test func decodersHaveFuzzTargets() {
  let fuzz = Repository.swift.filter { $0.path.hasPrefix("Fuzz/") }
  let findings = Repository.sources.flatMap { FuzzTargets.check($0, fuzz: fuzz) }
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test func aDecoderWithoutTargetIsFound() {
  let source = SwiftSource(
    path: "Sources/ApusFormats/A.swift",
    text: "package struct PageParser {}\npackage struct RowDecoder {}\nstruct C {}\n")
  let fuzz = SwiftSource(path: "Fuzz/A.swift", text: "let parser = PageParser() // RowDecoder\n")
  #expect(FuzzTargets.check(source, fuzz: [fuzz]).map(\.line) == [2])
}
