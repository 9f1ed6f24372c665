import ApusBroker
import ApusIO
import ApusModel
import ApusPipeline
import ApusService
import Logging

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Makes sources and the streamers that read them from what the command line says.
extension Assembly {
  /// What a streamer needs beside its sources.
  struct StreamSettings {
    var topic: TopicName
    var flushInterval: Duration
    /// Where the spool of live sources lies; nil for none.
    var spool: String?
    var spoolSize = ByteCount.gibibytes(1)
  }

  /// One streamer for the files and one for the simulation, because files wait for the log and live sources do not.
  func streamers(
    _ options: SourceOptions, _ settings: StreamSettings, log: any RecordLog, dataDir: String, disk: PosixDisk
  ) throws -> [(streamer: Streamer, progress: ReplayProgress?)] {
    var result: [(Streamer, ReplayProgress?)] = []
    let instance = options.instanceId ?? "\(Assembly.hostName)-\(getpid())"
    if !options.csv.isEmpty {
      let progress = ReplayProgress()
      let source = labelled(try csvSource(options, progress: progress), options)
      let folder = "streamer/" + (options.instanceId ?? Assembly.folderName(of: source.name))
      let streamer = try streamer(
        options, settings, sources: [source], log: log, instance: instance, outbox: try outbox(folder, disk), spool: nil
      )
      result.append((streamer, progress))
    }
    if let fleet = options.simulate {
      let source = labelled(try simulatorSource(options, fleet), options)
      var outbox: Outbox?
      var spool: (@Sendable (SourcePosition?) async throws(PipelineError) -> Spool)?
      if let path = settings.spool {
        let spoolDisk = try openDisk(path)
        outbox = try self.outbox("streamer", spoolDisk)
        spool = try openSpool(spoolDisk, size: settings.spoolSize)
      }
      let streamer = try streamer(
        options, settings, sources: [source], log: log, instance: instance, outbox: outbox, spool: spool)
      result.append((streamer, nil))
    }
    return result
  }

  private func streamer(
    _ options: SourceOptions, _ settings: StreamSettings, sources: [any Source], log: any RecordLog, instance: String,
    outbox: Outbox?, spool: (@Sendable (SourcePosition?) async throws(PipelineError) -> Spool)?
  ) throws -> Streamer {
    var configuration = Streamer.Configuration(topic: settings.topic)
    configuration.flushInterval = settings.flushInterval
    configuration.encoding =
      switch options.encoding {
      case .frame: .frame
      case .json: .json
      case .text: .text
      }
    configuration.compression =
      switch options.compression {
      case .none: .none
      case .gzip: .gzip
      case .lz4: .lz4
      case .zstd: .zstd
      }
    configuration.instanceID = instance
    configuration.gracePeriod = grace * 0.7
    configuration.seed = UInt64.random(in: .min ... .max)
    do {
      return try Streamer(
        configuration, sources: sources, log: log, registry: metrics, logger: logger, outbox: outbox, spool: spool,
        clock: clock)
    } catch { throw StartupError(pipeline: error) }
  }

  /// The position file of a streamer, in a folder that no other process may use meanwhile.
  private func outbox(_ folder: String, _ disk: PosixDisk) throws -> Outbox {
    do {
      try disk.createDirectory(folder)
      heldLocks.hold(try disk.lock("\(folder)/lock"))
    } catch {
      guard error.kind == .busy else { throw StartupError(disk: error, flag: "--data-dir") }
      throw StartupError(
        "another streamer with the same source runs in this data folder; give one of them --instance-id or --data-dir",
        exitCode: .unavailable)
    }
    return Outbox(disk: disk, path: "\(folder)/outbox")
  }

  private func openSpool(
    _ disk: PosixDisk, size: ByteCount
  ) throws -> @Sendable (SourcePosition?) async throws(PipelineError) -> Spool {
    var configuration = EmbeddedLog.Configuration()
    configuration.retentionBytes = Int64(size.bytes)
    configuration.retentionMilliseconds = nil
    configuration.segmentBytes = Int64(max(1 << 20, min(64 << 20, size.bytes / 8)))
    configuration.tailBytesTotal = 8 << 20
    configuration.prologue = { _ in ScrapePrologue() }
    let log: EmbeddedLog
    do { log = try EmbeddedLog(disk: disk, clock: clock, configuration: configuration) } catch {
      throw StartupError(opening: error)
    }
    let clock = clock
    return { position async throws(PipelineError) in
      try await Spool(log: log, position: position, batchBytesMax: 1 << 20, clock: clock)
    }
  }

  private func labelled(_ source: any Source, _ options: SourceOptions) -> any Source {
    options.label.isEmpty ? source : LabelledSource(source, labels: options.label.map { ($0.name, $0.value) })
  }

  /// A name for a folder, from a source's name, which may hold anything.
  static func folderName(of source: String) -> String {
    let safe = source.unicodeScalars.map { scalar -> Character in
      switch scalar {
      case "a"..."z", "A"..."Z", "0"..."9", "-", "_": Character(scalar)
      default: "_"
      }
    }
    // Two names that look alike once cleaned still get folders of their own.
    let checksum = CRC32C.checksum(Array(source.utf8))
    return String(safe.suffix(80)) + "-" + String(checksum, radix: 16)
  }

  static var hostName: String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

extension Assembly {
  func simulatorSource(_ options: SourceOptions, _ fleet: FleetShape) throws -> any Source {
    let step = max(1, options.interval.wholeNanoseconds / 1_000_000)
    // Rounds fall on whole intervals, so that two runs of one day have the same timestamps.
    let start = (clock.now / step) * step
    let simulation = Simulation(
      fleet, seed: options.seed, scenario: try ScenarioFile.read(options.scenario, for: fleet),
      start: Timestamp(milliseconds: start), intervalMilliseconds: step)
    return SimulatorSource(simulation, pace: .live, clock: clock)
  }
}
