import ApusIO
import ApusStore
import AsyncHTTPClient
import NIOCore
import NIOHTTP1

/// Asks a running server to do something with its store: `POST /api/v1/admin/…` of `apus up`, `apus api` and
/// `apus collect`. One object a command; every call is one request, which may take long.
package struct AdminClient: Sendable {
  private let base: String
  /// The most bytes of an answer; they are a few hundred.
  private static let answerBytesMax = 1 << 20

  /// - Parameter url: `http://HOST:PORT`.
  package init(url: String) throws(StoreError) {
    let isHTTP = url.hasPrefix("http://") || url.hasPrefix("https://")
    guard isHTTP, let host = url.split(separator: "/").dropFirst().first, !host.isEmpty,
      !url.contains("?"), !url.contains("#"), !url.utf8.contains(where: { $0 <= 0x20 || $0 >= 0x7f })
    else {
      throw .invalidConfiguration(setting: "--api", reason: "is \"\(url)\"; write it like http://127.0.0.1:8080")
    }
    base = url.hasSuffix("/") ? String(url.dropLast()) : url
  }

  /// Sends a request and waits for its answer, up to a day. A problem document becomes `StoreError.refused` with its
  /// detail; a server that is not there or something else, `unreachable`.
  package func post(_ path: String, _ query: [(name: String, value: String)] = []) async throws(StoreError) -> [UInt8] {
    let pairs = query.map { "\(AdminClient.escaped($0.name))=\(AdminClient.escaped($0.value))" }
    var request = HTTPClientRequest(
      url: base + path + (pairs.isEmpty ? "" : "?" + pairs.joined(separator: "&")))
    request.method = .POST
    request.headers.add(name: "Content-Length", value: "0")
    let client = HTTPClient(
      eventLoopGroup: HTTPClient.defaultEventLoopGroup,
      configuration: HTTPClient.Configuration(
        redirectConfiguration: .disallow, timeout: HTTPClient.Configuration.Timeout(connect: .seconds(5), read: nil)))
    let result: Result<(status: UInt, body: [UInt8]), any Error>
    do {
      let response = try await client.execute(request, deadline: .now() + .hours(24))
      let body = try await response.body.collect(upTo: AdminClient.answerBytesMax)
      result = .success((response.status.code, Array(body.readableBytesView)))
    } catch { result = .failure(error) }
    try? await client.shutdown()
    switch result {
    case .failure(let error):
      throw .unreachable("\(base) cannot be reached: \(error); is apus running there? --api names its address")
    case .success((200, let body)): return body
    case .success((let status, let body)):
      guard let detail = AdminClient.detail(of: body) else {
        throw .unreachable("\(base)\(path) answered \(status), which is not an answer of apus; --api names its address")
      }
      if status == 503 { throw .unreachable(detail) }
      if status == 404 { throw .unreachable("\(base) has no \(path); it is of another version, or keeps no store") }
      throw .refused(detail)
    }
  }

  /// The sentence of a problem document.
  private static func detail(of body: [UInt8]) -> String? {
    body.withUnsafeBytes { raw in
      var scanner = JSONScanner(raw)
      do {
        try scanner.beginObject()
        while let key = try scanner.nextKey() {
          if key.string == "detail" { return try scanner.readString().string }
          try scanner.skipValue()
        }
      } catch { return nil }
      return nil
    }
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        result.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        result += "%" + (digits.count < 2 ? "0" : "") + digits
      }
    }
    return result
  }
}
