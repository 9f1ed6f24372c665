// Goal: a CSV arrives whole and once: quoting, bad rows, shards, loops, rate, and restarts at any batch.
// Method: files on a simulated disk, read by the source alone or through streamer, log and store; every run is compared
// with the rows that were written.
import ApusBroker
import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Synchronization
import Testing

@testable import ApusPipeline

@Suite struct CSVSourceTests {
  /// A CSV of a simulated fleet, and the lines that a store must have of it.
  static func fleetFile(
    nodes: Int = 3, gpus: Int = 2, rounds: Int = 40, seed: UInt64 = 4
  ) throws -> (bytes: [UInt8], lines: [String]) {
    let shape = try #require(FleetShape(nodes: nodes, gpusPerNode: gpus))
    var simulation = Simulation(shape, seed: seed, start: SimulatorTests.start, intervalMilliseconds: 10_000)
    var writer = SimulationWriter(.csv)
    var bytes: [UInt8] = []
    var batches: [SourceBatch] = []
    for _ in 0..<rounds {
      guard let round = simulation.next() else { break }
      bytes += try writer.write(round)
      batches.append(
        SourceBatch(items: round.scrapes.map { TelemetryItem(key: [], content: .scrape($0.scrape)) }, rows: 0))
    }
    return (bytes, TinyFleet.lines(batches))
  }

  static func write(_ bytes: [UInt8], to path: String, on disk: SimulatedDisk) throws {
    let file = try disk.open(path, .create)
    try file.write(bytes, at: 0)
    try file.sync()
    try disk.syncDirectory("")
  }

  static func source(
    _ bench: PipelineBench, _ files: [String], sleeper: Sleeper = PipelineBench.sleeper,
    _ change: (inout CSVSource.Configuration) -> Void = { _ in },
    onProgress: @escaping @Sendable (CSVSource.Progress) -> Void = { _ in }
  ) throws -> CSVSource {
    var configuration = CSVSource.Configuration(files: files)
    configuration.chunkBytes = 256 << 10
    change(&configuration)
    let disk = bench.disk
    return try CSVSource(
      configuration, logger: PipelineBench.logger, clock: bench.clock, sleeper: sleeper,
      disk: { path throws(DiskError) in (disk, path) }, onProgress: onProgress)
  }

  static func all(_ source: CSVSource) async throws -> [SourceBatch] {
    var batches: [SourceBatch] = []
    while let batch = try await source.next() { batches.append(batch) }
    return batches
  }

  @Test func aFileArrivesWhole() async throws {
    let bench = try PipelineBench()
    let (bytes, lines) = try Self.fleetFile()
    try Self.write(bytes, to: "a.csv", on: bench.disk)
    let last = Mutex(CSVSource.Progress())
    let source = try Self.source(bench, ["a.csv"], onProgress: { progress in last.withLock { $0 = progress } })
    let batches = try await Self.all(source)
    #expect(TinyFleet.lines(batches) == lines)
    // Several chunks, and each host's rows of one time together but where a chunk ends.
    #expect(bytes.count > 3 * 256 << 10)
    #expect(batches.reduce(0) { $0 + $1.items.count } < 120 + 10)
    let progress = last.withLock { $0 }
    #expect(progress.rows == lines.count && progress.bytes == Int64(bytes.count))
    #expect(progress.totalBytes == Int64(bytes.count))
  }

  @Test func rowsThatCannotBeUsedAreCountedAndSkipped() async throws {
    let bench = try PipelineBench()
    let text = """
      value,Hostname,gpu_id,metric_name,timestamp
      1,h1,0,m,2025-07-18T20:42:34Z
      x,h1,1,m,2025-07-18T20:42:34Z
      2,h1,,m,2025-07-18T20:42:34Z
      3,h1,2,m
      4,h1,3,m,2025-07-18T20:42:34Z

      """
    try Self.write(Array(text.utf8), to: "bad.csv", on: bench.disk)
    let batches = try await Self.all(try Self.source(bench, ["bad.csv"]))
    #expect(batches.reduce(0) { $0 + $1.rows } == 5)
    #expect(batches.reduce(0) { $0 + $1.rowsInvalid } == 2)
    #expect(batches.reduce(0) { $0 + $1.rowsWithoutGPU } == 1)
    #expect(TinyFleet.lines(batches).count == 2)
    let strict = try Self.source(bench, ["bad.csv"]) { $0.isStrict = true }
    do throws(PipelineError) {
      _ = try await strict.next()
      Issue.record("a strict replay went on")
    } catch {
      guard case .invalidRow(let file, let line, _) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(file == "bad.csv" && line == 3)
    }
  }

  @Test func aFileOfBadRowsStillMovesThePosition() async throws {
    let bench = try PipelineBench()
    try Self.write(Array("timestamp,gpu_id,value,metric_name\nx,0,1,m\n".utf8), to: "b.csv", on: bench.disk)
    let batches = try await Self.all(try Self.source(bench, ["b.csv"]))
    #expect(batches.count == 1 && batches[0].rowsInvalid == 1 && batches[0].position != nil)
  }

  @Test(arguments: ["", "a,b,c\n1,2,3\n"])
  func aFileThatIsNoTelemetryIsRefused(text: String) async throws {
    let bench = try PipelineBench()
    try Self.write(Array(text.utf8), to: "c.csv", on: bench.disk)
    let source = try Self.source(bench, ["c.csv"])
    await #expect(throws: PipelineError.self) { try await source.next() }
  }

  @Test func aMissingFileIsRefused() async throws {
    let bench = try PipelineBench()
    let source = try Self.source(bench, ["none.csv"])
    await #expect(throws: PipelineError.self) { try await source.next() }
  }

  @Test(arguments: [CSVShard.Key.host, .uuid, .row])
  func shardsShareAFileWithoutGapOrOverlap(key: CSVShard.Key) async throws {
    let bench = try PipelineBench()
    let (bytes, lines) = try Self.fleetFile(nodes: 5)
    try Self.write(bytes, to: "a.csv", on: bench.disk)
    var found: [String] = []
    var sizes: [Int] = []
    for index in 0..<3 {
      let shard = try #require(CSVShard(index: index, count: 3, key: key))
      let part = TinyFleet.lines(try await Self.all(try Self.source(bench, ["a.csv"]) { $0.shard = shard }))
      sizes.append(part.count)
      found += part
    }
    #expect(found.sorted() == lines)
    #expect(sizes.count { $0 > 0 } > 1)
  }

  @Test func everyBatchIsAPlaceToGoOnFrom() async throws {
    let bench = try PipelineBench()
    let (bytes, lines) = try Self.fleetFile(rounds: 30)
    try Self.write(bytes, to: "a.csv", on: bench.disk)
    try Self.write(bytes, to: "b.csv", on: bench.disk)
    func open() throws -> CSVSource { try Self.source(bench, ["a.csv", "b.csv"]) { $0.rate = 2000 } }
    let whole = try await Self.allByClock(bench, try open())
    #expect(whole.count > 30)
    for index in stride(from: 0, to: whole.count, by: 19) {
      let source = try open()
      try await source.resume(from: try #require(whole[index].position))
      let rest = try await Self.allByClock(bench, source)
      #expect(TinyFleet.lines(Array(whole[...index]) + rest) == (lines + lines).sorted(), "after batch \(index)")
    }
  }

  /// With a rate, time has to pass between batches.
  static func allByClock(_ bench: PipelineBench, _ source: CSVSource) async throws -> [SourceBatch] {
    let ticking = Task {
      while !Task.isCancelled {
        bench.clock.advance(milliseconds: 50)
        await Task.yield()
      }
    }
    defer { ticking.cancel() }
    return try await all(source)
  }

  @Test func aPositionOfAnotherFileIsRefused() async throws {
    let bench = try PipelineBench()
    let (bytes, _) = try Self.fleetFile()
    let (other, _) = try Self.fleetFile(seed: 9)
    try Self.write(bytes, to: "a.csv", on: bench.disk)
    let first = try #require(try await Self.source(bench, ["a.csv"]).next())
    try Self.write(other, to: "a.csv", on: bench.disk)
    let source = try Self.source(bench, ["a.csv"])
    try await source.resume(from: try #require(first.position))
    do throws(PipelineError) {
      _ = try await source.next()
      Issue.record("the position was taken for another file's")
    } catch {
      guard case .invalidCheckpoint = error else {
        Issue.record("\(error)")
        return
      }
    }
  }

  @Test func aLoopBeginsAgain() async throws {
    let bench = try PipelineBench()
    let (bytes, lines) = try Self.fleetFile(rounds: 3)
    try Self.write(bytes, to: "a.csv", on: bench.disk)
    let source = try Self.source(bench, ["a.csv"]) { $0.loops = true }
    var batches: [SourceBatch] = []
    for _ in 0..<3 { batches.append(try #require(try await source.next())) }
    #expect(TinyFleet.lines(batches) == (lines + lines + lines).sorted())
  }

  @Test func anEmptyFileEndsALoop() async throws {
    let bench = try PipelineBench()
    try Self.write(Array("timestamp,gpu_id,value,metric_name\n".utf8), to: "e.csv", on: bench.disk)
    let source = try Self.source(bench, ["e.csv"]) { $0.loops = true }
    #expect(try await source.next() == nil)
  }

  @Test func newTimestampsKeepSamplesApart() async throws {
    let bench = try PipelineBench()
    let (bytes, lines) = try Self.fleetFile(rounds: 12)
    try Self.write(bytes, to: "a.csv", on: bench.disk)
    let batches = try await Self.all(try Self.source(bench, ["a.csv"]) { $0.timestamps = .now })
    let times = Set(
      batches.flatMap { $0.items }.compactMap { item in
        if case .scrape(let scrape) = item.content { scrape.timestamp.milliseconds } else { nil }
      })
    #expect(times == Set((0..<12).map { bench.clock.now + $0 }))
    let distinct = Set(TinyFleet.lines(batches).map { $0.split(separator: " ").dropLast().joined() })
    #expect(distinct.count == lines.count)
  }

  @Test func newTimestampsNeedNoColumn() async throws {
    let bench = try PipelineBench()
    let text = "gpu_id,value,metric_name,Hostname\n0,1,m,h\n0,2,m,h\n1,3,m,h\n"
    try Self.write(Array(text.utf8), to: "n.csv", on: bench.disk)
    let lines = TinyFleet.lines(try await Self.all(try Self.source(bench, ["n.csv"]) { $0.timestamps = .now }))
    #expect(lines.count == 3)
    #expect(Set(lines.map { $0.split(separator: " ").dropLast().joined() }).count == 3)
  }

  @Test func aRateIsKept() async throws {
    let bench = try PipelineBench()
    let (bytes, lines) = try Self.fleetFile(rounds: 20)
    try Self.write(bytes, to: "a.csv", on: bench.disk)
    let slept = Mutex(Duration.zero)
    let clock = bench.clock
    // Time passes only by sleeping, so the sleep is the whole time of the replay.
    let sleeper = Sleeper { duration in
      slept.withLock { $0 += duration }
      clock.advance(milliseconds: max(1, duration.wholeNanoseconds / 1_000_000))
    }
    let source = try Self.source(bench, ["a.csv"], sleeper: sleeper) { $0.rate = 400 }
    let batches = try await Self.all(source)
    #expect(TinyFleet.lines(batches).count == lines.count)
    let seconds = slept.withLock { $0.inSeconds }
    let expected = Double(lines.count) / 400
    #expect(abs(seconds - expected) < 1.5, "\(seconds) s instead of \(expected) s")
  }

  @Test func aReplayIsInTheTopicOnceWhateverTheProcessDoes() async throws {
    let bench = try PipelineBench()
    let (bytes, lines) = try Self.fleetFile(rounds: 25)
    try Self.write(bytes, to: "a.csv", on: bench.disk)
    try bench.disk.createDirectory("streamer")
    let log = try bench.openLog()
    let outbox = Outbox(disk: bench.disk, path: "streamer/outbox")
    var runs = 0
    var seed = Seed(77)
    while true {
      runs += 1
      // A run ends at a random moment, with its last answer lost as often as not.
      let link = LossyLink(log, seed: seed.next(), lossOneIn: 5)
      let source = try Self.source(bench, ["a.csv"])
      let streamer = try bench.streamer([source], link, outbox: outbox) { $0.batchRecordsMax = 4 }
      let running = Task { try await streamer.run() }
      if runs < 30 {
        for _ in 0..<seed.below(400) { await Task.yield() }
        running.cancel()
        try await running.value
      } else {
        try await running.value
        break
      }
    }
    let store = try bench.memoryStore()
    try await bench.drain(log, store)
    #expect(try await TinyFleet.lines(store) == lines)
    #expect(
      PipelineBench.metric("gpu_telemetry_collector_samples_flushed_total", bench.registry) == Double(lines.count))
    try await log.close()
  }
}
