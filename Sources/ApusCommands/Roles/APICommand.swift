import ApusAPI
import ApusDoors
import ApusPipeline
import ApusService
import ApusStore
import ArgumentParser
import ServiceLifecycle

/// What the REST API may be told.
struct APIOptions: ParsableArguments {
  @Option(
    name: .long, help: "A node or GPU without samples for longer is offline.", transform: Parsing.positiveDuration)
  var offlineAfter: Duration = .seconds(60)

  @Option(name: .long, help: "Requests that read the store at one time; more wait, then are refused with 503.")
  var queriesMax: Int = 16

  @Option(name: .long, help: "How long a request may read the store.", transform: Parsing.positiveDuration)
  var queryTimeout: Duration = .seconds(30)

  @Option(
    name: .long, help: "The largest body that the ways in take, as sent and expanded.",
    transform: Parsing.positiveBytes)
  var ingestBodyLimit: ByteCount = .mebibytes(64)
}

/// `apus api`: the REST API on a store.
struct APICommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "api",
    abstract: "Serve the REST API, its OpenAPI document and Swagger UI on a store.",
    discussion: """
      The store is another process's (apus collect): the embedded store has one owner.

      Example:
        apus api --store http://127.0.0.1:9003
        open http://127.0.0.1:8080/swagger
      """)

  @Option(name: .long, help: "The store: http://HOST:PORT of apus collect.")
  var store = "http://127.0.0.1:9003"
  @Option(
    name: .long,
    help: "The broker that telemetry from the ways in is published to: tcp://HOST:PORT. Without it they answer 503.")
  var broker: String?
  @OptionGroup var topic: TopicOptions
  @OptionGroup(title: "API") var api: APIOptions
  @Option(name: .long, help: "Where the API listens.", transform: Parsing.address)
  var apiListen = ListenAddress(host: "127.0.0.1", port: 8080)
  @OptionGroup(title: "Process") var common: CommonOptions

  func run() async throws {
    let assembly = Assembly(role: "api", common)
    let remote = try assembly.remoteStore(store)
    let client = try broker.map { url throws(StartupError) in try assembly.connect(broker: url) }
    let ways = client.map {
      assembly.ingestDoor(api, topic: topic.topic, batchBytesMax: 1 << 20, log: $0, visibility: nil)
    }
    let server = try assembly.apiServer(
      api, store: remote, listen: apiListen, role: "api", door: ways?.door, statistics: [])
    var parts = [ServicePart("store", StorePart(store: remote))]
    if let ways {
      parts.append(
        ServicePart(
          "visible-lag", VisibleLagPart(store: remote, ingester: ways.ingester), whenFinished: .keepOthersRunning))
    }
    try await assembly.run(parts + assembly.parts("api", server))
    await client?.close()
  }
}

/// Asks the store how far it has come, for the lag between taken in and visible.
struct VisibleLagPart: Service {
  let store: any Store
  let ingester: Ingester

  func run() async throws {
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        // A store that does not answer is told by other metrics; the lag goes on growing meanwhile.
        ingester.note(visible: (try? await store.positions()) ?? [:])
        try? await Task.sleep(for: .seconds(1))
      }
    }
  }
}
