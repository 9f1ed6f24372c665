import ApusIO
import HTTPTypes
import Hummingbird
import NIOHTTP1

/// An error as HTTP answers it: a problem document of RFC 9457, with one member of our own, `parameter`, that names the
/// parameter at fault.
package struct Problem: Error, Hashable, Sendable {
  /// A reference that names the kind of problem; `about:blank` when the status says it all.
  package var type: String
  /// A short summary of the kind.
  package var title: String
  package var status: HTTPResponse.Status
  /// What is wrong this time and what to do.
  package var detail: String
  /// The path of the request; filled in by the middleware.
  package var instance: String
  /// The query, path, header or body parameter at fault.
  package var parameter: String?
  /// For a status that wants them: `Allow`, `Retry-After`.
  package var headers: HTTPFields = [:]

  package init(
    status: HTTPResponse.Status, title: String? = nil, detail: String, parameter: String? = nil,
    type: String = "about:blank",
    instance: String = "", headers: HTTPFields = [:]
  ) {
    self.status = status
    self.title = title ?? HTTPResponseStatus(statusCode: status.code).reasonPhrase
    self.detail = detail
    self.parameter = parameter
    self.type = type
    self.instance = instance
    self.headers = headers
  }

  /// 400 for one parameter.
  package static func badParameter(_ name: String, _ detail: String) -> Problem {
    Problem(status: 400, detail: detail, parameter: name)
  }

  package static func notFound(_ detail: String, parameter: String? = nil) -> Problem {
    Problem(status: 404, detail: detail, parameter: parameter)
  }

  /// 503; `retryAfterSeconds` becomes the header.
  package static func unavailable(_ detail: String, retryAfterSeconds: Int? = nil) -> Problem {
    var headers: HTTPFields = [:]
    if let retryAfterSeconds { headers[.retryAfter] = "\(retryAfterSeconds)" }
    return Problem(status: 503, detail: detail, headers: headers)
  }

  /// 413, with the bound.
  package static func bodyTooLarge(limit: Int) -> Problem {
    Problem(status: 413, detail: "the body is larger than the limit of \(ByteCount(limit)); send less at once")
  }

  /// The document.
  package var json: [UInt8] {
    var writer = JSONWriter(reserving: 256)
    writer.beginObject()
    writer.key("type")
    writer.string(type)
    writer.key("title")
    writer.string(title)
    writer.key("status")
    writer.integer(status.code)
    writer.key("detail")
    writer.string(detail)
    if !instance.isEmpty {
      writer.key("instance")
      writer.string(instance)
    }
    if let parameter {
      writer.key("parameter")
      writer.string(parameter)
    }
    writer.endObject()
    return writer.bytes
  }
}

extension Problem: HTTPResponseError {
  /// The answer as it goes out; also what Hummingbird does with a problem that no middleware has caught.
  package func response(from request: Request, context: some RequestContext) -> Response { response() }

  package func response() -> Response {
    var fields = headers
    fields[.contentType] = "application/problem+json"
    return Response(
      status: status, headers: fields,
      body: ResponseBody(byteBuffer: ByteBuffer(bytes: json)))
  }
}
