import Testing

// Goal: nothing in the repository names a folder of the machine it was written on. Method: all text files line by line.

@Test func noFileNamesAFolderOfOneMachine() {
  var findings: [Finding] = []
  for path in Repository.files {
    guard let text = Repository.text(path) else { continue }
    findings += MachinePaths.check(path: path, text: text)
  }
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test func aFolderOfOneMachineIsFound() {
  for word in MachinePaths.words {
    #expect(MachinePaths.check(path: "README.md", text: "see \(word)x\n").count == 1)
    #expect(MachinePaths.check(path: "README.md", text: "see docs\(word)x\n").isEmpty)
  }
}
