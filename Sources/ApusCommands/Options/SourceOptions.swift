import ApusPipeline
import ApusService
import ArgumentParser

/// Where telemetry comes from, and how it is put on its way.
struct SourceOptions: ParsableArguments {
  @Option(name: .long, help: "A CSV file to replay; may be given several times. Format: docs/how-to/stream-csv.md.")
  var csv: [String] = []

  @Option(name: .long, help: "Simulate a fleet: NODESxGPUS, like 4x8.", transform: Parsing.fleet)
  var simulate: FleetShape?

  @Option(name: .long, help: "Faults to inject into the simulation. Format: docs/how-to/simulate.md.")
  var scenario: String?

  @Option(name: .long, help: "The simulation's seed: the same seed gives the same fleet and the same day.")
  var seed: UInt64 = 1

  @Option(name: .long, help: "How often a live source is read.", transform: Parsing.positiveDuration)
  var interval: Duration = .seconds(10)

  @Option(name: .long, help: "Rows a second to replay from a CSV; without it as fast as they are taken.")
  var rate: Double?

  @Flag(name: .long, help: "Begin a CSV again when it ends.")
  var loop = false

  @Option(
    name: .long,
    help: "Timestamps of a CSV: original, or now (the time of sending, in the order of the stated times).")
  var timestamps: TimestampMode = .original

  @Option(
    name: .long, help: "Read only a share of a CSV's rows: i/n, so that n streamers share one file.",
    transform: ShardText.parse)
  var shard: ShardText?

  @Flag(name: .long, help: "Stop at the first row that cannot be read, where it is otherwise counted and skipped.")
  var strict = false

  @Option(
    name: .long, help: "A label name=value for everything from this source, such as datacenter=east; repeatable.",
    transform: LabelText.parse)
  var label: [LabelText] = []

  @Option(name: .long, help: "What is written to the log: frame (columns), json or text.")
  var encoding: EncodingName = .frame

  @Option(name: .long, help: "Compression of the record batches: none, gzip, lz4, zstd.")
  var compression: CompressionName = .none

  @Option(name: .long, help: "This streamer's name in logs and metrics; by default the host's name and the process id.")
  var instanceId: String?

  /// Whether any source was named.
  var isEmpty: Bool { csv.isEmpty && simulate == nil }

  func validate() throws {
    if let rate, !(rate > 0 && rate.isFinite) {
      throw ValidationError("--rate must be a number above 0")
    }
    if scenario != nil && simulate == nil {
      throw ValidationError("--scenario describes faults of a simulated fleet; give --simulate NODESxGPUS too")
    }
  }
}

enum TimestampMode: String, ExpressibleByArgument, CaseIterable, Sendable {
  case original, now
}

enum EncodingName: String, ExpressibleByArgument, CaseIterable, Sendable {
  case frame, json, text
}

enum CompressionName: String, ExpressibleByArgument, CaseIterable, Sendable {
  case none, gzip, lz4, zstd
}
