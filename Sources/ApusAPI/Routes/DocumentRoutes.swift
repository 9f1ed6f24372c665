import HTTPTypes

/// `/openapi.json` and the pages of Swagger UI that show it.
struct DocumentRoutes: Sendable {
  /// The routes of the document, but for `/openapi.json` itself.
  let documented: [Route]
  let version: String

  /// The route of the document; it describes itself too.
  var openAPI: Route {
    var route = Route(
      .get, "/openapi.json", operation: "getOpenAPI", tag: .service, summary: "This document",
      answers: [
        DeclaredAnswer(
          200, "An OpenAPI 3.1 document.", content: [("application/json", .map(of: nil))], headers: [Common.tagHeader]),
        DeclaredAnswer(304, "The client has this content already."),
      ] + Common.refusals)
    let bytes = OpenAPIDocument.bytes(of: documented + [route], version: version)
    route.handler = { _ in Answer(body: bytes) }
    return route
  }

  /// The pages of Swagger UI and the addresses that lead to them.
  var pages: [Route] {
    var routes = SwaggerAssets.files.map { file in
      page("/swagger/\(file.name)") { _ in
        guard let body = file.body() else { throw SwaggerAssets.notStaged }
        return Answer(mediaType: file.mediaType, body: body, headers: SwaggerAssets.headers)
      }
    }
    // `/swagger` and `/swagger/` are one path to the router.
    routes.append(
      page("/swagger") { _ in
        Answer(
          status: .permanentRedirect, mediaType: "text/plain; charset=utf-8", body: Array("/swagger/index.html\n".utf8),
          headers: [.location: "/swagger/index.html"])
      })
    return routes
  }

  private func page(_ path: String, _ handler: @escaping Route.Handler) -> Route {
    var route = Route(
      .get, path, operation: "page", tag: .service, summary: "Swagger UI", answers: [], handler: handler)
    route.isDocumented = false
    return route
  }
}
