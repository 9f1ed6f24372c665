import ApusIO
import ApusModel
import ApusService
import ApusStore
import Hummingbird

/// The REST API over any store: GPUs, nodes and telemetry, and the document that describes them.
///
/// It is a list of declared routes. `add(to:)` puts them into a server's router, and the OpenAPI document is made from
/// the same list:
///
///     let api = try API(API.Configuration(version: version), store: store, metrics: metrics)
///     HTTPServerPart(configuration, metrics: metrics, logger: logger, statistics: statistics.bytes) { router in
///       api.add(to: router)
///     }
///
/// Nothing is cached. Every request reads the store under bounds: samples a request, requests at one time, requests
/// that wait, and time.
package struct API: Sendable {
  /// What may be set. All of it has defaults.
  package struct Configuration: Sendable {
    /// The version of the program, for the document.
    package var version: String
    /// The most samples that one look into the store may bring; a wider question is split by time.
    package var samplesPerSelectMax = 500_000
    /// The most samples that one request may read.
    package var samplesPerRequestMax = 20_000_000
    /// Requests that read the store at one time.
    package var queriesMax = 16
    /// Requests that wait for one of those to end; more are refused with 503.
    package var queriesWaitingMax = 64
    /// How long a request may read.
    package var queryTimeout = Duration.seconds(30)
    /// A node or GPU without samples for longer is silent.
    package var nodeOfflineAfter = Duration.seconds(60)
    /// A GPU that is silent for longer than this no longer counts against its node.
    package var gpuForgottenAfter = Duration.seconds(86_400)

    package init(version: String) { self.version = version }

    /// Refuses what cannot be.
    package func validate() throws(StoreError) {
      func check(_ setting: String, _ isRight: Bool, _ reason: String) throws(StoreError) {
        if !isRight { throw .invalidConfiguration(setting: setting, reason: reason) }
      }
      try check("samplesPerSelectMax", samplesPerSelectMax >= 1, "must be at least 1")
      try check(
        "samplesPerRequestMax", samplesPerRequestMax >= samplesPerSelectMax, "must be at least samplesPerSelectMax")
      try check("queriesMax", queriesMax >= 1, "must be at least 1")
      try check("queriesWaitingMax", queriesWaitingMax >= 0, "must not be negative")
      try check("queryTimeout", queryTimeout > .zero, "must be above zero")
      try check("nodeOfflineAfter", nodeOfflineAfter > .zero, "must be above zero")
      try check("gpuForgottenAfter", gpuForgottenAfter >= nodeOfflineAfter, "must be at least nodeOfflineAfter")
    }
  }

  /// Every route: those served here, the standard ones of the server, and the pages.
  package let routes: [Route]
  private let configuration: Configuration
  private let registration: RouteRegistration

  /// - Parameters:
  ///   - door: the ways in; nil where the process has no log to write to, then they answer with 503.
  ///   - activeAlerts: how many alerts are active on each of some nodes; none where no alert engine runs.
  package init(
    _ configuration: Configuration, store: any Store, metrics: MetricsRegistry, clock: any WallClock = SystemClock(),
    door: IngestDoor? = nil,
    activeAlerts: @escaping @Sendable (_ nodes: [String]) async -> [String: Int] = { _ in [:] }
  ) throws(StoreError) {
    try configuration.validate()
    self.configuration = configuration
    let instruments = APIMetrics(metrics)
    registration = RouteRegistration(
      gate: QueryGate(
        QueryGate.Configuration(runningMax: configuration.queriesMax, waitingMax: configuration.queriesWaitingMax),
        instruments: instruments.gate),
      metrics: instruments, clock: clock, timeout: configuration.queryTimeout)
    let makeReader = { @Sendable in
      FleetReader(
        store: store, metrics: instruments, samplesPerSelectMax: configuration.samplesPerSelectMax,
        samplesPerRequestMax: configuration.samplesPerRequestMax)
    }
    let freshness = NodeFreshness(
      offlineAfter: configuration.nodeOfflineAfter.wholeNanoseconds / 1_000_000,
      forgottenAfter: configuration.gpuForgottenAfter.wholeNanoseconds / 1_000_000)
    let documented =
      GPURoutes(makeReader: makeReader).routes + TelemetryRoutes(makeReader: makeReader, clock: clock).routes
      + NodeRoutes(makeReader: makeReader, clock: clock, freshness: freshness, activeAlerts: activeAlerts).routes
      + LatestRoutes(makeReader: makeReader).routes + IngestRoutes(door: door).routes
      + AdminRoutes(store: store, clock: clock).routes
      + StandardRouteDeclarations.routes
    let documents = DocumentRoutes(documented: documented, version: configuration.version)
    routes = documented + [documents.openAPI] + documents.pages
  }

  /// The routes that take large bodies.
  package static let ingestPaths = IngestRoutes.paths

  /// Registers the routes that are served here.
  package func add(to router: Router<ServiceRequestContext>) { registration.add(routes, to: router) }

  /// The OpenAPI document, as `/openapi.json` answers it.
  package var document: [UInt8] { OpenAPIDocument.bytes(of: routes, version: configuration.version) }
}
