import ApusService
import ArgumentParser
import Foundation

/// The program: every role and every tool is a subcommand.
package struct ApusCommand: AsyncParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "apus",
    abstract: "GPU fleet telemetry from bare metal to query, in one program.",
    discussion: """
      Try it:
        apus up --simulate 4x8          a simulated fleet, through the log into the store, served on http://127.0.0.1:8080
        apus up --csv FILE --timestamps original
        apus help up

      Every option can also be set by an environment variable (--data-dir is APUS_DATA_DIR) or in apus.yaml
      (data-dir: /var/lib/apus); flags win over variables, variables over the file. "apus config check" explains both.
      """,
    version: Version.text,
    subcommands: [
      UpCommand.self, BrokerCommand.self, StreamCommand.self, CollectCommand.self, APICommand.self,
      SimulateCommand.self, TopicsCommand.self, StoreCommand.self, ConfigCommand.self, VersionCommand.self,
      OpenAPICommand.self,
    ]
  )

  package init() {}

  /// Runs the program with the process's arguments and environment; does not return.
  package static func runProcess() async -> Never {
    do {
      let expanded = try expand(Array(CommandLine.arguments.dropFirst()))
      let command: any ParsableCommand
      do {
        command = try parseAsRoot(expanded.arguments)
      } catch {
        exitExplaining(error, origins: expanded.origins)
      }
      try await run(command)
      exit(withError: nil)
    } catch let error as ConfigurationError {
      fail(error.description, .usage)
    } catch let error as StartupError {
      fail(error.sentence, error.exitCode)
    } catch let error as ArgumentParser.ExitCode {
      exit(withError: error)
    } catch let error as ValidationError {
      fail(error.message, .usage)
    } catch {
      // `--help` and `help` are commands that answer by an error of the parser's own.
      if exitCode(for: error) == .success { exit(withError: error) }
      fail("\(error)", .software)
    }
  }

  /// The command line with what the environment and `apus.yaml` add to it.
  static func expand(_ arguments: [String]) throws -> ArgumentExpansion {
    let tree = try CommandTree(of: ApusCommand.self)
    // `config check` explains what is set; it does not take it.
    if arguments.first == "config" { return ArgumentExpansion(unchanged: arguments) }
    return try ArgumentExpansion(arguments, tree: tree, environment: ProcessInfo.processInfo.environment) {
      path, isExplicit throws(ConfigurationError) in
      if !isExplicit && !FileManager.default.fileExists(atPath: path) { return nil }
      return try ConfigurationFile(path: path, roles: Set(tree.subcommands.map(\.name)))
    }
  }

  private static func run(_ command: any ParsableCommand) async throws {
    if var asynchronous = command as? any AsyncParsableCommand {
      try await asynchronous.run()
    } else {
      var command = command
      try command.run()
    }
  }

  /// Prints the parser's message and, for a value that did not stand on the command line, where it came from.
  private static func exitExplaining(_ error: any Error, origins: [String: String]) -> Never {
    let code = exitCode(for: error)
    if code == .success { exit(withError: error) }
    var text = fullMessage(for: error)
    for (option, origin) in origins.sorted(by: { $0.key < $1.key }) where text.contains("--\(option)") {
      text += "\nThe value of --\(option) comes from \(origin)."
    }
    FileHandle.standardError.write(Data((text + "\n").utf8))
    Foundation.exit(code.rawValue)
  }

  private static func fail(_ sentence: String, _ code: ApusService.ExitCode) -> Never {
    FileHandle.standardError.write(Data("Error: \(sentence)\n".utf8))
    Foundation.exit(code.rawValue)
  }
}

/// The version of this program.
package enum Version {
  package static let text = "0.1.0"
}
