import ApusBroker
import ApusService
import ArgumentParser

/// The embedded log: how safe, how long, how large.
struct LogOptions: ParsableArguments {
  @Option(
    name: .long,
    help: "When a publish is acknowledged: every (after fdatasync, shared by all that wait), interval, none.")
  var durability: DurabilityLevel = .every

  @Option(
    name: .long, help: "With --durability interval: the most that a crash of the machine may lose.",
    transform: Parsing.positiveDuration)
  var syncInterval: Duration = .milliseconds(200)

  @Option(
    name: .long, help: "How long records stay in the log after the store has taken them in (inf for ever).",
    transform: Parsing.retention)
  var logRetention = Retention(duration: .seconds(3600))

  @Option(
    name: .long, help: "How large a partition may grow before its oldest records go.",
    transform: Parsing.positiveBytes)
  var logRetentionSize: ByteCount = .gibibytes(1)

  @Option(
    name: .long, help: "The size at which a segment file is closed and the next begun.",
    transform: Parsing.positiveBytes)
  var segmentBytes: ByteCount = .mebibytes(64)

  @Option(name: .long, help: "The largest record batch that is taken.", transform: Parsing.positiveBytes)
  var maxMessageBytes: ByteCount = .mebibytes(16)

  @Option(
    name: .long, help: "How many bytes may wait to be made durable before publishers have to wait.",
    transform: Parsing.positiveBytes)
  var queueBytes: ByteCount = .mebibytes(64)

  @Option(name: .long, help: "How many partitions a topic has that is made on first use.")
  var partitions: Int32 = 1

  @Flag(name: .long, inversion: .prefixedNo, help: "Whether publishing to a topic that is not there makes it.")
  var autoCreateTopics = true
}

enum DurabilityLevel: String, ExpressibleByArgument, CaseIterable, Sendable {
  case every, interval, none
}

/// Which topic the telemetry goes through.
struct TopicOptions: ParsableArguments {
  @Option(name: .long, help: "The topic of the telemetry.", transform: TopicOptions.parse)
  var topic: TopicName = TopicName("gpu-telemetry")!

  static func parse(_ text: String) throws -> TopicName {
    guard let name = TopicName(text) else { throw ValidationError(LogError.invalidTopicName(text).description) }
    return name
  }
}
