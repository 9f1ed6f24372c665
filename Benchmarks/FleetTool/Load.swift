import BenchmarkFleet

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// How a fleet's samples are brought to a server.
struct LoadPlan {
  enum Door {
    case http(path: String)
    /// Apus' own TCP door: pages as records of the telemetry topic.
    case tcp
  }

  var fleet: Fleet
  var format: FleetWriter.Format
  var door: Door
  var port: UInt16
  /// Hosts of one request; all hosts of a scrape are divided into so many at a time, and each such group has a
  /// connection.
  var hostsPerRequest: Int
  /// Not by hosts: so many series a request in an order without sense, over four connections.
  var shuffledSeriesPerRequest: Int?
  var scrapes: Range<Int>
}

/// What it took.
struct LoadResult {
  var samples = 0
  var requests = 0
  var bytes = 0
  var retries = 0
  var reconnections = 0
  var wallSeconds = 0.0
  var latencies: [Double] = []
}

/// Sends scrape after scrape over connections that stay open, one request at a time on each. No connection runs ahead
/// of the others by more than one scrape, as in a fleet that lives in one time.
final class Loader {
  private struct Line {
    var connection: Connection
    /// The next request: which scrape, and which of the line's parts of it.
    var scrape: Int
    var part = 0
    var request: [UInt8] = []
    var sent = 0
    var isWaiting = false
    var started = 0.0
    var answer = AnswerReader()
    var received: [UInt8] = []
    var isDone = false
    var notBefore = 0.0
  }

  private let plan: LoadPlan
  private let writer: FleetWriter
  private var lines: [Line] = []
  /// How many lines have sent all of a scrape.
  private var finished: [Int: Int] = [:]
  private var result = LoadResult()
  private var body: [UInt8] = []

  init(_ plan: LoadPlan) throws(ToolError) {
    self.plan = plan
    writer = FleetWriter(plan.fleet, plan.format)
    for _ in 0..<lineCount {
      lines.append(Line(connection: try Connection(port: plan.port), scrape: plan.scrapes.lowerBound))
    }
  }

  private var lineCount: Int {
    plan.shuffledSeriesPerRequest == nil
      ? (plan.fleet.shape.hosts + plan.hostsPerRequest - 1) / plan.hostsPerRequest : 4
  }

  /// How many requests a line sends for a scrape.
  private func parts(_ line: Int) -> Int {
    guard let each = plan.shuffledSeriesPerRequest else { return 1 }
    let all = (plan.fleet.shape.series + each - 1) / each
    return (all - line + lineCount - 1) / lineCount
  }

  func run() throws(ToolError) -> LoadResult {
    let begun = now()
    while true {
      var waiting: [pollfd] = []
      var numbers: [Int] = []
      var isHeldBack = false
      for index in lines.indices where !lines[index].isDone {
        if lines[index].request.isEmpty { prepare(index) }
        if lines[index].isDone { continue }
        if lines[index].request.isEmpty || lines[index].notBefore > now() {
          isHeldBack = true
          continue
        }
        if !lines[index].isWaiting { try send(index) }
        waiting.append(
          pollfd(
            fd: lines[index].connection.descriptor, events: Int16(lines[index].isWaiting ? POLLIN : POLLOUT | POLLIN),
            revents: 0))
        numbers.append(index)
      }
      if waiting.isEmpty {
        if !isHeldBack { break }
        usleep(1000)
        continue
      }
      let count = poll(&waiting, nfds_t(waiting.count), isHeldBack ? 20 : 120_000)
      guard count > 0 || isHeldBack else { throw ToolError("no answer for 2 minutes") }
      for (place, one) in waiting.enumerated() where one.revents & Int16(POLLIN | POLLHUP | POLLERR) != 0 {
        try receive(numbers[place])
      }
    }
    result.wallSeconds = now() - begun
    return result
  }

  private func prepare(_ index: Int) {
    let scrape = lines[index].scrape
    guard scrape < plan.scrapes.upperBound else {
      lines[index].isDone = true
      return
    }
    if scrape - 2 >= plan.scrapes.lowerBound, finished[scrape - 2, default: 0] < lines.count { return }
    body.removeAll(keepingCapacity: true)
    var host: Int?
    if let each = plan.shuffledSeriesPerRequest {
      let first = (index + lines[index].part * lines.count) * each
      let series = first..<min(first + each, plan.fleet.shape.series)
      writer.writeShuffled(series: series, scrape: scrape, to: &body)
      result.samples += series.count
    } else {
      let hosts = index * plan.hostsPerRequest..<min((index + 1) * plan.hostsPerRequest, plan.fleet.shape.hosts)
      writer.write(hosts: hosts, scrape: scrape, to: &body)
      result.samples += hosts.count * plan.fleet.shape.gpusPerHost * FleetMetric.all.count
      if hosts.count == 1 { host = hosts.lowerBound }
    }
    if case .tcp = plan.door {
      lines[index].request = frame(host)
    } else {
      lines[index].request = head() + body
    }
    lines[index].sent = 0
    lines[index].started = now()
    result.requests += 1
    result.bytes += body.count
  }

  private func head() -> [UInt8] {
    guard case .http(let path) = plan.door else { return [] }
    let type =
      switch plan.format {
      case .text: "text/plain; version=0.0.4"
      case .line: "text/plain; charset=utf-8"
      case .remoteWrite:
        "application/x-protobuf\r\nContent-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0"
      }
    return Array(
      ("POST \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(plan.port)\r\nContent-Type: \(type)\r\n"
        + "Content-Length: \(body.count)\r\n\r\n").utf8)
  }

  private func frame(_ host: Int?) -> [UInt8] {
    // The body as a JSON string: quotes and line ends are all that is escaped in it.
    var value: [UInt8] = []
    value.reserveCapacity(body.count + body.count / 8)
    for byte in body {
      if byte == UInt8(ascii: "\n") {
        value += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
      } else {
        if byte == UInt8(ascii: "\"") { value.append(UInt8(ascii: "\\")) }
        value.append(byte)
      }
    }
    let key = host.map { "\"key\":\"host-\($0)\"," } ?? ""
    let object =
      Array(
        ("{\"type\":\"publish\",\"topic\":\"gpu-telemetry\",\"message\":{\(key)"
          + "\"headers\":{\"content-type\":\"text/plain; version=0.0.4\"},\"value\":\"").utf8)
      + value + Array("\"}}".utf8)
    let length = UInt32(object.count).bigEndian
    return withUnsafeBytes(of: length) { Array($0) } + object
  }

  private func send(_ index: Int) throws(ToolError) {
    lines[index].sent += try lines[index].connection.send(lines[index].request, from: lines[index].sent)
    if lines[index].sent == lines[index].request.count { lines[index].isWaiting = true }
  }

  private func receive(_ index: Int) throws(ToolError) {
    var piece: [UInt8] = []
    guard try lines[index].connection.receive(into: &piece, atMost: 1 << 14) else {
      // Servers close connections that grew old; a request that met that is sent again, over a new one.
      result.reconnections += 1
      guard result.reconnections <= 1000, !lines[index].answer.isBegun else {
        throw ToolError("the server closed a connection before it answered")
      }
      lines[index].connection = try Connection(port: plan.port)
      lines[index].sent = 0
      lines[index].isWaiting = false
      return
    }
    guard !piece.isEmpty else { return }
    switch plan.door {
    case .http:
      guard try lines[index].answer.feed(piece) else { return }
      let answer = lines[index].answer
      lines[index].answer = AnswerReader()
      if answer.header["connection"]?.lowercased() == "close" {
        result.reconnections += 1
        lines[index].connection = try Connection(port: plan.port)
      }
      if answer.status == 429 || answer.status == 503 {
        // Told to wait: the same request again.
        result.retries += 1
        lines[index].sent = 0
        lines[index].isWaiting = false
        lines[index].notBefore = now() + 0.05
        return
      }
      guard (200..<300).contains(answer.status) else {
        throw ToolError("a request was answered with \(answer.status): \(answer.text)")
      }
    case .tcp:
      lines[index].received += piece
      guard lines[index].received.count >= 4 else { return }
      let length = lines[index].received[..<4].reduce(0) { $0 << 8 | Int($1) }
      guard lines[index].received.count >= 4 + length else { return }
      let text = String(decoding: lines[index].received[4...], as: UTF8.self)
      guard text.hasPrefix("{\"type\":\"published\"") else { throw ToolError("a publish was answered with \(text)") }
      lines[index].received.removeAll(keepingCapacity: true)
    }
    guard lines[index].isWaiting else { throw ToolError("a request was answered before it was sent") }
    result.latencies.append(now() - lines[index].started)
    lines[index].request.removeAll(keepingCapacity: true)
    lines[index].isWaiting = false
    lines[index].part += 1
    if lines[index].part >= parts(index) {
      finished[lines[index].scrape, default: 0] += 1
      // The slowest line has two scrapes to go to where the fastest is, and looks two back from there.
      finished[lines[index].scrape - 6] = nil
      lines[index].part = 0
      lines[index].scrape += 1
    }
  }

  private func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}
