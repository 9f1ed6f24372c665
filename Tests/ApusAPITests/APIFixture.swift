import ApusAPI
import ApusIO
import ApusModel
import ApusService
import ApusStore
import ApusTestKit
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import Testing

/// An API over a store in memory, with a clock that is told, asked in process and over a socket from the same body.
struct APIFixture: Sendable {
  let store: any Store
  let clock: ManualClock
  let metrics = MetricsRegistry()
  var configuration = API.Configuration(version: "1.2.3")

  /// 2026-01-01T00:00:00Z.
  static let epoch: Int64 = 1_767_225_600_000

  init(clock: ManualClock = ManualClock(now: APIFixture.epoch)) throws {
    self.clock = clock
    store = try MemoryStore(clock: clock)
  }

  init(store: any Store, clock: ManualClock = ManualClock(now: APIFixture.epoch)) {
    self.store = store
    self.clock = clock
  }

  func api() throws -> API { try API(configuration, store: store, metrics: metrics, clock: clock) }

  /// The server with everything that a role has around the routes.
  func server() throws -> HTTPServerPart {
    let api = try api()
    let document = StatisticsDocument([StatisticsDocument.store(store)])
    return HTTPServerPart(
      HTTPServerPart.Configuration(role: "api", version: "1.2.3", listen: .anyLoopback), metrics: metrics,
      logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, clock: clock,
      statistics: { await document.bytes() }
    ) { router in api.add(to: router) }
  }

  /// Runs the body against the router and then against a real server on a free port.
  func run(_ body: @escaping @Sendable (any TestClientProtocol) async throws -> Void) async throws {
    try await server().application.test(.router, body)
    try await server().application.test(.live, body)
  }

  /// Appends one scrape as the next record of partition 0.
  func append(_ series: [Labels], _ values: [Double], at timestamp: Int64) async throws {
    let partition = LogPartition(topic: "gpu-telemetry", partition: 0)
    let offset = try await store.positions()[partition]?.appended ?? 0
    let scrape = Scrape(
      set: SeriesSet(series: series), timestamp: Timestamp(milliseconds: timestamp), values: values)
    _ = try await store.append(
      StoreBatch(
        partition: partition, items: [.init(offset: offset, content: .scrape(scrape))], nextOffset: offset + 1))
  }

  /// Appends a scrape of each of some nodes: every GPU with its utilisation and temperature, both `value`.
  func appendFleet(
    nodes: Int, gpus: Int, at timestamp: Int64, value: Double = 50, extra: [(String, String)] = []
  ) async throws {
    for node in 1...nodes {
      let series = APIFixture.series(node: node, gpus: gpus, extra: extra)
      try await append(series, [Double](repeating: value, count: series.count), at: timestamp)
    }
  }

  static func uuid(_ node: Int, _ gpu: Int) -> String {
    func padded(_ number: Int) -> String { String(String(number + 10_000).dropFirst()) }
    return "GPU-\(padded(node))-\(padded(gpu))"
  }

  static func series(node: Int, gpus: Int, extra: [(String, String)] = []) -> [Labels] {
    (0..<gpus).flatMap { gpu in
      ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_TEMP"].map { metric in
        Labels(
          [
            ("__name__", metric), ("gpu", "\(gpu)"), ("UUID", uuid(node, gpu)), ("device", "nvidia\(gpu)"),
            ("modelName", "NVIDIA H100 80GB HBM3"), ("Hostname", "node-\(node)"),
            ("pci_bus_id", "00000000:0\(gpu):00.0"), ("datacenter", node % 2 == 0 ? "dc-b" : "dc-a"),
          ] + extra)
      }
    }
  }
}

/// What a test looks at of an answer.
struct Reply: Sendable {
  var status: Int
  var headers: HTTPFields
  var body: [UInt8]

  var text: String { String(decoding: body, as: UTF8.self) }

  func json() throws -> JSONTree { try JSONTree.parse(body) }

  /// The elements of a list.
  func rows() throws -> [JSONTree] {
    guard case .array(let rows) = try json() else {
      Issue.record("no list: \(text.prefix(300))")
      return []
    }
    return rows
  }

  /// The address of the next page.
  var next: String? {
    guard let link = headers[HTTPField.Name("Link") ?? .location] else { return nil }
    #expect(link.hasPrefix("<") && link.hasSuffix(">; rel=\"next\""))
    return String(link.dropFirst().prefix { $0 != ">" })
  }
}

extension TestClientProtocol {
  func get(
    _ uri: String, method: HTTPRequest.Method = .get, headers: HTTPFields = [:], body: ByteBuffer? = nil
  ) async throws -> Reply {
    try await execute(uri: uri, method: method, headers: headers, body: body) { response in
      Reply(
        status: response.status.code, headers: response.headers, body: Array(response.body.readableBytesView))
    }
  }

  /// Every page of a list, by its links. Stops after so many pages, since a wrong link could go on for ever.
  func pages(_ uri: String, headers: HTTPFields = [:], atMost: Int = 1000) async throws -> [Reply] {
    var pages: [Reply] = []
    var address: String? = uri
    while let next = address, pages.count < atMost {
      let reply = try await get(next, headers: headers)
      #expect(reply.status == 200, "\(next): \(reply.text)")
      pages.append(reply)
      address = reply.next
    }
    return pages
  }
}

extension JSONTree {
  /// Reads JSON by the strict scanner.
  static func parse(_ bytes: [UInt8]) throws -> JSONTree {
    try bytes.withUnsafeBytes { raw in
      var scanner = JSONScanner(raw)
      let value = try read(&scanner)
      try scanner.finish()
      return value
    }
  }

  private static func read(_ scanner: inout JSONScanner) throws -> JSONTree {
    switch try scanner.peekKind() {
    case .object:
      var members: [Member] = []
      try scanner.beginObject()
      while let key = try scanner.nextKey() { members.append(Member(key.string, try read(&scanner))) }
      return .object(members)
    case .array:
      var elements: [JSONTree] = []
      try scanner.beginArray()
      while try scanner.nextElement() { elements.append(try read(&scanner)) }
      return .array(elements)
    case .string: return .string(try scanner.readString().string)
    case .number:
      let number = try scanner.readNumber()
      if let integer = number.integer { return .integer(integer) }
      return .number(number.double)
    case .boolean: return .boolean(try scanner.readBoolean())
    case .null:
      try scanner.readNull()
      return .null
    }
  }

  var string: String? {
    guard case .string(let text) = self else { return nil }
    return text
  }

  var double: Double? {
    switch self {
    case .integer(let value): Double(value)
    case .number(let value): value
    default: nil
    }
  }

  var elements: [JSONTree] {
    guard case .array(let elements) = self else { return [] }
    return elements
  }

  var members: [Member] {
    guard case .object(let members) = self else { return [] }
    return members
  }
}
