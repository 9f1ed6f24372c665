import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusPipeline
import ApusService
import ApusStore
import BenchmarkFleet
import Logging

/// Frames of a fleet, as streamers publish them, through the log on a real disk into the store: appended with the
/// durability `every`, read by the collector, taken in by the embedded store. All of it is in the processor time, but
/// for the making of the frames, which is the streamers' work. Every sample is read back and compared.
enum PipelineBenchmark {
  static let benchmark = Benchmark(name: "pipeline") { context in
    var shape = FleetShape()
    shape.hosts = context.size.pick(small: 3, large: 125)
    shape.scrapes = context.size.pick(small: 12, large: 360)
    let fleet = Fleet(shape)
    var measurements: [Measurement] = []
    // A streamer for each host sends a scrape a batch; one streamer for all sends them together.
    for (name, hosts) in [("pipeline/frames/one-streamer", shape.hosts), ("pipeline/frames/streamer-a-host", 1)] {
      let prepared = try Prepared(fleet, hostsPerBatch: hosts)
      measurements.append(try await context.best { try await run(name, fleet, prepared, context) })
    }
    return measurements
  }

  /// What the streamers send: the sets, then scrape after scrape of all hosts.
  private struct Prepared {
    var sets: RecordBatch
    var rounds: [[RecordBatch]] = []
    var bytes = 0

    init(_ fleet: Fleet, hostsPerBatch: Int) throws {
      let shape = fleet.shape
      let labels = FleetLabels(shape)
      let headers = [RecordHeader(name: ContentType.headerName, value: ContentType.scrape.headerValue)]
      let metrics = FleetMetric.all.count
      let all = (0..<shape.hosts).map { host in
        SeriesSet(
          series: (0..<metrics * shape.gpusPerHost).map { index in
            let gpu = host * shape.gpusPerHost + index % shape.gpusPerHost
            return Labels(
              [("__name__", FleetMetric.all[index / shape.gpusPerHost].name)] + labels.sorted(gpu: gpu, pod: 0))
          })
      }
      var builder = RecordBatchBuilder()
      for (host, set) in all.enumerated() {
        builder.append(
          Record(
            timestamp: shape.start, key: Array("host-\(host)".utf8), value: ScrapeRecord.encode(set: set),
            headers: headers))
      }
      sets = try builder.finish()
      for scrape in 0..<shape.scrapes {
        var round: [RecordBatch] = []
        for first in stride(from: 0, to: shape.hosts, by: hostsPerBatch) {
          var builder = RecordBatchBuilder()
          for host in first..<min(first + hostsPerBatch, shape.hosts) {
            let values = (0..<metrics * shape.gpusPerHost).map { index in
              fleet.value(
                gpu: host * shape.gpusPerHost + index % shape.gpusPerHost, metric: index / shape.gpusPerHost,
                scrape: scrape)
            }
            let time = Timestamp(milliseconds: shape.time(scrape: scrape, gpu: 0, metric: 0))
            // The sets are the topic's first records, host after host.
            let frame = ScrapeRecord.encode(
              Scrape(set: all[host], timestamp: time, values: values), setOffset: Int64(host))
            builder.append(
              Record(
                timestamp: time.milliseconds, key: Array("host-\(host)".utf8), value: frame, headers: headers))
          }
          let batch = try builder.finish()
          bytes += batch.bytes.count
          round.append(batch)
        }
        rounds.append(round)
      }
    }
  }

  private static func run(
    _ name: String, _ fleet: Fleet, _ prepared: Prepared, _ context: BenchmarkContext
  ) async throws -> Measurement {
    let disk = try PosixDisk(root: context.folder)
    for folder in ["log", "store"] { try BenchmarkFolder.remove(disk, folder) }
    guard let topic = TopicName("gpu-telemetry") else { throw BenchmarkError.wrongResult("topic name") }
    let partition = TopicPartition(topic: topic, partition: 0)
    var configuration = EmbeddedLog.Configuration()
    configuration.durability = .every
    configuration.coverageTopics = [topic]
    configuration.prologue = { $0 == topic ? ScrapePrologue() : nil }
    let log = try EmbeddedLog(disk: disk, clock: SystemClock(), configuration: configuration)
    let store = try EmbeddedStore(disk: disk, directory: "store", clock: SystemClock())
    let collector = try Collector(
      Collector.Configuration(topic: topic), log: log, store: store, registry: MetricsRegistry(),
      logger: Logger(label: "bench"), onCoverage: { partition, offset in log.setCoveredOffset(offset, for: partition) })
    _ = try await append(log, partition, [prepared.sets])
    let collecting = Task { try await collector.run() }

    let watch = Stopwatch()
    let last = try await feed(log, partition, prepared)
    guard await collector.waitUntil(partition, last) else { throw BenchmarkError.wrongResult("the collector stopped") }
    let wall = watch.wallSeconds
    let cpu = watch.cpuSeconds
    try await check(store, fleet)
    let before = watch.cpuSeconds
    try await store.flush()
    let flush = watch.cpuSeconds - before
    let statistics = try await store.statistics()
    try await store.compact()
    let merged = try await store.statistics()
    try await check(store, fleet)
    collecting.cancel()
    _ = await collecting.result
    try await log.close()
    try await store.close()
    for folder in ["log", "store"] { try BenchmarkFolder.remove(disk, folder) }
    let samples = Double(fleet.shape.samples)
    return Measurement(
      name: name, count: samples, unit: "samples", bytes: Double(prepared.bytes), wallSeconds: wall, cpuSeconds: cpu,
      details: [
        ("with flush", samples / (cpu + flush), "samples/CPU s"),
        ("in the log", Double(prepared.bytes) / samples, "B/sample"),
        ("in the store", Double(statistics.bytesOnDisk) / samples, "B/sample"),
        ("merged", Double(merged.bytesOnDisk) / samples, "B/sample"),
      ])
  }

  /// Publishes round after round, a few under way at a time as streamers have them; the offset behind the last.
  private static func feed(
    _ log: EmbeddedLog, _ partition: TopicPartition, _ prepared: Prepared
  ) async throws -> Int64 {
    let window = 4
    return try await withThrowingTaskGroup(of: Int64.self) { group in
      var last: Int64 = 0
      for (number, round) in prepared.rounds.enumerated() {
        if number >= window, let offset = try await group.next() { last = max(last, offset) }
        group.addTask { try await append(log, partition, round) }
      }
      for try await offset in group { last = max(last, offset) }
      return last
    }
  }

  private static func append(
    _ log: EmbeddedLog, _ partition: TopicPartition, _ batches: [RecordBatch]
  ) async throws -> Int64 {
    let results = await log.append(batches.map { AppendRequest(partition: partition, batch: $0) })
    var last: Int64 = 0
    for (result, batch) in zip(results, batches) {
      last = max(last, try result.get().baseOffset + Int64(batch.recordCount))
    }
    return last
  }

  /// Every sample, bit by bit.
  private static func check(_ store: EmbeddedStore, _ fleet: Fleet) async throws {
    let labels = FleetLabels(fleet.shape)
    var compared = 0
    for (metric, description) in FleetMetric.all.enumerated() {
      for column in try await store.select(SelectRequest([.metric(description.name)])) {
        guard let gpu = column.labels["UUID"].flatMap({ labels.gpu(ofUUID: $0) }) else {
          throw BenchmarkError.wrongResult("an unknown series: \(column.labels)")
        }
        for (time, value) in zip(column.timestamps, column.values) {
          guard let scrape = fleet.shape.scrape(at: time, gpu: gpu, metric: metric),
            value.bitPattern == fleet.value(gpu: gpu, metric: metric, scrape: scrape).bitPattern
          else { throw BenchmarkError.wrongResult("\(column.labels) has \(value) at \(time)") }
          compared += 1
        }
      }
    }
    guard compared == fleet.shape.samples else {
      throw BenchmarkError.wrongResult("\(compared) of \(fleet.shape.samples) samples are in the store")
    }
  }
}

/// Folders that benchmarks leave behind.
enum BenchmarkFolder {
  /// Removes a folder and what is in it; one that is not there is fine.
  static func remove(_ disk: PosixDisk, _ path: String) throws {
    guard try disk.exists(path) else { return }
    for name in try disk.list(path) {
      let inner = path + "/" + name
      do { try disk.remove(inner) } catch { try remove(disk, inner) }
    }
    try disk.removeDirectory(path)
  }
}
