/// What several routes declare alike.
enum Common {
  static let limitDefault = 100
  static let limitMax = 10_000

  static let limit = Parameter<Int>.integer(
    "limit", "The most rows of a page.", minimum: 1, maximum: limitMax, fallback: limitDefault)

  /// The headers of a page.
  static let pageHeaders: [(name: String, text: String, schema: Schema)] = [
    ("Link", "The next page, as `<address>; rel=\"next\"`; absent on the last one.", .text()), tagHeader,
  ]

  static let tagHeader: (name: String, text: String, schema: Schema) = (
    "ETag", "Names the content; send it back in `If-None-Match` to be told whether it has changed.", .text()
  )

  /// What every route may answer beside its own.
  static let refusals: [DeclaredAnswer] = [
    .problem(400, "A parameter cannot be; `parameter` names it."),
    .problem(413, "The request has a body that is too large."),
    .problem(500, "The request failed; the server's log has the cause."),
  ]

  /// What every route that reads the store may answer beside its own.
  static let queryRefusals: [DeclaredAnswer] =
    [DeclaredAnswer(304, "The client has this content already.")] + refusals + [
      .problem(503, "The store cannot be reached, or too many requests wait for it; `Retry-After` says when to retry.")
    ]

  static func notFound(_ text: String) -> DeclaredAnswer { .problem(404, text) }
}
