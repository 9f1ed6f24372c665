import Testing

// Goal: clocks, chance, the terminal and traps without a word stand only where they belong. Method: patterns of calls over
// the code (not the comments and literals) of every file.

@Test func callsStandInTheirPlaces() {
  let findings = Repository.swift.filter { !$0.path.hasPrefix("Tests/TidyTests/") }.flatMap(Places.check)
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test(arguments: [
  ("Sources/ApusBroker/A.swift", "print(1)"),
  ("Sources/ApusBroker/A.swift", "let a = try! f()"),
  ("Tests/ApusIOTests/A.swift", "let a = try! f()"),
  ("Sources/ApusStore/A.swift", "let now = Date()"),
  ("Sources/ApusPipeline/A.swift", "let now = ContinuousClock.now"),
  ("Sources/ApusPipeline/A.swift", "clock_gettime(CLOCK_REALTIME, &time)"),
  ("Tests/SimulationTests/A.swift", "let start = ContinuousClock().now"),
  ("Sources/ApusService/A.swift", "let jitter = Double.random(in: 0..<1)"),
  ("Sources/ApusService/A.swift", "let name = UUID().uuidString"),
  ("Tests/ApusBrokerTests/A.swift", "for x in list.shuffled() {}"),
  ("Sources/ApusAPI/A.swift", "public struct A {}"),
  ("Sources/ApusAPI/A.swift", "let a = b as! C"),
  ("Sources/ApusAPI/A.swift", "let text = \"\\(Date())\""),
  ("Sources/ApusAPI/A.swift", "default: fatalError()"),
  ("Tests/ApusDoorsTests/A.swift", "usleep(1000)"),
])
func aCallInTheWrongPlaceIsFound(path: String, text: String) {
  let findings = Places.check(SwiftSource(path: path, text: text + "\n"))
  #expect(findings.count == 1, "\(findings.report)")
}

@Test(arguments: [
  ("Sources/ApusCommands/A.swift", "print(1)"),
  ("Sources/ApusIO/WallClock.swift", "clock_gettime(CLOCK_REALTIME, &time)"),
  ("Sources/ApusIO/A.swift", "let print = fingerprint(1)"),
  ("Sources/ApusIO/A.swift", "// print(1)"),
  ("Sources/ApusIO/A.swift", "let text = \"try! this\""),
  ("Sources/ApusIO/A.swift", "let a = update(b)"),
  ("Sources/ApusIO/A.swift", "let a = list.shuffled(using: &generator)"),
  ("Sources/ApusIO/A.swift", "let a = Int.random(in: 0..<9, using: &generator)"),
])
func aCallInItsPlaceIsNot(path: String, text: String) {
  let findings = Places.check(SwiftSource(path: path, text: text + "\n"))
  #expect(findings.isEmpty, "\(findings.report)")
}
