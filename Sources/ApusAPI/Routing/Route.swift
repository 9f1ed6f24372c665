import HTTPTypes

/// A route, declared once: what the router registers, what requests are parsed by and what the OpenAPI document says
/// all come from this value, so that they cannot part.
package struct Route: Sendable {
  package var method: HTTPRequest.Method
  /// With parameters in braces: `/api/v1/gpus/{id}`.
  package var path: String
  /// A name for clients that are generated from the document.
  package var operation: String
  package var tag: Tag
  package var summary: String
  package var description: String
  package var parameters: [ParameterDeclaration]
  /// Every status that the route may answer with.
  package var answers: [DeclaredAnswer]
  /// Nil for the standard routes of every role, which the server itself serves.
  package var handler: Handler?
  /// Whether requests wait for their turn among the bounded number of queries.
  package var isQuery: Bool
  /// False for the pages that people look at, which no client calls.
  package var isDocumented = true

  /// For routes that take large bodies, in place of `handler`: it reads the body itself.
  package var receiver: Receiver?
  /// What a request's body may be; nil where it has none.
  package var body: DeclaredBody?

  package typealias Handler = @Sendable (RouteRequest) async throws -> Answer
  package typealias Receiver = @Sendable (RouteRequest, IncomingBody) async throws -> Answer

  package enum Tag: String, Sendable, CaseIterable {
    case gpus
    case nodes
    case metrics
    case ingest
    case admin
    case service

    package var summary: String {
      switch self {
      case .gpus: "GPUs and their telemetry"
      case .nodes: "Nodes and their telemetry"
      case .metrics: "The newest samples of the whole fleet"
      case .ingest: "The ways in for telemetry of other programs"
      case .admin: "The store's files: flush, merge, snapshot, delete"
      case .service: "The state of this process, and this document"
      }
    }
  }

  package init(
    _ method: HTTPRequest.Method, _ path: String, operation: String, tag: Tag, summary: String,
    description: String = "", parameters: [ParameterDeclaration] = [], answers: [DeclaredAnswer],
    isQuery: Bool = false, body: DeclaredBody? = nil, handler: Handler? = nil, receiver: Receiver? = nil
  ) {
    self.method = method
    self.path = path
    self.operation = operation
    self.tag = tag
    self.summary = summary
    self.description = description
    self.parameters = parameters
    self.answers = answers
    self.isQuery = isQuery
    self.body = body
    self.handler = handler
    self.receiver = receiver
  }
}

/// The body of a request. None is required: a request without one brings nothing, and nothing is what is taken in.
package struct DeclaredBody: Sendable {
  package var text: String
  /// By media type.
  package var content: [(mediaType: String, schema: Schema)]

  package init(_ text: String, content: [(mediaType: String, schema: Schema)]) {
    self.text = text
    self.content = content
  }
}

/// One status that a route may answer with.
package struct DeclaredAnswer: Sendable {
  package var status: Int
  package var text: String
  /// By media type; empty for an answer without a body.
  package var content: [(mediaType: String, schema: Schema)]
  /// Header fields that this answer may carry.
  package var headers: [(name: String, text: String, schema: Schema)]

  package init(
    _ status: Int, _ text: String, content: [(mediaType: String, schema: Schema)] = [],
    headers: [(name: String, text: String, schema: Schema)] = []
  ) {
    self.status = status
    self.text = text
    self.content = content
    self.headers = headers
  }

  /// An answer with a JSON body.
  package static func json(_ status: Int, _ text: String, _ schema: Schema) -> DeclaredAnswer {
    DeclaredAnswer(status, text, content: [("application/json", schema)])
  }

  /// An answer with a problem document (RFC 9457).
  package static func problem(_ status: Int, _ text: String) -> DeclaredAnswer {
    DeclaredAnswer(status, text, content: [("application/problem+json", .reference("Problem"))])
  }
}

/// A request, parsed by its route's declaration.
package struct RouteRequest: Sendable {
  package var arguments: Arguments
  /// The path as it was sent.
  package var path: String
  var query: QueryString
  /// What the client takes; nil when it does not say.
  package var accept: String?
  /// For requests with a body: all of it, at most as much as the server is configured to take.
  package var body: [UInt8]
  /// A browser sent it for a page of another origin.
  package var isForeign = false

  /// This request's address for the page behind `cursor`, as a `Link` header writes it.
  func link(toPageAt cursor: String) -> String {
    "<\(path)?\(query.setting("cursor", to: cursor))>; rel=\"next\""
  }
}
