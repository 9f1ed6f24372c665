#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// What went wrong, in a sentence.
struct ToolError: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }
}

/// A connection to a server on loopback. It never blocks by itself; who wants to wait polls.
final class Connection {
  let descriptor: Int32

  init(port: UInt16) throws(ToolError) {
    #if canImport(Glibc)
      let kind = Int32(SOCK_STREAM.rawValue)
    #else
      let kind = SOCK_STREAM
    #endif
    descriptor = socket(AF_INET, kind, 0)
    guard descriptor >= 0 else { throw ToolError("socket: error \(errno)") }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let status = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard status == 0 else { throw ToolError("127.0.0.1:\(port) cannot be reached: error \(errno)") }
    var one: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
  }

  deinit { close(descriptor) }

  /// Sends what the socket takes now; how many bytes that was.
  func send(_ bytes: [UInt8], from start: Int) throws(ToolError) -> Int {
    let sent = bytes.withUnsafeBytes { raw in
      #if canImport(Glibc)
        Glibc.send(descriptor, raw.baseAddress! + start, raw.count - start, Int32(MSG_NOSIGNAL))
      #else
        Darwin.send(descriptor, raw.baseAddress! + start, raw.count - start, 0)
      #endif
    }
    if sent >= 0 { return sent }
    guard errno == EAGAIN || errno == EINTR else { throw ToolError("the server closed the connection: error \(errno)") }
    return 0
  }

  /// Appends what has come; false at the end of the stream.
  func receive(into bytes: inout [UInt8], atMost count: Int = 1 << 18) throws(ToolError) -> Bool {
    let start = bytes.count
    bytes.append(contentsOf: repeatElement(0, count: count))
    let got = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress! + start, count, 0) }
    bytes.removeSubrange((start + max(0, got))...)
    if got > 0 { return true }
    if got == 0 { return false }
    guard errno == EAGAIN || errno == EINTR else { throw ToolError("the server closed the connection: error \(errno)") }
    return true
  }
}

/// An answer of an HTTP server, read from pieces. Bodies come with a length, in chunks, or until the end of the stream.
struct AnswerReader {
  private(set) var status = 0
  private(set) var header: [String: String] = [:]
  private(set) var body: [UInt8] = []
  private(set) var isComplete = false
  /// Some of it has come.
  private(set) var isBegun = false
  private var rest: [UInt8] = []
  private var position = 0
  private var length: Int?
  private var isChunked = false
  private var chunkLeft = 0
  private var hasHead = false

  var text: String { String(decoding: body.prefix(2000), as: UTF8.self) }

  /// Takes more bytes; true when the answer is whole.
  mutating func feed(_ bytes: [UInt8]) throws(ToolError) -> Bool {
    isBegun = true
    rest += bytes
    if !hasHead {
      guard try readHead() else { return false }
    }
    if isChunked {
      try readChunks()
    } else {
      body += rest[position...]
      position = rest.count
      if let length, body.count >= length { isComplete = true }
    }
    if position == rest.count {
      rest.removeAll(keepingCapacity: true)
      position = 0
    }
    return isComplete
  }

  private mutating func readHead() throws(ToolError) -> Bool {
    guard let end = AnswerReader.find([13, 10, 13, 10], in: rest, from: 0) else { return false }
    let lines = String(decoding: rest[..<end], as: UTF8.self).split(separator: "\r\n")
    guard let first = lines.first, first.hasPrefix("HTTP/1."), let code = Int(first.dropFirst(9).prefix(3)) else {
      throw ToolError("this is no answer of HTTP: \(lines.first ?? "")")
    }
    status = code
    for line in lines.dropFirst() {
      guard let colon = line.firstIndex(of: ":") else { continue }
      header[line[..<colon].lowercased()] = String(line[line.index(after: colon)...].drop { $0 == " " })
    }
    length = code == 204 || code == 304 ? 0 : header["content-length"].flatMap { Int($0) }
    isChunked = header["transfer-encoding"]?.lowercased() == "chunked"
    position = end + 4
    hasHead = true
    return true
  }

  private mutating func readChunks() throws(ToolError) {
    while true {
      if chunkLeft > 0 {
        let count = min(chunkLeft, rest.count - position)
        // The two bytes behind a chunk are counted with it and are not of the body.
        let ofBody = max(0, min(count, chunkLeft - 2))
        body += rest[position..<position + ofBody]
        position += count
        chunkLeft -= count
        if chunkLeft > 0 { return }
      }
      guard let end = AnswerReader.find([13, 10], in: rest, from: position) else { return }
      let size = String(decoding: rest[position..<end], as: UTF8.self).prefix { $0 != ";" }
      guard let count = Int(size, radix: 16) else { throw ToolError("a chunk begins with \"\(size)\"") }
      if count == 0 {
        guard rest.count >= end + 4 else { return }
        position = rest.count
        isComplete = true
        return
      }
      position = end + 2
      chunkLeft = count + 2
    }
  }

  static func find(_ pattern: [UInt8], in bytes: [UInt8], from start: Int) -> Int? {
    guard bytes.count >= pattern.count else { return nil }
    return bytes.withUnsafeBytes { raw in
      var position = start
      while position + pattern.count <= raw.count {
        guard
          let found = memchr(raw.baseAddress! + position, Int32(pattern[0]), raw.count - position - pattern.count + 1)
        else { return nil }
        position = UnsafeRawPointer(found) - raw.baseAddress!
        if memcmp(found, pattern, pattern.count) == 0 { return position }
        position += 1
      }
      return nil
    }
  }
}

/// Asks one question after another over one connection.
final class HTTPClient {
  private let port: UInt16
  private var connection: Connection?

  init(port: UInt16) { self.port = port }

  func get(_ path: String, accept: String = "*/*") throws(ToolError) -> AnswerReader {
    let open: Connection
    if let connection { open = connection } else { open = try Connection(port: port) }
    connection = open
    let request = Array(
      "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nAccept: \(accept)\r\nConnection: keep-alive\r\n\r\n".utf8)
    var sent = 0
    while sent < request.count { sent += try open.send(request, from: sent) }
    var answer = AnswerReader()
    var piece: [UInt8] = []
    while !answer.isComplete {
      var waiting = pollfd(fd: open.descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&waiting, 1, 300_000) > 0 else { throw ToolError("no answer to \(path) for 5 minutes") }
      piece.removeAll(keepingCapacity: true)
      guard try open.receive(into: &piece, atMost: 1 << 20) else {
        throw ToolError("the answer to \(path) was cut off")
      }
      _ = try answer.feed(piece)
    }
    if answer.header["connection"]?.lowercased() == "close" { connection = nil }
    guard answer.status == 200 else { throw ToolError("\(path) was answered with \(answer.status): \(answer.text)") }
    return answer
  }
}

/// Percent-encodes everything but letters, digits and `-._~`.
func percentEncoded(_ text: String) -> String {
  text.utf8.map { byte in
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"),
      UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"):
      return String(UnicodeScalar(byte))
    default: return "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
    }
  }.joined()
}
