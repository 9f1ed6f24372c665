import ApusAPI
import ApusPipeline
import ApusService
import ArgumentParser

/// `apus collect`: a broker's log into a store, which is served to other processes.
struct CollectCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "collect",
    abstract: "Subscribe to a broker and keep what it says in a store; serve the store.",
    discussion: """
      The position in the log is kept with the data, so after a crash nothing is missing and nothing is there twice.
      Several collectors, each with a store of its own, read everything independently.

      Examples:
        apus collect --broker tcp://127.0.0.1:9000 --data-dir /var/lib/apus-collector
        apus api --store http://127.0.0.1:9003
      """)

  @Option(name: .long, help: "The broker to subscribe to: tcp://HOST:PORT.")
  var broker = "tcp://127.0.0.1:9000"
  @Option(
    name: .long, help: "Where to begin when the store has no position: earliest, latest or an offset.",
    transform: CollectCommand.parseStart)
  var from: Collector.Start = .earliest
  @OptionGroup var topic: TopicOptions
  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Store") var store: StoreOptions
  @Option(
    name: .long, help: "Where the store is served, with /health, /stats and /metrics.", transform: Parsing.address)
  var httpListen = ListenAddress(host: "127.0.0.1", port: 9003)
  @OptionGroup(title: "Process") var common: CommonOptions

  func run() async throws {
    let assembly = Assembly(role: "collect", common)
    let client = try assembly.connect(broker: broker)
    let opened = try assembly.openStore(store, dataDir: data.dataDir)
    let collector = try assembly.collector(topic: topic.topic, start: from, log: client, store: opened.store)
    let server = assembly.storeServer(opened.store, listen: httpListen)
    try await assembly.run(
      [
        ServicePart("store", StorePart(store: opened.store)), assembly.storeMetrics(opened.store),
        ServicePart("collector", CollectorPart(collector: collector)),
      ] + assembly.parts("http", server))
    await client.close()
  }

  static func parseStart(_ text: String) throws -> Collector.Start {
    switch text {
    case "earliest": return .earliest
    case "latest": return .latest
    default:
      guard let offset = Int64(text), offset >= 0 else {
        throw ValidationError("it must be earliest, latest or an offset from 0 on")
      }
      return .offset(offset)
    }
  }
}
