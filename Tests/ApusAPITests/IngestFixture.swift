import ApusAPI
import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusPipeline
import ApusService
import ApusStore
import ApusTestKit
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import Logging
import NIOCore
import Testing

/// The ways in over a real log on a simulated disk, a collector and a store in memory, asked as a client would.
struct IngestFixture: Sendable {
  let clock = ManualClock(now: APIFixture.epoch)
  let metrics = MetricsRegistry()
  let disk: SimulatedDisk
  let log: EmbeddedLog
  let store: MemoryStore
  let collector: Collector
  let bodyBytesMax: Int
  let door: IngestDoor.Configuration

  static let topic = "gpu-telemetry"

  init(
    seriesLimit: Int = 100_000, bodyBytesMax: Int = 1 << 20, door: IngestDoor.Configuration = .init()
  ) throws {
    self.bodyBytesMax = bodyBytesMax
    self.door = door
    disk = SimulatedDisk(seed: 1)
    log = try EmbeddedLog(disk: disk, clock: clock)
    var configuration = MemoryStore.Configuration()
    configuration.seriesLimit = seriesLimit
    store = try MemoryStore(clock: clock, configuration: configuration)
    let topic = try #require(TopicName(IngestFixture.topic))
    var collecting = Collector.Configuration(topic: topic)
    collecting.readWait = .milliseconds(5)
    collecting.refreshInterval = .milliseconds(20)
    collector = try Collector(collecting, log: log, store: store, registry: metrics, logger: Self.logger, clock: clock)
  }

  static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

  /// Runs the body against the router in process, with a collector at work meanwhile.
  func run(
    _ kind: TestingSetup = .router, _ body: @escaping @Sendable (any TestClientProtocol) async throws -> Void
  ) async throws {
    let topic = try #require(TopicName(IngestFixture.topic))
    let ingester = Ingester(
      Ingester.Configuration(topic: topic), log: log, visibility: collector, registry: metrics, logger: Self.logger,
      clock: clock)
    let api = try API(
      API.Configuration(version: "1.2.3"), store: store, metrics: metrics, clock: clock,
      door: IngestDoor(door, ingester: ingester, metrics: metrics, clock: clock))
    var configuration = HTTPServerPart.Configuration(role: "up", version: "1.2.3", listen: .anyLoopback)
    for path in API.ingestPaths { configuration.bodyBytesMaxByRoute[path] = ByteCount(bodyBytesMax) }
    let server = HTTPServerPart(
      configuration, metrics: metrics, logger: Self.logger, clock: clock, statistics: { [UInt8]("{}".utf8) }
    ) { router in api.add(to: router) }
    let collecting = Task { [collector] in
      do throws(PipelineError) { try await collector.run() } catch {}
    }
    defer { collecting.cancel() }
    try await server.application.test(kind, body)
    collecting.cancel()
    _ = await collecting.value
    try await log.close()
  }

  /// Everything in the store, ascending.
  func samples() async throws -> [String] {
    try await store.select(SelectRequest([])).flatMap { column in
      zip(column.timestamps, column.values).map { "\(column.labels) \($0) \($1)" }
    }.sorted()
  }
}

extension TestClientProtocol {
  func post(_ uri: String, _ body: [UInt8], _ headers: HTTPFields = [:]) async throws -> Reply {
    try await get(uri, method: .post, headers: headers, body: ByteBuffer(bytes: body))
  }

  func post(_ uri: String, _ body: String, _ headers: HTTPFields = [:]) async throws -> Reply {
    try await post(uri, Array(body.utf8), headers)
  }
}

extension [UInt8] {
  func compressed(_ codec: Compression) throws -> [UInt8] {
    var result: [UInt8] = []
    try withUnsafeBytes { try codec.compress($0, appendingTo: &result) }
    return result
  }

  var snappyBlock: [UInt8] {
    var result: [UInt8] = []
    withUnsafeBytes { Snappy.compress($0, appendingTo: &result) }
    return result
  }
}
