import ApusIO
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import ServiceLifecycle

/// The HTTP server of a role: the standard routes, the role's own, problem documents for every error, and bounds on
/// whatever a client can make grow. Run it as a service; it stops gracefully, finishing the requests that are in work.
package struct HTTPServerPart: Service {
  /// What may be set. All bounds have defaults.
  package struct Configuration: Sendable {
    /// The role, as `/health` says it.
    package var role: String
    package var version: String
    package var listen: ListenAddress
    /// The flag that chose `listen`, named when the address cannot be had.
    package var listenFlag = "--http-listen"
    /// The most bytes of a request's body.
    package var bodyBytesMax = ByteCount.mebibytes(4)
    /// The same for routes that have a bound of their own, by path. They read their bodies themselves.
    package var bodyBytesMaxByRoute: [String: ByteCount] = [:]
    /// The most bytes of a request's head.
    package var headBytesMax = ByteCount.kibibytes(32)
    /// Connections at one time; more wait in the listen queue.
    package var connectionsMax = 512
    /// From connecting to the end of the first request's head.
    package var headTimeout = Duration.seconds(10)
    /// From a request's head to the end of its body.
    package var bodyTimeout = Duration.seconds(60)
    /// How long an answer may lie in the socket without the client taking any of it.
    package var writeTimeout = Duration.seconds(30)
    /// Between two requests of one connection.
    package var idleTimeout = Duration.seconds(60)

    package init(role: String, version: String, listen: ListenAddress) {
      self.role = role
      self.version = version
      self.listen = listen
    }
  }

  package let configuration: Configuration
  package let metrics: MetricsRegistry
  package let readiness: Readiness
  /// Where the server really listens.
  package let address = BoundAddress()
  /// The server without its life cycle, for tests that ask it in process.
  package let application: Application<RouterResponder<ServiceRequestContext>>
  private let logger: Logger

  /// - Parameters:
  ///   - statistics: the JSON document of `/stats`.
  ///   - routes: adds the role's own routes; middleware that it adds sees the errors before the problem documents do.
  package init(
    _ configuration: Configuration, metrics: MetricsRegistry, readiness: Readiness = Readiness(), logger: Logger,
    clock: any WallClock = SystemClock(), statistics: @escaping @Sendable () async throws -> [UInt8],
    routes: (Router<ServiceRequestContext>) -> Void = { _ in }
  ) {
    self.configuration = configuration
    self.metrics = metrics
    self.readiness = readiness
    self.logger = logger
    let table = RouteTable()
    let router = Router(context: ServiceRequestContext.self, options: [.autoGenerateHeadEndpoints])
    router.add(middleware: RequestMetricsMiddleware(metrics: metrics, clock: clock))
    router.add(
      middleware: ProblemMiddleware(
        bodyBytesMax: configuration.bodyBytesMax.bytes,
        bodyBytesMaxByRoute: configuration.bodyBytesMaxByRoute.mapValues(\.bytes), routes: table))
    StandardRoutes(
      role: configuration.role, version: configuration.version, metrics: metrics, readiness: readiness,
      statistics: statistics, clock: clock, startedAt: clock.monotonicNanoseconds
    ).add(to: router)
    routes(router)
    table.set(router.routes.map { ($0.path, $0.method) })
    var quiet = logger
    // The server's own words about starting are ours to say, with the address that was really bound.
    if quiet.logLevel > .trace { quiet.logLevel = max(quiet.logLevel, .warning) }
    application = Application(
      router: router, server: HTTPServerPart.server(configuration),
      configuration: ApplicationConfiguration(
        address: .hostname(configuration.listen.host, port: configuration.listen.port),
        availableConnectionsDelegate: .maximum(configuration.connectionsMax, logger: quiet)),
      onServerRunning: { [address, configuration, logger] channel in
        let bound = ListenAddress(channel.localAddress) ?? configuration.listen
        logger.info("listening", metadata: ["address": "\(bound)", "protocol": "http"])
        address.resolve(.success(bound))
      }, logger: quiet)
  }

  /// Serves until shut down gracefully or cancelled. Throws `ServiceError` when the address cannot be had.
  package func run() async throws {
    do {
      try await withGracefulShutdownHandler {
        try await application.run()
      } onGracefulShutdown: {
        readiness.beginDraining()
      }
    } catch {
      let failure = ServiceError.listening(on: configuration.listen, flag: configuration.listenFlag, failed: error)
      address.resolve(.failure(failure))
      throw failure
    }
    address.resolve(.failure(.stopped(part: "the HTTP server")))
  }

  private static func server(_ configuration: Configuration) -> HTTPServerBuilder {
    let timeouts = (
      head: TimeAmount(configuration.headTimeout), body: TimeAmount(configuration.bodyTimeout),
      write: TimeAmount(configuration.writeTimeout)
    )
    let bodyBytesMax = configuration.bodyBytesMaxByRoute.values.reduce(configuration.bodyBytesMax.bytes) {
      max($0, $1.bytes)
    }
    return .http1(
      configuration: HTTP1Channel.Configuration(
        additionalChannelHandlers: [
          RequestTimeoutHandler(headTimeout: timeouts.head, bodyTimeout: timeouts.body, writeTimeout: timeouts.write),
          ContinueHandler(bodyBytesMax: bodyBytesMax),
        ], idleTimeout: TimeAmount(configuration.idleTimeout),
        httpDecoderConfiguration: .init(
          maxHeaderFieldSize: configuration.headBytesMax.bytes, maxHeaderListSize: configuration.headBytesMax.bytes,
          maxHeaderFieldCount: 128)))
  }
}
