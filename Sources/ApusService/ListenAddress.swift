/// Where to listen: a host and a port. Port 0 asks for any free one.
package struct ListenAddress: Hashable, Sendable {
  /// A name or a numeric address, IPv6 without its brackets.
  package var host: String
  package var port: Int

  package init(host: String, port: Int) {
    self.host = host
    self.port = port
  }

  /// Any free port on loopback; what tests listen on.
  package static let anyLoopback = ListenAddress(host: "127.0.0.1", port: 0)

  /// Reads `127.0.0.1:9000`, `[::1]:9000`, `localhost:9000` or `:9000` (then on every interface).
  package static func parse(_ text: String) throws(ServiceError) -> ListenAddress {
    func fail(_ reason: String) -> ServiceError { .invalidAddress(text: text, reason: reason) }
    guard !text.isEmpty else { throw fail("it is empty") }
    let host: Substring
    let afterHost: Substring
    if text.hasPrefix("[") {
      guard let close = text.firstIndex(of: "]") else { throw fail("the bracket is not closed") }
      host = text[text.index(after: text.startIndex)..<close]
      afterHost = text[text.index(after: close)...]
      guard host.contains(":") else { throw fail("brackets are for IPv6 addresses") }
      guard afterHost.first == ":" else { throw fail("a port must follow the bracket") }
    } else {
      guard let colon = text.firstIndex(of: ":") else { throw fail("it has no port") }
      host = text[..<colon]
      afterHost = text[colon...]
      guard !afterHost.dropFirst().contains(":") else { throw fail("an IPv6 address needs brackets") }
    }
    let portText = afterHost.dropFirst()
    guard !portText.isEmpty else { throw fail("it has no port") }
    guard portText.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }), portText.count <= 5,
      let port = Int(portText), port <= 65_535
    else { throw fail("the port \"\(portText)\" is not a number from 0 to 65535") }
    if host.utf8.contains(where: { $0 <= 0x20 || $0 == UInt8(ascii: "/") || $0 >= 0x7f }) {
      throw fail("\"\(host)\" is not a host")
    }
    return ListenAddress(host: host.isEmpty ? "0.0.0.0" : String(host), port: port)
  }
}

extension ListenAddress: CustomStringConvertible {
  package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
