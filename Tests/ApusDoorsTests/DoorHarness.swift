import ApusBroker
import ApusDoors
import ApusIO
import ApusService
import ApusTestKit
import Logging

/// A broker for one test: an embedded log on a simulated disk behind a TCP door on any free port of loopback.
struct DoorHarness: Sendable {
  let log: EmbeddedLog
  let registry: MetricsRegistry
  let metrics: BrokerMetrics
  let door: TCPDoor
  let port: Int

  var client: TCPLogClient {
    TCPLogClient(TCPLogClient.Configuration(address: ListenAddress(host: "127.0.0.1", port: port)), seed: 1)
  }

  static func run(
    _ change: (inout TCPDoor.Configuration) -> Void = { _ in },
    log changeLog: (inout EmbeddedLog.Configuration) -> Void = { _ in },
    _ body: (DoorHarness) async throws -> Void
  ) async throws {
    var logConfiguration = EmbeddedLog.Configuration()
    changeLog(&logConfiguration)
    let log = try EmbeddedLog(disk: SimulatedDisk(seed: 1), clock: SystemClock(), configuration: logConfiguration)
    try await run(over: log, change) { door, registry, metrics, port in
      try await body(DoorHarness(log: log, registry: registry, metrics: metrics, door: door, port: port))
    }
    try await log.close()
  }

  /// A door over any log.
  static func run(
    over log: any RecordLog, _ change: (inout TCPDoor.Configuration) -> Void = { _ in },
    _ body: (TCPDoor, MetricsRegistry, BrokerMetrics, Int) async throws -> Void
  ) async throws {
    var configuration = TCPDoor.Configuration(listen: .anyLoopback)
    configuration.drainTimeout = .seconds(2)
    configuration.lastWordsTimeout = .milliseconds(200)
    change(&configuration)
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    let registry = MetricsRegistry()
    let metrics = BrokerMetrics(registry)
    let door = TCPDoor(configuration, log: log, metrics: metrics, logger: logger)
    let running = Task { try await door.run() }
    let port = try await door.address.get().port
    do {
      try await body(door, registry, metrics, port)
    } catch {
      running.cancel()
      _ = await running.result
      throw error
    }
    running.cancel()
    _ = await running.result
  }
}

extension RecordBatch {
  /// A batch of text messages for tests.
  static func of(_ values: [String], timestamp: Int64 = 1000, compression: Compression = .none) throws -> RecordBatch {
    var builder = RecordBatchBuilder(compression: compression)
    for value in values { builder.append(Record(timestamp: timestamp, value: [UInt8](value.utf8))) }
    return try builder.finish()
  }

  var values: [String] {
    get throws { try records().map { String(decoding: $0.value ?? [], as: UTF8.self) } }
  }
}

extension TopicPartition {
  static let test = TopicPartition(topic: TopicName("t")!, partition: 0)
}
