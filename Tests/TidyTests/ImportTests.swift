import Testing

// Goal: the arrows between modules stay as drawn in ARCHITECTURE.md, heavy packages stay at the edge, and the rooms with
// the hot paths do without Foundation. Method: the import lines of every source file against the table.

@Test func importsFollowTheTable() {
  let findings = Repository.sources.flatMap(ImportTable.check)
  #expect(findings.isEmpty, "\(findings.report)")
  #expect(Repository.sources.count > 40, "only \(Repository.sources.count) source files were found; is the root right?")
}

/// The table itself: an arrow points down, or sideways only where both are told apart by name here.
@Test func theTableItselfPointsDown() {
  let sideways: Set<String> = []
  for (name, room) in ImportTable.rooms {
    for target in room.modules {
      guard let other = ImportTable.rooms[target] else { continue }
      #expect(other.layer < room.layer || sideways.contains("\(name) → \(target)"), "\(name) → \(target) points up")
    }
  }
}

@Test(arguments: [
  ("Sources/ApusModel/A.swift", "import ApusIO\n", "ApusModel may not import ApusIO"),
  ("Sources/ApusBroker/A.swift", "import ApusModel\n", "ApusBroker may not import ApusModel"),
  ("Sources/ApusStore/A.swift", "import ApusBroker\n", "ApusStore may not import ApusBroker"),
  ("Sources/ApusFormats/A.swift", "import CZstd\n", "ApusFormats may not import CZstd"),
  ("Sources/ApusIO/A.swift", "import Foundation\n", "ApusIO must do without Foundation"),
  ("Sources/ApusStore/A.swift", "import struct Foundation.Date\n", "ApusStore must do without Foundation"),
  ("Sources/ApusPipeline/A.swift", "@preconcurrency import AsyncHTTPClient\n", "may not import AsyncHTTPClient"),
  ("Sources/ApusAPI/A.swift", "#if os(Linux)\n  import ArgumentParser\n#endif\n", "may not import ArgumentParser"),
  ("Sources/ApusUtilities/A.swift", "import ApusIO\n", "is not in the table of modules"),
])
func aForbiddenImportIsFound(path: String, text: String, problem: String) {
  let findings = ImportTable.check(SwiftSource(path: path, text: text))
  #expect(findings.count == 1)
  #expect(findings.first?.problem.contains(problem) == true, "\(findings.report)")
}

@Test(arguments: [
  ("Sources/ApusStore/A.swift", "import ApusIO\nimport ApusModel\nimport Logging\n"),
  ("Sources/ApusIO/A.swift", "#if canImport(Glibc)\n  import Glibc\n#endif\nimport CKernels\n"),
  ("Sources/ApusPipeline/Sources/DCGM/A.swift", "import AsyncHTTPClient\n"),
  ("Sources/ApusModel/A.swift", "// import Foundation\nlet text = \"import Foundation\"\n"),
])
func anAllowedImportIsNot(path: String, text: String) {
  let findings = ImportTable.check(SwiftSource(path: path, text: text))
  #expect(findings.isEmpty, "\(findings.report)")
}
