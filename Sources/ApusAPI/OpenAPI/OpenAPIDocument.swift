import ApusService
import HTTPTypes

/// The OpenAPI 3.1 document of some routes, made from their declarations and from nothing else.
package enum OpenAPIDocument {
  /// The document as JSON text, the same for the same routes and version, byte for byte.
  package static func bytes(of routes: [Route], version: String) -> [UInt8] {
    tree(of: routes, version: version).indented
  }

  /// The document as a value.
  package static func tree(of routes: [Route], version: String) -> JSONTree {
    var paths: [JSONTree.Member] = []
    for route in routes where route.isDocumented {
      let operation = JSONTree.Member(route.method.rawValue.lowercased(), operation(route))
      if let index = paths.firstIndex(where: { $0.name == route.path }), case .object(let members) = paths[index].value
      {
        paths[index].value = .object(members + [operation])
      } else {
        paths.append(.init(route.path, .object([operation])))
      }
    }
    let components = schemas.map { JSONTree.Member($0.name, $0.schema.json) }
    return .object([
      .init("openapi", "3.1.0"),
      .init("info", info(version: version)),
      .init("servers", [["url": "/"]]),
      .init(
        "tags", .array(Route.Tag.allCases.map { ["name": .string($0.rawValue), "description": .string($0.summary)] })),
      .init("paths", .object(paths)),
      .init("components", .object([.init("schemas", .object(components))])),
    ])
  }

  private static func info(version: String) -> JSONTree {
    [
      "title": "Apus",
      "summary": "Telemetry of a fleet of GPU nodes",
      "description":
        """
      Every list answers with a bare JSON array; the next page is in the `Link` header. No list has a default time \
      range. Times are RFC 3339 or seconds since 1970; ranges include both ends. Errors are problem documents \
      (RFC 9457) whose `parameter` names what is at fault. A parameter that a route does not have is refused.
      """,
      "license": ["name": "Apache-2.0", "identifier": "Apache-2.0"],
      "version": .string(version),
    ]
  }

  private static func operation(_ route: Route) -> JSONTree {
    var members: [JSONTree.Member] = [
      .init("operationId", .string(route.operation)), .init("tags", [.string(route.tag.rawValue)]),
      .init("summary", .string(route.summary)),
    ]
    if !route.description.isEmpty { members.append(.init("description", .string(route.description))) }
    if !route.parameters.isEmpty { members.append(.init("parameters", .array(route.parameters.map(parameter)))) }
    if let body = route.body {
      members.append(
        .init(
          "requestBody",
          .object([
            .init("description", .string(body.text)), .init("required", false),
            .init("content", .object(body.content.map { .init($0.mediaType, ["schema": $0.schema.json]) })),
          ])))
    }
    let answers = route.answers.sorted { $0.status < $1.status }
    members.append(.init("responses", .object(answers.map { .init("\($0.status)", answer($0)) })))
    return .object(members)
  }

  private static func parameter(_ declaration: ParameterDeclaration) -> JSONTree {
    var members: [JSONTree.Member] = [
      .init("name", .string(declaration.name)), .init("in", .string(declaration.place.rawValue)),
      .init("required", .boolean(declaration.place == .path)), .init("description", .string(declaration.summary)),
    ]
    if declaration.isRepeatable {
      members.append(.init("schema", Schema.array(of: declaration.schema).json))
      members.append(.init("style", "form"))
      members.append(.init("explode", true))
    } else {
      members.append(.init("schema", declaration.schema.json))
    }
    return .object(members)
  }

  private static func answer(_ answer: DeclaredAnswer) -> JSONTree {
    var members: [JSONTree.Member] = [.init("description", .string(answer.text))]
    if !answer.headers.isEmpty {
      members.append(
        .init(
          "headers",
          .object(
            answer.headers.map {
              .init($0.name, .object([.init("description", .string($0.text)), .init("schema", $0.schema.json)]))
            })))
    }
    if !answer.content.isEmpty {
      members.append(
        .init("content", .object(answer.content.map { .init($0.mediaType, ["schema": $0.schema.json]) })))
    }
    return .object(members)
  }

  /// The schemas that routes refer to by name.
  private static let schemas: [(name: String, schema: Schema)] = [
    ("GPU", GPURoutes.schema), ("Node", NodeRoutes.schema), ("Telemetry", TelemetryRoutes.schema),
    ("Problem", problemSchema), ("IngestProblem", IngestAnswers.problemSchema),
  ]

  /// `Problem.json`, member by member.
  private static let problemSchema = Schema.object([
    .required("type", .text(), "A reference that names the kind of problem; `about:blank` when the status says it."),
    .required("title", .text(), "The kind of problem in short."),
    .required("status", .integer(minimum: 400, maximum: 599), "The status of the answer."),
    .required("detail", .text(), "What is wrong this time, and what to do."),
    .optional("instance", .text(), "The path of the request."),
    .optional("parameter", .text(), "The parameter at fault."),
  ])
}
