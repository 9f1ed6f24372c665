/// The one mechanism of configuration: flags, then `APUS_*` environment variables, then `apus.yaml`.
///
/// Every option may be given in all three ways: `--head-bytes 64MiB`, `APUS_HEAD_BYTES=64MiB`, `head-bytes: 64MiB`.
/// What the command line leaves open is added to it from the other two before it is parsed, so a value is checked by
/// the same code, and an error reads the same, wherever it came from.
struct ArgumentExpansion: Sendable {
  /// The command line with what the environment and the file add.
  var arguments: [String]
  /// Where each added option came from, by its name.
  var origins: [String: String] = [:]

  /// - Parameters:
  ///   - arguments: what stands behind the program's name.
  ///   - environment: all variables; those that do not begin with `APUS_` are ignored.
  ///   - readFile: opens the configuration file; the second argument says whether it was asked for by name. Returns
  ///     nil when it was not and is not there.
  init(
    _ arguments: [String], tree: CommandTree, environment: [String: String],
    readFile: (_ path: String, _ isExplicit: Bool) throws(ConfigurationError) -> ConfigurationFile?
  ) throws(ConfigurationError) {
    self.arguments = arguments
    let (command, depth) = tree.command(for: arguments)
    guard depth > 0, !command.options.isEmpty else { return }
    let role = arguments[0]
    let given = ArgumentExpansion.namesGiven(arguments[depth...])
    // Help must not fail because of a configuration.
    if !given.isDisjoint(with: ["help", "h", "version"]) { return }

    let explicit = ArgumentExpansion.value(of: "config", in: arguments) ?? environment["APUS_CONFIG"]
    let file = try readFile(explicit ?? "apus.yaml", explicit != nil)

    var added: [String] = []
    for option in command.options where !given.contains(option.name) && !given.contains("no-\(option.name)") {
      let variable = ArgumentExpansion.variable(for: option.name)
      if let text = environment[variable] {
        let values = option.isRepeating ? text.split(separator: ",").map(String.init) : [text]
        added += try ArgumentExpansion.words(for: option, values, origin: variable)
        origins[option.name] = variable
      } else if let file, let entry = file.entry(option.name, role: role) {
        let origin = "\(file.path), line \(entry.line)"
        if entry.isList && !option.isRepeating {
          throw ConfigurationError(origin: origin, reason: "\"\(option.name)\" takes one value, not a list")
        }
        added += try ArgumentExpansion.words(for: option, entry.values, origin: origin)
        origins[option.name] = origin
      }
    }
    // Behind `--` everything is positional, so what is added goes before it.
    let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
    self.arguments.insert(contentsOf: added, at: end)
  }

  /// `data-dir` is `APUS_DATA_DIR`.
  static func variable(for option: String) -> String {
    "APUS_" + option.uppercased().replacing("-", with: "_")
  }

  private static func words(
    for option: CommandTree.Option, _ values: [String], origin: String
  ) throws(ConfigurationError) -> [String] {
    switch option.kind {
    case .value: return values.flatMap { ["--\(option.name)=\($0)"] }
    case .flag:
      switch values.first?.lowercased() {
      case "true", "yes", "on", "1": return ["--\(option.name)"]
      case "false", "no", "off", "0": return []
      default:
        throw ConfigurationError(
          origin: origin, reason: "\"\(option.name)\" is true or false, not \"\(values.first ?? "")\"")
      }
    }
  }

  private static func namesGiven(_ arguments: ArraySlice<String>) -> Set<String> {
    var names: Set<String> = []
    for argument in arguments {
      if argument == "--" { break }
      guard argument.hasPrefix("-"), argument != "-" else { continue }
      let name = argument.drop { $0 == "-" }.prefix { $0 != "=" }
      names.insert(String(name))
    }
    return names
  }

  private static func value(of option: String, in arguments: [String]) -> String? {
    for (index, argument) in arguments.enumerated() {
      if argument == "--" { return nil }
      if argument == "--\(option)" { return index + 1 < arguments.count ? arguments[index + 1] : nil }
      if argument.hasPrefix("--\(option)=") { return String(argument.dropFirst(option.count + 3)) }
    }
    return nil
  }
}

extension ArgumentExpansion {
  /// Adds nothing.
  init(unchanged arguments: [String]) { self.arguments = arguments }
}
