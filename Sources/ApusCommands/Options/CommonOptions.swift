import ApusService
import ArgumentParser
import Logging

/// What every command that runs for a while takes.
struct CommonOptions: ParsableArguments {
  @Option(
    name: .long, help: "The configuration file. Without it apus.yaml in the working directory is read if it is there.")
  var config: String?

  @Option(name: .long, help: "What is logged to standard error: trace, debug, info, notice, warning, error, critical.")
  var logLevel: LogLevel = .info

  @Option(
    name: .long, help: "How long stopping may take before the rest is cut off.", transform: Parsing.positiveDuration)
  var grace: Duration = .seconds(10)
}

/// swift-log's levels by their names.
enum LogLevel: String, ExpressibleByArgument, CaseIterable, Sendable {
  case trace, debug, info, notice, warning, error, critical

  var level: Logger.Level { Logger.Level(rawValue: rawValue) ?? .info }
}

/// Where a role keeps its files.
struct DataOptions: ParsableArguments {
  @Option(name: .long, help: "The folder that holds all data; made when it is not there.")
  var dataDir: String = "apus-data"
}
