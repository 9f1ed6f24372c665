import ApusAPI
import ApusService
import ArgumentParser

/// What the REST API may be told.
struct APIOptions: ParsableArguments {
  @Option(
    name: .long, help: "A node or GPU without samples for longer is offline.", transform: Parsing.positiveDuration)
  var offlineAfter: Duration = .seconds(60)

  @Option(name: .long, help: "Requests that read the store at one time; more wait, then are refused with 503.")
  var queriesMax: Int = 16

  @Option(name: .long, help: "How long a request may read the store.", transform: Parsing.positiveDuration)
  var queryTimeout: Duration = .seconds(30)
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
  @OptionGroup(title: "API") var api: APIOptions
  @Option(name: .long, help: "Where the API listens.", transform: Parsing.address)
  var apiListen = ListenAddress(host: "127.0.0.1", port: 8080)
  @OptionGroup(title: "Process") var common: CommonOptions

  func run() async throws {
    let assembly = Assembly(role: "api", common)
    let remote = try assembly.remoteStore(store)
    let server = try assembly.apiServer(api, store: remote, listen: apiListen, role: "api", statistics: [])
    try await assembly.run([ServicePart("store", StorePart(store: remote))] + assembly.parts("api", server))
  }
}
