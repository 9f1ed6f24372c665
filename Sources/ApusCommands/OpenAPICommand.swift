import ApusAPI
import ApusIO
import ApusService
import ApusStore
import ArgumentParser

/// `apus openapi`: the document of the REST API, for `make openapi-gen`.
struct OpenAPICommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "openapi", abstract: "Print the OpenAPI document of the REST API.", shouldDisplay: false)

  func run() throws {
    let api = try API(
      API.Configuration(version: Version.text), store: try MemoryStore(clock: SystemClock()),
      metrics: MetricsRegistry())
    Terminal.say(String(decoding: api.document, as: UTF8.self))
  }
}
