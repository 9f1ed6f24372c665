import ApusAPI
import ApusBroker
import ApusDoors
import ApusPipeline
import ApusService
import ApusStore
import ArgumentParser

/// `apus up`: every role in one process.
struct UpCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "up",
    abstract: "Run everything in one process: sources, log, collector, store, API.",
    discussion: """
      Telemetry flows from the sources through the durable log into the embedded store and out of the REST API. All of
      it lives below --data-dir; stop it and start it again, and it goes on where it was.

      Examples:
        apus up --simulate 4x8
        apus up --csv dcgm.csv --timestamps original
        curl http://127.0.0.1:8080/api/v1/gpus
      """)

  @OptionGroup(title: "Sources") var sources: SourceOptions
  @Option(
    name: .long, help: "How long scrapes are collected before they are published; 0s publishes each at once.",
    transform: Parsing.duration)
  var flushInterval: Duration = .zero
  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Log") var log: LogOptions
  @OptionGroup var topic: TopicOptions
  @OptionGroup(title: "Store") var store: StoreOptions
  @OptionGroup(title: "API") var api: APIOptions
  @Option(name: .long, help: "Where the REST API listens.", transform: Parsing.address)
  var apiListen = ListenAddress(host: "127.0.0.1", port: 8080)
  @Option(name: .long, help: "Where the log's TCP door listens.", transform: Parsing.address)
  var tcpListen = ListenAddress(host: "127.0.0.1", port: 9000)
  @Option(name: .long, help: "Where the log's HTTP door listens.", transform: Parsing.address)
  var httpListen = ListenAddress(host: "127.0.0.1", port: 9001)
  @OptionGroup(title: "Process") var common: CommonOptions

  func run() async throws {
    let assembly = Assembly(role: "up", common)
    let topicName = topic.topic
    let disk = try assembly.openDisk(data.dataDir)
    let opened = try assembly.openStore(store, dataDir: data.dataDir)
    let embedded = try assembly.openLog(log, topic: topicName, on: disk, isCovered: true)
    let collector = try assembly.collector(topic: topicName, start: .earliest, log: embedded, store: opened.store) {
      partition, offset in embedded.setCoveredOffset(offset, for: partition)
    }
    let streamers = try assembly.streamers(
      sources, .init(topic: topicName, flushInterval: flushInterval), log: embedded, dataDir: data.dataDir, disk: disk)

    let (door, status) = assembly.tcpDoor(embedded, listen: tcpListen)
    // A batch below what the log takes, with room for its head.
    let ways = assembly.ingestDoor(
      api, topic: topicName, batchBytesMax: max(4096, min(8 << 20, log.maxMessageBytes.bytes - 4096)), log: embedded,
      visibility: collector)
    let server = try assembly.apiServer(
      api, store: opened.store, listen: apiListen, role: "up", door: ways.door,
      statistics: [("broker", { @Sendable in status.json() })])

    var parts = [
      ServicePart("log", LogPart(log: embedded)), ServicePart("store", StorePart(store: opened.store)),
      assembly.storeMetrics(opened.store),
      ServicePart(
        "collector",
        CollectorPart(collector: collector) { await Assembly.catchUp(collector, with: embedded, topic: topicName) }),
      ServicePart("tcp-door", door), assembly.announce("tcp", door.address),
    ]
    parts += assembly.parts("http", assembly.brokerServer(status, listen: httpListen))
    parts += assembly.parts("api", server)
    for (streamer, progress) in streamers {
      parts.append(
        ServicePart(
          "streamer", StreamerPart(streamer: streamer, progress: progress), whenFinished: .keepOthersRunning))
    }
    parts.append(
      ServicePart(
        "guide", UpGuide(api: server.address, hasSource: !streamers.isEmpty), whenFinished: .keepOthersRunning))
    try await assembly.run(parts)
  }
}
