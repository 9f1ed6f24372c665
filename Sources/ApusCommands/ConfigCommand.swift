import ArgumentParser
import Foundation

/// `apus config …`.
struct ConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Look at the configuration.", subcommands: [ConfigCheckCommand.self])
}

/// `apus config check`.
struct ConfigCheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Explain every key of apus.yaml and every APUS_* variable.",
    discussion: """
      Prints each setting with where it comes from and what it does. A name that means nothing is an error, with the
      nearest name that does; the exit code is then 64.

      Example: apus config check --config /etc/apus.yaml
      """)

  @Option(
    name: .long, help: "The configuration file. Without it apus.yaml in the working directory is read if it is there.")
  var config: String?

  func run() throws {
    let tree = try CommandTree(of: ApusCommand.self)
    let environment = ProcessInfo.processInfo.environment
    let explicit = config ?? environment["APUS_CONFIG"]
    let path = explicit ?? "apus.yaml"
    var file: ConfigurationFile?
    if explicit != nil || FileManager.default.fileExists(atPath: path) {
      file = try ConfigurationFile(path: path, roles: Set(tree.subcommands.map(\.name)))
    }
    let check = ConfigurationCheck(file: file, environment: environment, tree: tree)
    if check.findings.isEmpty { print("Nothing is set: no apus.yaml here and no APUS_* variable. All defaults apply.") }
    for finding in check.findings {
      switch finding {
      case .known(let origin, let option, let value, let help):
        print("\(origin): \(option) = \(value)\n    \(help)")
      case .unknown(let origin, let name, let suggestion):
        print("\(origin): \"\(name)\" is not an option" + (suggestion.map { "; did you mean \"\($0)\"?" } ?? "."))
      }
    }
    if check.hasErrors { throw ArgumentParser.ExitCode(64) }
  }
}
