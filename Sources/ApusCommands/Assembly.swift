import ApusAdapters
import ApusAPI
import ApusBroker
import ApusDoors
import ApusIO
import ApusModel
import ApusPipeline
import ApusService
import ApusStore
import Logging

/// Where all parts meet: options in, parts of a role out, each handed what it needs. The only place that picks
/// implementations, and the only one that knows the folders below a data folder.
struct Assembly: Sendable {
  let clock: any WallClock = SystemClock()
  let metrics = MetricsRegistry()
  let readiness = Readiness()
  let heldLocks = HeldLocks()
  let logger: Logger
  let grace: Duration

  /// Sets up logging for the process; to be made once.
  init(role: String, _ options: CommonOptions) {
    LoggingSetup.bootstrap(level: options.logLevel.level, format: .logfmt)
    logger = Logger(label: "apus.\(role)")
    grace = options.grace
  }

  /// Runs a role's parts until they are done or a signal comes.
  func run(_ parts: [ServicePart]) async throws {
    let code = try await ServiceRunner(logger: logger, grace: grace).run(parts)
    if code != .success { throw StartupError("not everything was drained within the grace period", exitCode: code) }
  }

  // MARK: The data folder

  func openDisk(_ path: String) throws(StartupError) -> PosixDisk {
    do { return try PosixDisk(root: path) } catch { throw StartupError(disk: error, flag: "--data-dir") }
  }

  // MARK: The log

  /// Opens the embedded log in `log/` of a data folder.
  /// - Parameter isCovered: whether telemetry stays until `setCoveredOffset` releases it.
  func openLog(
    _ options: LogOptions, topic: TopicName, on disk: PosixDisk, isCovered: Bool
  ) throws(StartupError) -> EmbeddedLog {
    var configuration = EmbeddedLog.Configuration()
    configuration.durability =
      switch options.durability {
      case .every: .every
      case .interval: .interval(options.syncInterval)
      case .none: .none
      }
    configuration.createsTopics = options.autoCreateTopics
    configuration.defaultPartitions = options.partitions
    configuration.retentionMilliseconds = options.logRetention.milliseconds
    configuration.retentionBytes = Int64(options.logRetentionSize.bytes)
    configuration.segmentBytes = Int64(options.segmentBytes.bytes)
    configuration.maxMessageBytes = options.maxMessageBytes.bytes
    configuration.queueBytesMax = options.queueBytes.bytes
    if isCovered { configuration.coverageTopics = [topic] }
    configuration.prologue = { name in name == topic ? ScrapePrologue() : nil }
    let log: EmbeddedLog
    do { log = try EmbeddedLog(disk: disk, clock: clock, configuration: configuration) } catch {
      throw StartupError(opening: error)
    }
    for finding in log.statistics().recovery.findings {
      logger.warning("recovery", metadata: ["finding": "\(finding)"])
    }
    return log
  }

  /// A log behind a URL: `tcp://HOST:PORT`.
  func connect(broker url: String) throws(StartupError) -> TCPLogClient {
    guard url.hasPrefix("tcp://") else {
      throw StartupError("--broker \(url): a broker's address is written tcp://HOST:PORT", exitCode: .usage)
    }
    do {
      return TCPLogClient(
        try TCPLogClient.Configuration(url: url), seed: UInt64.random(in: .min ... .max), clock: clock)
    } catch { throw StartupError("--broker: \(error)", exitCode: .usage) }
  }

  // MARK: The store

  /// Opens the store that `--store` names; without it, `store/` in the data folder.
  func openStore(_ options: StoreOptions, dataDir: String) throws(StartupError) -> OpenedStore {
    let url = options.store ?? "embedded://\(dataDir)/store"
    switch url {
    case "memory://":
      var configuration = MemoryStore.Configuration()
      configuration.seriesLimit = options.seriesLimit
      configuration.retentionMilliseconds = options.retention.milliseconds
      do { return OpenedStore(store: try MemoryStore(clock: clock, configuration: configuration), url: url) } catch {
        throw StartupError(opening: error)
      }
    case _ where url.hasPrefix("embedded://"):
      return OpenedStore(store: try openEmbedded(options, path: String(url.dropFirst(11))), url: url)
    case _ where url.hasPrefix("http://"):
      throw StartupError(
        "--store \(url): a collector keeps its own store; http:// is for apus api", exitCode: .usage)
    default:
      throw StartupError(
        "--store \(url): a store is written embedded://PATH, memory:// or, for apus api, http://HOST:PORT",
        exitCode: .usage)
    }
  }

  private func openEmbedded(_ options: StoreOptions, path: String) throws(StartupError) -> EmbeddedStore {
    guard !path.isEmpty else {
      throw StartupError("--store: embedded:// needs a path, like embedded:///var/lib/apus/store", exitCode: .usage)
    }
    let disk: PosixDisk
    do { disk = try PosixDisk(root: path) } catch { throw StartupError(disk: error, flag: "--store") }
    var configuration = EmbeddedStore.Configuration()
    configuration.headBytes = options.headBytes.bytes
    configuration.headBytesMax = max(2 * options.headBytes.bytes, configuration.headBytes + (64 << 20))
    configuration.retentionMilliseconds = options.retention.milliseconds
    configuration.seriesLimit = options.seriesLimit
    configuration.compression = options.storeCompression
    configuration.compactionBytesPerSecond = options.compactionRate.map { Int64($0.bytes) }
    configuration.makesRollups = options.rollups == .on
    configuration.rollups[0].retentionMilliseconds = options.rollupRetention5m.milliseconds
    configuration.rollups[1].retentionMilliseconds = options.rollupRetention1h.milliseconds
    do {
      configuration.retentionBytes =
        if let size = options.retentionSize { Int64(size.bytes) } else { try disk.space().total / 10 * 8 }
    } catch { throw StartupError(disk: error, flag: "--store") }
    do {
      return try EmbeddedStore(disk: disk, directory: "", clock: clock, configuration: configuration)
    } catch { throw StartupError(opening: error) }
  }

  // MARK: Servers

  func httpConfiguration(role: String, listen: ListenAddress, flag: String) -> HTTPServerPart.Configuration {
    var configuration = HTTPServerPart.Configuration(role: role, version: Version.text, listen: listen)
    configuration.listenFlag = flag
    return configuration
  }

  /// The service of an HTTP server, and the line that says where it listens.
  func parts(_ name: String, _ server: HTTPServerPart) -> [ServicePart] {
    [ServicePart(name, server), announce(name, server.address)]
  }

  /// Prints `listening NAME HOST:PORT` once a server listens, for people and for scripts.
  func announce(_ name: String, _ address: BoundAddress) -> ServicePart {
    ServicePart("announce-\(name)", Announcement(name: name, address: address), whenFinished: .keepOthersRunning)
  }
}

/// A store, and where it is.
struct OpenedStore: Sendable {
  var store: any Store
  var url: String
}

extension StartupError {
  init(disk error: DiskError, flag: String) {
    let code: ExitCode =
      switch error.kind {
      case .permissionDenied: .noPermission
      case .notFound: .noInput
      case .noSpace: .cannotCreate
      case .busy: .unavailable
      case .tooManyOpenFiles: .osError
      case .alreadyExists, .inputOutput, .other: .ioError
      }
    self.init("\(flag): \(error.description)", exitCode: code)
  }

  init(opening error: LogError) {
    switch error {
    case .disk(let cause), .diskFull(let cause): self.init(disk: cause, flag: "--data-dir")
    case .invalidConfiguration(let setting, let reason):
      self.init("\(LogOptions.flag(of: setting)) \(reason)", exitCode: .usage)
    default: self.init(error.description, exitCode: .dataError)
    }
  }

  init(opening error: StoreError) {
    switch error {
    case .disk(let cause): self.init(disk: cause, flag: "--store")
    case .invalidConfiguration(let setting, let reason):
      self.init("\(StoreOptions.flag(of: setting)) \(reason)", exitCode: .usage)
    default: self.init(error.description, exitCode: .dataError)
    }
  }

  init(pipeline error: PipelineError) {
    self.init(error.description, exitCode: error.exitCode)
  }
}

extension LogOptions {
  /// The flag behind a setting of the log, for its error.
  static func flag(of setting: String) -> String {
    switch setting {
    case "defaultPartitions", "partitions": "--partitions"
    case "segmentBytes": "--segment-bytes"
    case "maxMessageBytes": "--max-message-bytes"
    case "retentionBytes": "--log-retention-size"
    case "retentionMilliseconds": "--log-retention"
    case "queueBytesMax": "--queue-bytes"
    case "durability": "--sync-interval"
    default: setting
    }
  }
}

extension StoreOptions {
  /// The flag behind a setting of a store, for its error.
  static func flag(of setting: String) -> String {
    switch setting {
    case "head bytes", "head bytes maximum": "--head-bytes"
    case "retention": "--retention"
    case "retention size": "--retention-size"
    case "series limit": "--series-limit"
    case "compression level": "--store-compression"
    case "compaction rate": "--compaction-rate"
    default: setting
    }
  }
}
