// Goal: the document says what the server does, no more and no less. Method: the document is compared with the golden
// file in docs/, every documented path and status with the routes that the server has, and real answers with the schemas.

import ApusAPI
import ApusModel
import ApusService
import ApusStore
import ApusTestKit
import Foundation
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Testing

@Suite struct OpenAPITests {
  private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  @Test func theDocumentInTheRepositoryIsTheOneThatIsServed() throws {
    // The version is the program's, which the golden file must not follow with every release.
    let api = try API(
      API.Configuration(version: "0"), store: try MemoryStore(clock: ManualClock()), metrics: .init())
    let golden = Self.root.appending(path: "docs/openapi.json")
    let text = try JSONTree.parse(Array(try Data(contentsOf: golden)))
    let document = try JSONTree.parse(api.document)
    func withoutVersion(_ tree: JSONTree) -> [JSONTree.Member] { tree.members.filter { $0.name != "info" } }
    #expect(
      withoutVersion(text) == withoutVersion(document),
      "docs/openapi.json is not what the routes say; run: make openapi-gen")
  }

  @Test func everyRouteOfTheServerIsDocumentedAndTheOtherWayRound() throws {
    let fixture = try APIFixture()
    let api = try fixture.api()
    let documented = Set(
      try JSONTree.parse(api.document)["paths"]?.members.flatMap { path in
        path.value.members.map { "\($0.name.uppercased()) \(path.name)" }
      } ?? [])
    let router = Router(context: ServiceRequestContext.self)
    api.add(to: router)
    var served = Set(router.routes.map { "\($0.method.rawValue) \($0.path.description)" })
    // The server's own routes, and the pages that people look at.
    for path in ["/health", "/ready", "/stats", "/metrics"] { served.insert("GET \(path)") }
    let pages = served.filter { $0.contains("/swagger") }
    #expect(
      pages == [
        "GET /swagger", "GET /swagger/index.html", "GET /swagger/swagger-initializer.js",
        "GET /swagger/swagger-ui-bundle.js", "GET /swagger/swagger-ui.css", "GET /swagger/favicon-32x32.png",
      ])
    #expect(served.subtracting(pages) == documented)
  }

  @Test func operationsAreNamedOnceAndEverythingIsDescribed() throws {
    let routes = try APIFixture().api().routes.filter(\.isDocumented)
    #expect(Set(routes.map(\.operation)).count == routes.count)
    for route in routes {
      #expect(!route.summary.isEmpty)
      #expect(Set(route.answers.map(\.status)).count == route.answers.count, "\(route.path) declares a status twice")
      #expect(route.answers.contains { [200, 204].contains($0.status) })
      let captured = route.path.split(separator: "/").filter { $0.hasPrefix("{") }.map {
        String($0.dropFirst().dropLast())
      }
      #expect(route.parameters.filter { $0.place == .path }.map(\.name) == captured)
      #expect(Set(route.parameters.map(\.name)).count == route.parameters.count)
      for parameter in route.parameters { #expect(parameter.summary.hasSuffix("."), "\(parameter.name)") }
      if route.isQuery {
        #expect([304, 400, 413, 500, 503].allSatisfy { s in route.answers.contains { $0.status == s } })
      }
    }
  }

  @Test func answersAreAsTheirSchemasSay() async throws {
    let fixture = try APIFixture()
    try await fixture.appendFleet(nodes: 2, gpus: 2, at: APIFixture.epoch)
    try await fixture.append([Labels([("__name__", "x"), ("UUID", "GPU-bare")])], [.nan], at: APIFixture.epoch)
    let document = try JSONTree.parse(try fixture.api().document)
    let addresses: [(path: String, uri: String)] = [
      ("/api/v1/gpus", "/api/v1/gpus"), ("/api/v1/gpus", "/api/v1/gpus?limit=0"),
      ("/api/v1/gpus/{id}", "/api/v1/gpus/GPU-bare"), ("/api/v1/gpus/{id}", "/api/v1/gpus/0"),
      ("/api/v1/gpus/{id}", "/api/v1/gpus/none"), ("/api/v1/gpus/{id}/telemetry", "/api/v1/gpus/GPU-bare/telemetry"),
      ("/api/v1/nodes", "/api/v1/nodes"), ("/api/v1/nodes/{id}", "/api/v1/nodes/node-1"),
      ("/api/v1/nodes/{id}/metrics", "/api/v1/nodes/node-1/metrics"),
      ("/api/v1/metrics/latest", "/api/v1/metrics/latest"), ("/health", "/health"), ("/ready", "/ready"),
      ("/stats", "/stats"), ("/openapi.json", "/openapi.json"),
    ]
    try await fixture.run { client async throws in
      for (path, uri) in addresses {
        let reply = try await client.get(uri)
        let declared = document["paths"]?[path]?["get"]?["responses"]?["\(reply.status)"]
        let mediaType = String((reply.headers[.contentType] ?? "").prefix { $0 != ";" })
        let schema = try #require(declared?["content"]?[mediaType]?["schema"], "\(uri): \(reply.status) \(mediaType)")
        if let reason = SchemaCheck(document: document).mismatch(try reply.json(), schema, at: "answer") {
          Issue.record("\(uri): \(reason)")
        }
      }
    }
  }

  @Test func theCheckOfSchemasFindsWhatIsWrong() throws {
    let document = try JSONTree.parse(try APIFixture().api().document)
    let check = SchemaCheck(document: document)
    let node: JSONTree = ["$ref": "#/components/schemas/Node"]
    #expect(check.mismatch(.object([]), node, at: "") != nil)
    #expect(check.mismatch(["additional": 1], node, at: "") != nil)
    #expect(check.mismatch("text", ["type": "integer"], at: "") != nil)
    #expect(check.mismatch(-1, ["type": "integer", "minimum": 0], at: "") != nil)
    #expect(check.mismatch("other", ["type": "string", "enum": ["one"]], at: "") != nil)
  }

  @Test func swaggerIsServedAndRunsNothingFromElsewhere() async throws {
    try await APIFixture().run { client async throws in
      for path in ["/swagger", "/swagger/"] {
        let reply = try await client.get(path)
        #expect(reply.status == 308)
        #expect(reply.headers[.location] == "/swagger/index.html")
      }
      let index = try await client.get("/swagger/index.html")
      #expect(index.status == 200)
      #expect(index.headers[.contentType] == "text/html; charset=utf-8")
      #expect(!index.text.contains("://"))
      let initializer = try await client.get("/swagger/swagger-initializer.js")
      #expect(initializer.text.contains("/openapi.json"))
      // With the files in the program the page loads them; without, each says how to get them.
      let bundle = try await client.get("/swagger/swagger-ui-bundle.js")
      if bundle.status == 200 {
        #expect(index.text.contains("swagger-ui-bundle.js"))
        #expect(bundle.body.count > 500_000)
      } else {
        #expect(bundle.status == 404)
        #expect(bundle.text.contains("scripts/stage-swagger"))
        #expect(index.text.contains("make swagger-static"))
      }
    }
  }
}
