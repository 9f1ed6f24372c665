import ApusBroker
import ApusDoors
import ApusIO
import ApusService
import ArgumentParser

/// `apus topics …`.
struct TopicsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "topics", abstract: "List, describe, create and delete the topics of a broker.",
    subcommands: [
      TopicsListCommand.self, TopicsDescribeCommand.self, TopicsCreateCommand.self, TopicsDeleteCommand.self,
    ])
}

/// Which broker a command of `apus topics` speaks to.
struct BrokerOptions: ParsableArguments {
  @Option(name: .long, help: "The broker: tcp://HOST:PORT.")
  var broker = "tcp://127.0.0.1:9000"

  @Option(
    name: .long, help: "The configuration file. Without it apus.yaml in the working directory is read if it is there.")
  var config: String?

  /// Connects, asks, and lets go; an error of the broker becomes a sentence and an exit code.
  func with<Value: Sendable>(
    _ body: (TCPLogClient) async throws(LogError) -> Value
  ) async throws -> Value {
    let configuration: TCPLogClient.Configuration
    do { configuration = try TCPLogClient.Configuration(url: broker) } catch {
      throw StartupError("--broker: \(error)", exitCode: .usage)
    }
    let client = TCPLogClient(configuration, seed: UInt64.random(in: .min ... .max))
    let result: Result<Value, LogError>
    do throws(LogError) { result = .success(try await body(client)) } catch { result = .failure(error) }
    await client.close()
    switch result {
    case .success(let value): return value
    case .failure(let error):
      switch error {
      case .unreachable: throw StartupError(error.description, exitCode: .unavailable)
      case .unknownTopic, .topicExists, .invalidTopicName, .invalidConfiguration:
        throw StartupError(error.description, exitCode: .dataError)
      default: throw StartupError(error.description, exitCode: .software)
      }
    }
  }
}

struct TopicsListCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "list", abstract: "Print the names of all topics.")

  @OptionGroup var broker: BrokerOptions

  func run() async throws {
    let topics = try await broker.with { client throws(LogError) in try await client.topics() }
    for topic in topics { print(topic.name) }
  }
}

struct TopicsDescribeCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "describe", abstract: "Print the partitions of topics with their offsets and sizes.")

  @Argument(help: "The topics; without any, all of them.")
  var names: [String] = []

  @OptionGroup var broker: BrokerOptions

  func run() async throws {
    let names = try names.map { try TopicOptions.parse($0) }
    let topics = try await broker.with { client throws(LogError) in
      let all = try await client.topics()
      for name in names where !all.contains(where: { $0.name == name }) { throw .unknownTopic(name.text) }
      return names.isEmpty ? all : all.filter { names.contains($0.name) }
    }
    for topic in topics {
      print("\(topic.name)")
      for partition in topic.partitions {
        print(
          "  partition \(partition.index): offsets \(partition.logStart) to \(partition.highWatermark),"
            + " \(partition.bytes) bytes in \(partition.segments) segments")
      }
    }
  }
}

struct TopicsCreateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Make a topic.",
    discussion: "Example: apus topics create gpu-telemetry --partitions 4 --retention 24h")

  @Argument(help: "The topic's name: 1 to 249 of a-z A-Z 0-9 . _ -", transform: TopicOptions.parse)
  var name: TopicName

  @Option(name: .long, help: "How many partitions it has.")
  var partitions: Int32 = 1

  @Option(
    name: .long, help: "How long records stay (inf for ever). Default: the broker's.", transform: Parsing.retention)
  var retention: Retention?

  @Option(name: .long, help: "How large a partition may grow. Default: the broker's.", transform: Parsing.positiveBytes)
  var retentionSize: ByteCount?

  @Option(name: .long, help: "The size of a segment file. Default: the broker's.", transform: Parsing.positiveBytes)
  var segmentBytes: ByteCount?

  @Option(name: .long, help: "The largest record batch. Default: the broker's.", transform: Parsing.positiveBytes)
  var maxMessageBytes: ByteCount?

  @OptionGroup var broker: BrokerOptions

  func run() async throws {
    let configuration = TopicConfiguration(
      partitions: partitions,
      // For ever, for a topic whose broker has a bound by default, is longer than anything lives.
      retentionMilliseconds: retention.map { $0.milliseconds ?? Int64.max },
      retentionBytes: retentionSize.map { Int64($0.bytes) }, segmentBytes: segmentBytes.map { Int64($0.bytes) },
      maxMessageBytes: maxMessageBytes?.bytes)
    try await broker.with { client throws(LogError) in try await client.createTopic(name, configuration) }
    print("created \(name)")
  }
}

struct TopicsDeleteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Delete a topic with all of its records.")

  @Argument(help: "The topic's name.", transform: TopicOptions.parse)
  var name: TopicName

  @OptionGroup var broker: BrokerOptions

  func run() async throws {
    try await broker.with { client throws(LogError) in try await client.deleteTopic(name) }
    print("deleted \(name)")
  }
}
