import ApusIO
import ApusModel
import ApusStore

/// Taking scrapes into the embedded store, sealing included, in samples per processor second; and reading them back.
enum StoreBenchmark {
  static let benchmark = Benchmark(name: "store") { context in
    let nodes = context.size.pick(small: 2, large: 200)
    let rounds = context.size.pick(small: 3, large: 720)
    let sets = (0..<nodes).map { fleetSet(node: $0) }
    let columns = makeColumns(count: 64, series: sets[0].count)

    let append = try await context.best {
      let store = try open(context)
      let watch = Stopwatch()
      try await fill(store, sets, columns, rounds)
      let wall = watch.wallSeconds
      let cpu = watch.cpuSeconds
      try await store.flush()
      let flushed = watch.cpuSeconds
      let statistics = try await store.statistics()
      try await close(store, context)
      let samples = Double(nodes * rounds * sets[0].count)
      return Measurement(
        name: "store/append", count: samples, unit: "samples", wallSeconds: wall, cpuSeconds: cpu,
        details: [
          ("with flush", samples / flushed, "samples/CPU s"),
          ("on disk", Double(statistics.bytesOnDisk) / samples, "B/sample"),
        ])
    }

    let select = try await context.best {
      let store = try open(context)
      try await fill(store, sets, columns, rounds)
      try await store.flush()
      let watch = Stopwatch()
      var samples = 0
      let questions = context.size.pick(small: 2, large: 20)
      for question in 0..<questions {
        let request = SelectRequest([.metric(metricNames[question % metricNames.count])])
        for column in try await store.select(request) { samples += column.values.count }
      }
      let wall = watch.wallSeconds
      let cpu = watch.cpuSeconds
      try await close(store, context)
      guard samples == questions * nodes * 8 * rounds else {
        throw BenchmarkError.wrongResult("\(samples) samples were selected")
      }
      return Measurement(
        name: "store/select-one-metric", count: Double(samples), unit: "samples", wallSeconds: wall, cpuSeconds: cpu)
    }
    var results = [append, select]
    for isFlushed in [false, true] {
      results.append(try await listings(context, sets, columns, min(rounds, 360), isFlushed: isFlushed))
    }
    return results
  }

  /// The values of a label that tells GPUs apart, over all time and under a condition: what a list of GPUs asks first.
  private static func listings(
    _ context: BenchmarkContext, _ sets: [SeriesSet], _ columns: [[Double]], _ rounds: Int, isFlushed: Bool
  ) async throws -> Measurement {
    try await context.best {
      let store = try open(context)
      try await fill(store, sets, columns, rounds)
      if isFlushed { try await store.flush() }
      let watch = Stopwatch()
      let questions = context.size.pick(small: 1, large: 20)
      for question in 0..<questions {
        let matchers: [Matcher] = question % 2 == 0 ? [] : [.metric(metricNames[question % metricNames.count])]
        let values = try await store.labelValues("UUID", matchers, in: .all)
        guard values.count == sets.count * 8 else { throw BenchmarkError.wrongResult("\(values.count) values") }
      }
      let wall = watch.wallSeconds
      let cpu = watch.cpuSeconds
      let names = Stopwatch()
      for _ in 0..<questions { _ = try await store.labelNames([], in: .all) }
      let nameSeconds = names.cpuSeconds
      let all = Stopwatch()
      let series = try await store.series([], in: .all).count
      let seriesSeconds = all.cpuSeconds
      try await close(store, context)
      guard series == sets.count * sets[0].count else { throw BenchmarkError.wrongResult("\(series) series") }
      return Measurement(
        name: "store/list-label-values" + (isFlushed ? "-blocks" : "-head"), count: Double(questions), unit: "lists",
        wallSeconds: wall, cpuSeconds: cpu,
        details: [
          ("label names", nameSeconds / Double(questions) * 1000, "ms"), ("all series", seriesSeconds * 1000, "ms"),
        ])
    }
  }

  private static let metricNames = (0..<20).map { "DCGM_FI_BENCH_\($0)" }

  private static func open(_ context: BenchmarkContext) throws -> EmbeddedStore {
    try removeStore(context)
    return try EmbeddedStore(disk: try PosixDisk(root: context.folder), directory: "store", clock: SystemClock())
  }

  private static func close(_ store: EmbeddedStore, _ context: BenchmarkContext) async throws {
    try await store.close()
    try removeStore(context)
  }

  private static func fill(
    _ store: EmbeddedStore, _ sets: [SeriesSet], _ columns: [[Double]], _ rounds: Int
  ) async throws {
    let partition = LogPartition(topic: "bench", partition: 0)
    var offset: Int64 = 0
    for round in 0..<rounds {
      var items: [StoreBatch.Item] = []
      items.reserveCapacity(sets.count)
      for (node, set) in sets.enumerated() {
        let scrape = Scrape(
          set: set, timestamp: Timestamp(milliseconds: 1_700_000_000_000 + Int64(round) * 10_000),
          values: columns[(node + round) % columns.count])
        items.append(StoreBatch.Item(offset: offset, content: .scrape(scrape)))
        offset += 1
      }
      let outcome = try await store.append(StoreBatch(partition: partition, items: items, nextOffset: offset))
      guard outcome.samplesAccepted == sets.count * sets[0].count else {
        throw BenchmarkError.wrongResult("\(outcome.samplesAccepted) samples were accepted")
      }
    }
  }

  private static func fleetSet(node: Int) -> SeriesSet {
    var series: [Labels] = []
    for metric in metricNames {
      for gpu in 0..<8 {
        series.append(
          Labels([
            ("__name__", metric), ("gpu", "\(gpu)"), ("UUID", ExporterPage.uuid(node: node, gpu: gpu)),
            ("device", "nvidia\(gpu)"), ("modelName", "NVIDIA H100 80GB HBM3"), ("Hostname", "node-\(node)"),
          ]))
      }
    }
    return SeriesSet(series: series)
  }

  /// Columns as GPUs have them: a third constant, a third small integers, a third decimals with three places.
  private static func makeColumns(count: Int, series: Int) -> [[Double]] {
    var random = BenchmarkRandom(seed: 7)
    return (0..<count).map { _ in
      (0..<series).map { index in
        switch index / 8 % 3 {
        case 0: 2619
        case 1: Double(Int.random(in: 0...100, using: &random))
        default: Double(Int.random(in: 60_000...700_000, using: &random)) / 1000
        }
      }
    }
  }

  static func removeStore(_ context: BenchmarkContext) throws {
    let disk = try PosixDisk(root: context.folder)
    func remove(_ path: String) throws {
      for name in try disk.list(path) {
        let inner = path + "/" + name
        do { try disk.remove(inner) } catch { try remove(inner) }
      }
      try disk.removeDirectory(path)
    }
    if try disk.exists("store") { try remove("store") }
  }
}
