import ApusAdapters
import ApusAPI
import ApusBroker
import ApusDoors
import ApusIO
import ApusModel
import ApusPipeline
import ApusService
import ApusStore

/// Makes the servers of the roles, and the collector that feeds a store.
extension Assembly {
  // MARK: The broker

  /// The log's TCP door, and what tells its state.
  func tcpDoor(_ log: EmbeddedLog, listen: ListenAddress) -> (door: TCPDoor, status: BrokerStatus) {
    let brokerMetrics = BrokerMetrics(metrics, log: { log.statistics() })
    let subscribers = SubscriberRegistry()
    let door = TCPDoor(
      TCPDoor.Configuration(listen: listen), log: log, metrics: brokerMetrics, subscribers: subscribers, logger: logger,
      clock: clock)
    let status = BrokerStatus(statistics: { log.statistics() }, subscribers: subscribers, metrics: brokerMetrics)
    status.register(in: metrics)
    return (door, status)
  }

  /// The HTTP door of a log: health, state and metrics.
  func brokerServer(_ status: BrokerStatus, listen: ListenAddress) -> HTTPServerPart {
    statusServer(role: "broker", listen: listen, statistics: { status.json() })
  }

  // MARK: The collector

  func collector(
    topic: TopicName, start: Collector.Start, log: any RecordLog, store: any Store,
    onCoverage: @escaping @Sendable (TopicPartition, Int64) async -> Void = { _, _ in }
  ) throws(StartupError) -> Collector {
    var configuration = Collector.Configuration(topic: topic)
    configuration.start = start
    configuration.seed = UInt64.random(in: .min ... .max)
    do {
      return try Collector(
        configuration, log: log, store: store, registry: metrics, logger: logger, clock: clock, onCoverage: onCoverage)
    } catch { throw StartupError(pipeline: error) }
  }

  /// Waits until a collector has taken in all that its log holds by now.
  static func catchUp(_ collector: Collector, with log: EmbeddedLog, topic: TopicName) async {
    for description in (try? await log.topics()) ?? [] where description.name == topic {
      for partition in description.partitions {
        _ = await collector.waitUntil(
          TopicPartition(topic: topic, partition: partition.index), partition.highWatermark)
      }
    }
  }

  // MARK: The ways in

  /// What takes telemetry in over HTTP and writes it to a log. `visibility` is the collector in the same process.
  func ingestDoor(
    _ options: APIOptions, topic: TopicName, batchBytesMax: Int, log: any RecordLog, visibility: (any Visibility)?
  ) -> (door: IngestDoor, ingester: Ingester) {
    var configuration = Ingester.Configuration(topic: topic)
    configuration.batchBytesMax = batchBytesMax
    let ingester = Ingester(
      configuration, log: log, visibility: visibility, registry: metrics, logger: logger, clock: clock)
    var door = IngestDoor.Configuration()
    door.inFlightBytesMax = max(door.inFlightBytesMax, 4 * options.ingestBodyLimit.bytes)
    door.seed = UInt64.random(in: .min ... .max)
    return (IngestDoor(door, ingester: ingester, metrics: metrics, clock: clock), ingester)
  }

  // MARK: HTTP

  /// The server of a role that has nothing of its own to serve.
  func statusServer(
    role: String, listen: ListenAddress, statistics: @escaping @Sendable () async throws -> [UInt8]
  ) -> HTTPServerPart {
    HTTPServerPart(
      httpConfiguration(role: role, listen: listen, flag: "--http-listen"), metrics: metrics, readiness: readiness,
      logger: logger, clock: clock, statistics: statistics)
  }

  /// The server of a collector: its store, for other processes.
  func storeServer(_ store: any Store, listen: ListenAddress) -> HTTPServerPart {
    let document = StatisticsDocument([StatisticsDocument.store(store)])
    let server = StoreServer(store: store, metrics: metrics)
    let admin = AdminRoutes(store: store, clock: clock)
    return HTTPServerPart(
      httpConfiguration(role: "collect", listen: listen, flag: "--http-listen"), metrics: metrics,
      readiness: readiness, logger: logger, clock: clock, statistics: { await document.bytes() }
    ) { [metrics] router in
      server.add(to: router)
      admin.add(to: router, metrics: metrics)
    }
  }

  /// The store of another process.
  func remoteStore(_ url: String) throws(StartupError) -> HTTPStore {
    do { return try HTTPStore(url: url) } catch {
      throw StartupError("--store \(url): \(error)", exitCode: .usage)
    }
  }

  func apiServer(
    _ options: APIOptions, store: any Store, listen: ListenAddress, role: String, door: IngestDoor?,
    statistics: [StatisticsDocument.Section]
  ) throws(StartupError) -> HTTPServerPart {
    var configuration = API.Configuration(version: Version.text)
    configuration.nodeOfflineAfter = options.offlineAfter
    configuration.gpuForgottenAfter = max(configuration.gpuForgottenAfter, options.offlineAfter)
    configuration.queriesMax = options.queriesMax
    configuration.queryTimeout = options.queryTimeout
    let api: API
    do { api = try API(configuration, store: store, metrics: metrics, clock: clock, door: door) } catch {
      throw StartupError(opening: error)
    }
    readiness.register("store") {
      do {
        _ = try await store.positions()
        return nil
      } catch { return "\(error)" }
    }
    let document = StatisticsDocument([StatisticsDocument.store(store)] + statistics)
    var server = httpConfiguration(role: role, listen: listen, flag: "--api-listen")
    for path in API.ingestPaths { server.bodyBytesMaxByRoute[path] = options.ingestBodyLimit }
    return HTTPServerPart(
      server, metrics: metrics, readiness: readiness,
      logger: logger, clock: clock, statistics: { await document.bytes() }
    ) { router in api.add(to: router) }
  }
}
