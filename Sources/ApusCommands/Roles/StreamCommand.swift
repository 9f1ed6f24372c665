import ApusBroker
import ApusPipeline
import ApusService
import ArgumentParser

/// `apus stream`: sources into a broker's log.
struct StreamCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stream",
    abstract: "Read sources and publish what they say to a broker.",
    discussion: """
      Collecting and publishing are two loops with a bounded buffer between them. A file waits when the broker is away,
      and its position survives a crash, so each row is in the topic exactly once; a live source spills to --spool.
      The command ends when all files have been published; a simulation runs until it is stopped.

      Examples:
        apus stream --csv dcgm.csv --broker tcp://127.0.0.1:9000
        apus stream --csv dcgm.csv --shard 1/2 & apus stream --csv dcgm.csv --shard 2/2
        apus stream --simulate 4x8 --spool /var/spool/apus
      """)

  @OptionGroup(title: "Sources") var sources: SourceOptions
  @Option(
    name: .long, help: "How long scrapes are collected before they are published; 0s publishes each at once.",
    transform: Parsing.duration)
  var flushInterval: Duration = .seconds(5)
  @Option(name: .long, help: "The broker to publish to: tcp://HOST:PORT.")
  var broker = "tcp://127.0.0.1:9000"
  @Option(name: .long, help: "A folder where a live source's telemetry waits while the broker is away.")
  var spool: String?
  @Option(
    name: .long, help: "How large the spool may grow before its oldest part is dropped.",
    transform: Parsing.positiveBytes)
  var spoolSize: ByteCount = .gibibytes(1)
  @OptionGroup var topic: TopicOptions
  @OptionGroup(title: "Data") var data: DataOptions
  @Option(name: .long, help: "Where /health, /stats and /metrics listen.", transform: Parsing.address)
  var httpListen = ListenAddress(host: "127.0.0.1", port: 9002)
  @OptionGroup(title: "Process") var common: CommonOptions

  func validate() throws {
    if sources.isEmpty {
      throw ValidationError("there is nothing to stream; give --csv FILE or --simulate NODESxGPUS")
    }
  }

  func run() async throws {
    let assembly = Assembly(role: "stream", common)
    let client = try assembly.connect(broker: broker)
    let disk = try assembly.openDisk(data.dataDir)
    let streamers = try assembly.streamers(
      sources, .init(topic: topic.topic, flushInterval: flushInterval, spool: spool, spoolSize: spoolSize),
      log: client, dataDir: data.dataDir, disk: disk)
    let server = assembly.statusServer(
      role: "stream", listen: httpListen,
      statistics: { StreamStatistics.json(streamers.map(\.streamer), progress: streamers.compactMap(\.progress)) })
    var parts = assembly.parts("http", server)
    parts.append(
      ServicePart(
        "streamers", StreamerGroup(parts: streamers.map { StreamerPart(streamer: $0.streamer, progress: $0.progress) }))
    )
    try await assembly.run(parts)
    await client.close()
  }
}
