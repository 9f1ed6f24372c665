import Testing

// Goal: the checks see code where there is code, and nothing in comments and literals. Method: small texts with each form
// of comment and literal, and what the lexer makes of them.

@Test func commentsAreNotCode() {
  let source = SwiftSource(
    path: "Sources/ApusIO/A.swift", text: "let a = 1 // print(\n/* x /* print( */ y */ let b = 2\n")
  #expect(source.code[0].contains("let a = 1"))
  #expect(!source.code[0].contains("print"))
  #expect(source.comments[0].contains("print("))
  #expect(source.code[1].contains("let b = 2"))
  #expect(!source.code[1].contains("y"))
}

@Test func literalsAreNotCode() {
  let text = "let a = \"print( \\\" // no comment\"; call()\nlet b = #\"a \"quoted\" \\( print( \"#; call()\n"
  let source = SwiftSource(path: "Sources/ApusIO/A.swift", text: text)
  for line in 0..<2 {
    #expect(!source.code[line].contains("print"), "\(source.code[line])")
    #expect(source.code[line].contains("call()"))
    #expect(source.strings[line].contains("print("))
    #expect(!source.comments[line].contains("comment"))
  }
}

@Test func multiLineLiteralsEndWhereTheyEnd() {
  let text = "let a = \"\"\"\n  try! \"quoted\" print(\n  \"\"\"\ncall()\n"
  let source = SwiftSource(path: "Sources/ApusIO/A.swift", text: text)
  #expect(!source.code[1].contains("try!"))
  #expect(source.strings[1].contains("try!"))
  #expect(source.code[3].contains("call()"))
}

@Test func interpolationsAreCode() {
  let text = "let a = \"x \\(try! f(\")\", (1))) y\"; call()\n"
  let source = SwiftSource(path: "Sources/ApusIO/A.swift", text: text)
  #expect(source.code[0].contains("try! f("))
  #expect(source.code[0].contains("call()"))
  #expect(!source.code[0].contains("y\""))
}

@Test func theThreeViewsKeepTheLines() {
  for source in Repository.swift {
    #expect(source.code.count == source.lines.count, "\(source.path)")
    #expect(source.comments.count == source.lines.count, "\(source.path)")
    #expect(source.strings.count == source.lines.count, "\(source.path)")
  }
}
