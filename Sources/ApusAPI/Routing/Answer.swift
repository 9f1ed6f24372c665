import ApusIO
import HTTPTypes
import Hummingbird
import NIOCore

/// What a route answers: all of it in memory, since every list has a bound.
package struct Answer: Sendable {
  package var status: HTTPResponse.Status
  package var mediaType: String
  package var body: [UInt8]
  package var headers: HTTPFields
  /// Whether a client may keep the answer and ask by its entity tag whether it still holds.
  package var isRevalidated: Bool

  package init(
    status: HTTPResponse.Status = .ok, mediaType: String = "application/json", body: [UInt8],
    headers: HTTPFields = [:], isRevalidated: Bool = true
  ) {
    self.status = status
    self.mediaType = mediaType
    self.body = body
    self.headers = headers
    self.isRevalidated = isRevalidated
  }

  /// The next page's address, for a list that has one.
  package func linking(to next: String?) -> Answer {
    guard let next else { return self }
    var copy = self
    copy.headers[.link] = next
    return copy
  }
}

extension HTTPField.Name {
  // The name is a token, so it cannot fail to be one.
  static let link = HTTPField.Name("Link") ?? .location
}

/// Turns answers into responses: entity tags, 304 for what the client has, gzip for what is worth it.
enum AnswerEncoding {
  /// Below this many bytes gzip costs more than it saves.
  static let gzipBytesMin = 1024

  static func response(_ answer: Answer, to request: HTTPFields) -> Response {
    var headers = answer.headers
    if answer.status == .noContent { return Response(status: .noContent, headers: headers) }
    headers[.contentType] = answer.mediaType
    headers[.vary] = "Accept, Accept-Encoding"
    guard answer.isRevalidated, answer.status == .ok else {
      headers[.cacheControl] = headers[.cacheControl] ?? "no-store"
      return encoded(answer, headers, request)
    }
    // Weak: the compressed and the plain body have one tag.
    let tag = EntityTag.weak(of: answer.body, mediaType: answer.mediaType)
    headers[.eTag] = tag
    headers[.cacheControl] = headers[.cacheControl] ?? "no-cache"
    if let known = request[.ifNoneMatch], EntityTag.list(known, contains: tag) {
      headers[.contentType] = nil
      return Response(status: .notModified, headers: headers)
    }
    return encoded(answer, headers, request)
  }

  private static func encoded(_ answer: Answer, _ headers: HTTPFields, _ request: HTTPFields) -> Response {
    var headers = headers
    var body = answer.body
    if body.count >= gzipBytesMin, accepts("gzip", in: request[.acceptEncoding] ?? "") {
      var compressed: [UInt8] = []
      // A codec that fails (for want of memory) leaves the plain body, which is as right.
      if (try? body.withUnsafeBytes({ try Compression.gzip.compress($0, appendingTo: &compressed) })) != nil,
        compressed.count < body.count
      {
        body = compressed
        headers[.contentEncoding] = "gzip"
      }
    }
    return Response(status: answer.status, headers: headers, body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
  }

  /// Whether an `Accept-Encoding` names the coding with a weight above zero.
  static func accepts(_ coding: String, in header: String) -> Bool {
    for part in header.lowercased().split(separator: ",") {
      let fields = part.split(separator: ";").map { $0.trimmed }
      guard let name = fields.first, name == coding || name == "*" else { continue }
      return !fields.dropFirst().contains { $0.hasPrefix("q=") && (Double($0.dropFirst(2)) ?? 1) <= 0 }
    }
    return false
  }
}

/// Names of contents, for `ETag` and `If-None-Match` (RFC 9110, section 8.8).
enum EntityTag {
  static func weak(of body: [UInt8], mediaType: String) -> String {
    // 64 bits of hash and the length: a client that meets a collision would keep an old page until its next change.
    var hash: UInt64 = 0x9e37_79b9_7f4a_7c15 ^ UInt64(mediaType.utf8.reduce(7) { ($0 &* 31) &+ UInt64($1) })
    body.withUnsafeBytes { bytes in
      var position = 0
      while position < bytes.count {
        var word: UInt64 = 0
        if position + 8 <= bytes.count {
          word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
        } else {
          for index in position..<bytes.count { word = word << 8 | UInt64(bytes[index]) }
        }
        let product = (hash ^ word).multipliedFullWidth(by: 0xa076_1d64_78bd_642f)
        hash = product.high ^ product.low ^ hash.byteSwapped
        position += 8
      }
    }
    return "W/\"\(String(hash, radix: 36))-\(String(body.count, radix: 36))\""
  }

  /// Whether an `If-None-Match` names the tag; compared weakly, as that header demands.
  static func list(_ header: String, contains tag: String) -> Bool {
    let wanted = opaque(tag[...])
    return header.split(separator: ",").contains { part in
      let item = part.trimmed
      return item == "*" || opaque(item) == wanted
    }
  }

  private static func opaque(_ tag: Substring) -> Substring { tag.hasPrefix("W/") ? tag.dropFirst(2) : tag }
}

extension Substring {
  /// Without the blanks and tabs around it.
  var trimmed: Substring {
    var result = self
    while let first = result.first, first == " " || first == "\t" { result.removeFirst() }
    while let last = result.last, last == " " || last == "\t" { result.removeLast() }
    return result
  }
}
