import ArgumentParser
import Foundation

/// The options that a command takes, as the argument parser itself describes them: what may come from the
/// environment or from `apus.yaml` is read from here, so that it cannot differ from `--help`.
struct CommandTree: Sendable {
  struct Option: Hashable, Sendable {
    enum Kind: Hashable, Sendable {
      case value
      case flag
    }

    /// The long name without dashes: `data-dir`.
    var name: String
    var kind: Kind
    var isRepeating: Bool
    var help: String
    var defaultValue: String?
  }

  var name: String
  var options: [Option]
  var subcommands: [CommandTree]

  /// Names that only make sense on the command line.
  static let commandLineOnly: Set<String> = ["help", "version", "config"]

  /// The tree of a root command.
  init(of root: (some ParsableCommand).Type) throws {
    let description = try JSONDecoder().decode(ToolDescription.self, from: Data(root._dumpHelp().utf8))
    self.init(description.command)
  }

  private init(_ command: ToolDescription.Command) {
    name = command.commandName
    subcommands = (command.subcommands ?? []).map(CommandTree.init)
    options = (command.arguments ?? []).compactMap { argument in
      guard argument.kind != "positional",
        let long = argument.names?.first(where: { $0.kind == "long" })?.name,
        !CommandTree.commandLineOnly.contains(long)
      else { return nil }
      return Option(
        name: long, kind: argument.kind == "flag" ? .flag : .value, isRepeating: argument.isRepeating,
        help: argument.abstract ?? "", defaultValue: argument.defaultValue)
    }
  }

  /// The command that a list of arguments names, and how many arguments name it. `["up", "--loop"]` is (up, 1).
  func command(for arguments: [String]) -> (command: CommandTree, depth: Int) {
    guard let first = arguments.first, let next = subcommands.first(where: { $0.name == first }) else {
      return (self, 0)
    }
    let (command, depth) = next.command(for: Array(arguments.dropFirst()))
    return (command, depth + 1)
  }

  /// Every option of every command, each name once.
  var allOptions: [Option] {
    var seen: Set<String> = []
    return (options + subcommands.flatMap(\.allOptions)).filter { seen.insert($0.name).inserted }
      .sorted { $0.name < $1.name }
  }
}

/// The part of the argument parser's description of a tool that is needed here.
private struct ToolDescription: Decodable {
  struct Command: Decodable {
    var commandName: String
    var subcommands: [Command]?
    var arguments: [Argument]?
  }

  struct Argument: Decodable {
    struct Name: Decodable {
      var kind: String
      var name: String
    }

    var kind: String
    var isRepeating: Bool
    var names: [Name]?
    var abstract: String?
    var defaultValue: String?
  }

  var command: Command
}
