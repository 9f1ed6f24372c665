import ApusIO
import ApusModel
import ApusPipeline
import ApusStore

/// What it costs to roll up a day of a simulated fleet, what it adds to the disk, and what it saves a question for the
/// whole day.
enum RollupBenchmark {
  static let benchmark = Benchmark(name: "rollup") { context in
    let nodes = context.size.pick(small: 1, large: 8)
    let store = try open(context)
    guard let shape = FleetShape(nodes: nodes, gpusPerNode: 8) else {
      throw BenchmarkError.wrongResult("no such fleet")
    }
    var simulation = Simulation(
      shape, seed: 1, start: Timestamp(milliseconds: start), intervalMilliseconds: 10_000)
    // A day and the six hours that pass before it is rolled up, and in the small run too little for that.
    let rounds = context.size.pick(small: 10, large: 8640 + 2200)
    var samples = 0
    var offset: Int64 = 0
    for _ in 0..<rounds {
      guard let round = simulation.next() else { throw BenchmarkError.wrongResult("the simulation ended") }
      let items = round.scrapes.map { scrape in
        defer { offset += 1 }
        return StoreBatch.Item(offset: offset, content: .scrape(scrape.scrape))
      }
      samples += try await store.append(
        StoreBatch(partition: LogPartition(topic: "bench", partition: 0), items: items, nextOffset: offset)
      ).samplesAccepted
    }
    try await store.flush()
    let watch = Stopwatch()
    try await store.compact()
    let made = Measurement(
      name: "rollup/merge-and-roll-up", count: Double(samples), unit: "samples", wallSeconds: watch.wallSeconds,
      cpuSeconds: watch.cpuSeconds, details: try await sizes(store, samples: Double(samples) * 8640 / Double(rounds)))
    var result = [made]
    for (name, step) in [("1h", Int64(3_600_000)), ("5m", 300_000), ("raw", 299_000)] {
      let watch = Stopwatch()
      let range = TimeRange(
        start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: start + 86_400_000 - 1))
      let answer = try await store.aggregate(
        AggregateRequest([], in: range, step: step, functions: [.maximum, .sum, .count]))
      result.append(
        Measurement(
          name: "rollup/day-by-\(name)", count: Double(answer.series.reduce(0) { $0 + $1.starts.count }),
          unit: "windows", wallSeconds: watch.wallSeconds, cpuSeconds: watch.cpuSeconds,
          details: [("read", Double(answer.samplesRead), "samples")]))
    }
    try await store.close()
    try StoreBenchmark.removeStore(context)
    return result
  }

  /// The first instant of a day.
  private static let start: Int64 = 1_767_225_600_000

  private static func open(_ context: BenchmarkContext) throws -> EmbeddedStore {
    try StoreBenchmark.removeStore(context)
    return try EmbeddedStore(disk: try PosixDisk(root: context.folder), directory: "store", clock: SystemClock())
  }

  /// Bytes by part for each sample of the day that was rolled up; the samples' own for each of all samples.
  private static func sizes(
    _ store: EmbeddedStore, samples: Double
  ) async throws -> [(name: String, value: Double, unit: String)] {
    let statistics = try await store.statistics()
    let rolled = Double(statistics.bytesByPart["rollups"] ?? 0)
    let raw = Double(statistics.bytesOnDisk) - rolled
    return [
      ("samples", raw / Double(max(1, statistics.samplesInBlocks)), "B/sample"),
      ("roll-ups", rolled / samples, "B/sample of the day"), ("files", Double(statistics.rollups), "files"),
    ]
  }
}
