// Goal: flags win over the environment, the environment over the file, and every mistake is named with its place.
// Method: a small command tree of the test's own, and tables of arguments, variables and files.
import ArgumentParser
import Testing

@testable import ApusCommands

private struct Root: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "root", subcommands: [Up.self, Store.self])
}

private struct Up: ParsableCommand {
  @Option(name: .long) var config: String?
  @Option(name: .long, help: "Where the data is.") var dataDir: String = "data"
  @Option(name: .long, help: "Files.") var csv: [String] = []
  @Flag(name: .long, help: "Again and again.") var loop = false
}

private struct Store: ParsableCommand {
  static let configuration = CommandConfiguration(subcommands: [Flush.self])
}

private struct Flush: ParsableCommand {
  @Option(name: .long) var store: String = "x"
}

private func expand(
  _ arguments: [String], _ environment: [String: String] = [:], file: String? = nil
) throws -> [String] {
  let tree = try CommandTree(of: Root.self)
  return try ArgumentExpansion(arguments, tree: tree, environment: environment) {
    path, isExplicit throws(ConfigurationError) in
    guard let file else { return nil }
    return try ConfigurationFile(path: path, text: file, roles: ["up", "store"])
  }.arguments
}

private func failure(_ body: () throws -> [String]) -> String {
  do {
    return "no error: \(try body())"
  } catch {
    return "\(error)"
  }
}

@Suite struct ConfigurationTests {
  @Test func precedence() throws {
    let file = "data-dir: /file\ncsv: [a, b]\nloop: true\n"
    #expect(try expand(["up"]) == ["up"])
    #expect(try expand(["up"], file: file) == ["up", "--data-dir=/file", "--csv=a", "--csv=b", "--loop"])
    #expect(
      try expand(["up"], ["APUS_DATA_DIR": "/env", "APUS_CSV": "x,y", "APUS_LOOP": "no"], file: file)
        == ["up", "--data-dir=/env", "--csv=x", "--csv=y"])
    #expect(
      try expand(["up", "--data-dir", "/flag", "--csv=q", "--loop"], ["APUS_DATA_DIR": "/env"], file: file)
        == ["up", "--data-dir", "/flag", "--csv=q", "--loop"])
  }

  @Test func aRolesOwnValueWins() throws {
    let file = "data-dir: /shared\nup:\n  data-dir: /own\nstore:\n  store: s\n"
    #expect(try expand(["up"], file: file) == ["up", "--data-dir=/own"])
    #expect(try expand(["store", "flush"], file: file) == ["store", "flush", "--store=s"])
  }

  @Test func whatIsPositionalStaysBehind() throws {
    #expect(try expand(["up", "--", "--loop"], ["APUS_LOOP": "1"]) == ["up", "--loop", "--", "--loop"])
    #expect(try expand(["up", "--help"], ["APUS_LOOP": "perhaps"]) == ["up", "--help"])
    #expect(try expand([], ["APUS_LOOP": "1"]) == [])
  }

  @Test func mistakesAreNamedWithTheirPlace() {
    #expect(
      failure { try expand(["up"], ["APUS_LOOP": "perhaps"]) }
        == "APUS_LOOP: \"loop\" is true or false, not \"perhaps\"")
    #expect(
      failure { try expand(["up"], file: "csv: [a]\ndata-dir: [a, b]\n") }
        == "apus.yaml, line 2: \"data-dir\" takes one value, not a list")
    #expect(failure { try expand(["up"], file: "- a\n") }.contains("must be a mapping"))
    #expect(failure { try expand(["up"], file: "a: [b\n") }.contains("not valid YAML"))
    #expect(failure { try expand(["up"], file: "other:\n  x: 1\n") }.contains("line 1: \"other\" is neither"))
  }

  @Test func checkExplainsAndSuggests() throws {
    let tree = try CommandTree(of: Root.self)
    let file = try ConfigurationFile(path: "f", text: "data-dri: /x\nloop: true\nzzzz: 1\n", roles: ["up"])
    let check = ConfigurationCheck(
      file: file, environment: ["APUS_CSV": "a", "APUS_CVS": "b", "PATH": "/"], tree: tree)
    #expect(check.hasErrors)
    #expect(
      check.findings == [
        .unknown(origin: "f, line 1", name: "data-dri", suggestion: "data-dir"),
        .known(origin: "f, line 2", option: "loop", value: "true", help: "Again and again."),
        .unknown(origin: "f, line 3", name: "zzzz", suggestion: nil),
        .known(origin: "APUS_CSV", option: "csv", value: "a", help: "Files."),
        .unknown(origin: "environment", name: "APUS_CVS", suggestion: "APUS_CSV"),
      ])
  }
}
