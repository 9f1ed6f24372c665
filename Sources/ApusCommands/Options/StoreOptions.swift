import ApusService
import ApusStore
import ArgumentParser

/// The store: which one, how long, how large.
struct StoreOptions: ParsableArguments {
  @Option(
    name: .long,
    help:
      "Where telemetry is kept: embedded://PATH, memory://, or http://HOST:PORT of apus collect. Default: the folder store in --data-dir."
  )
  var store: String?

  @Option(
    name: .long, help: "How long samples are kept, by their own time (inf for ever).", transform: Parsing.retention)
  var retention = Retention(duration: nil)

  @Option(
    name: .long, help: "How much disk the store may use before its oldest data goes. Default: 80 % of the file system.",
    transform: Parsing.positiveBytes)
  var retentionSize: ByteCount?

  @Option(name: .long, help: "Whether samples are rolled up to 5 min and 1 h once their day is over: on or off.")
  var rollups = RollupSwitch.on

  @Option(
    name: .customLong("rollup-retention-5m"), help: "How long roll-ups to 5 min are kept (inf for ever).",
    transform: Parsing.retention)
  var rollupRetention5m = Retention(duration: nil)

  @Option(
    name: .customLong("rollup-retention-1h"), help: "How long roll-ups to 1 h are kept (inf for ever).",
    transform: Parsing.retention)
  var rollupRetention1h = Retention(duration: nil)

  @Option(
    name: .long, help: "How much recent data is held in memory before it is written to a block.",
    transform: Parsing.positiveBytes)
  var headBytes: ByteCount = .mebibytes(64)

  @Option(
    name: .long,
    help: "How blocks are compressed beyond their own codecs: none, zstd (the default), or zstd:LEVEL from 1 to 19.",
    transform: StoreOptions.parseCompression)
  var storeCompression = EmbeddedStore.Configuration.Compression.zstd(level: 1)

  @Option(
    name: .long, help: "How many bytes a second merges of blocks may write, like 20MiB. Default: no bound.",
    transform: Parsing.positiveBytes)
  var compactionRate: ByteCount?

  @Option(name: .long, help: "How many series there may be; samples of new ones beyond are refused and counted.")
  var seriesLimit: Int = 1_000_000

  static func parseCompression(_ text: String) throws -> EmbeddedStore.Configuration.Compression {
    if text == "none" { return .none }
    if text == "zstd" { return .zstd(level: 1) }
    guard text.hasPrefix("zstd:"), let level = Int(text.dropFirst(5)), (1...19).contains(level) else {
      throw ValidationError("it must be none, zstd, or zstd:LEVEL with a level from 1 to 19")
    }
    return .zstd(level: level)
  }
}

extension EmbeddedStore.Configuration.Compression: CustomStringConvertible {
  package var description: String {
    switch self {
    case .none: "none"
    case .zstd(1): "zstd"
    case .zstd(let level): "zstd:\(level)"
    }
  }
}

/// Whether new roll-ups are made.
enum RollupSwitch: String, ExpressibleByArgument, CaseIterable {
  case on
  case off
}
