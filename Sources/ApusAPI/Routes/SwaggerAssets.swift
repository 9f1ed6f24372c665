import ApusService
import CSwagger
import HTTPTypes

/// Swagger UI's files, which are in the program itself, and the two of ours that start it.
///
/// A program that was built before `scripts/stage-swagger` had put the files in place has none; its page says so.
enum SwaggerAssets {
  struct File: Sendable {
    var name: String
    var mediaType: String
    /// Nil when the program was built without the file.
    var body: @Sendable () -> [UInt8]?
  }

  static let files: [File] = [
    File(name: "index.html", mediaType: "text/html; charset=utf-8") { Array((isStaged ? index : missing).utf8) },
    File(name: "swagger-initializer.js", mediaType: "text/javascript; charset=utf-8") { Array(initializer.utf8) },
    File(name: "swagger-ui-bundle.js", mediaType: "text/javascript; charset=utf-8") { embedded(apus_swagger_bundle) },
    File(name: "swagger-ui.css", mediaType: "text/css; charset=utf-8") { embedded(apus_swagger_style) },
    File(name: "favicon-32x32.png", mediaType: "image/png") { embedded(apus_swagger_icon) },
  ]

  /// The page runs scripts of this server only, and Swagger UI needs styles in attributes and images as data.
  static let headers: HTTPFields = [
    .contentSecurityPolicy:
      "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
    .xContentTypeOptions: "nosniff",
  ]

  static let notStaged = Problem.notFound(
    "this program was built without Swagger UI; run scripts/stage-swagger and build again")

  /// Whether the program was built with Swagger UI's files.
  static var isStaged: Bool { embedded(apus_swagger_bundle) != nil }

  private static func embedded(_ file: (UnsafeMutablePointer<Int>) -> UnsafePointer<UInt8>?) -> [UInt8]? {
    var count = 0
    // Invariant (unsafe memory): the bytes are constants of the program, `count` of them.
    guard let start = file(&count), count > 0 else { return nil }
    return Array(UnsafeBufferPointer(start: start, count: count))
  }

  private static let index = """
    <!doctype html>
    <html lang="en">
    <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <title>Apus API</title>
      <link rel="stylesheet" href="swagger-ui.css">
      <link rel="icon" type="image/png" href="favicon-32x32.png">
    </head>
    <body>
      <div id="swagger-ui"></div>
      <noscript>This page needs JavaScript. The document is at <a href="/openapi.json">/openapi.json</a>.</noscript>
      <script src="swagger-ui-bundle.js"></script>
      <script src="swagger-initializer.js"></script>
    </body>
    </html>

    """

  private static let initializer = """
    window.addEventListener("load", () => {
      window.ui = SwaggerUIBundle({
        url: "/openapi.json",
        dom_id: "#swagger-ui",
        deepLinking: true,
        displayRequestDuration: true,
        tryItOutEnabled: true,
        validatorUrl: null,
      });
    });

    """

  private static let missing = """
    <!doctype html>
    <html lang="en">
    <head><meta charset="utf-8"><title>Apus API</title></head>
    <body>
      <h1>Swagger UI is not in this program</h1>
      <p>It was built before Swagger UI's files were in place. Run <code>make swagger-static</code> (it takes them from
      the Python package drf-spectacular-sidecar), then <code>make build</code>.</p>
      <p>The document itself is at <a href="/openapi.json">/openapi.json</a>.</p>
    </body>
    </html>

    """
}
