import ApusService
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

  @Option(
    name: .long, help: "How much recent data is held in memory before it is written to a block.",
    transform: Parsing.positiveBytes)
  var headBytes: ByteCount = .mebibytes(64)

  @Option(name: .long, help: "How many series there may be; samples of new ones beyond are refused and counted.")
  var seriesLimit: Int = 1_000_000
}
