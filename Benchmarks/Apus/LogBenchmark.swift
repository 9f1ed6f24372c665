import ApusBroker
import ApusIO

/// Appending and reading messages of 300 bytes at each durability: one writer that waits for each batch, and eight at
/// once, whose batches share the syncs.
enum LogBenchmark {
  private static let messageBytes = 300
  private static let batchMessages = 100

  static let benchmark = Benchmark(name: "log") { context in
    var measurements: [Measurement] = []
    let levels: [(String, Durability)] = [
      ("every", .every), ("interval", .interval(.milliseconds(200))), ("none", .none),
    ]
    for (name, durability) in levels {
      for writers in [1, 8] {
        let batches = max(1, context.size.pick(small: 4, large: name == "every" ? 1600 : 16_000) / writers)
        measurements.append(
          try await context.best {
            try await append("log/append/\(name)/\(writers)-writers", context, durability, writers, batches)
          })
      }
    }
    measurements.append(try await context.best { try await read(context) })
    return measurements
  }

  private static func open(
    _ folder: String, _ durability: Durability
  ) throws -> (log: EmbeddedLog, remove: () throws -> Void) {
    let disk = try PosixDisk(root: folder)
    try remove(disk, "log")
    var configuration = EmbeddedLog.Configuration()
    configuration.durability = durability
    let log = try EmbeddedLog(disk: disk, clock: SystemClock(), configuration: configuration)
    return (log, { try remove(disk, "log") })
  }

  private static func append(
    _ name: String, _ context: BenchmarkContext, _ durability: Durability, _ writers: Int, _ batches: Int
  ) async throws -> Measurement {
    let (log, remove) = try open(context.folder, durability)
    guard let topic = TopicName("bench") else { throw BenchmarkError.wrongResult("topic name") }
    let partition = TopicPartition(topic: topic, partition: 0)
    // The first append makes the topic.
    try await check(log.append([AppendRequest(partition: partition, batch: try batch(seed: 0))]))
    let ready = try (0..<16).map { try batch(seed: UInt64($0 + 1)) }
    let watch = Stopwatch()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for writer in 0..<writers {
        group.addTask {
          for turn in 0..<batches {
            try await check(log.append([AppendRequest(partition: partition, batch: ready[(writer + turn) % 16])]))
          }
        }
      }
      try await group.waitForAll()
    }
    let wall = watch.wallSeconds
    let cpu = watch.cpuSeconds
    try await log.close()
    try remove()
    let messages = Double(writers * batches * batchMessages)
    return Measurement(
      name: name, count: messages, unit: "messages", bytes: messages * Double(messageBytes), wallSeconds: wall,
      cpuSeconds: cpu)
  }

  /// Reads a topic from its first offset, far from the end, so from the segments.
  private static func read(_ context: BenchmarkContext) async throws -> Measurement {
    let (log, remove) = try open(context.folder, .none)
    guard let topic = TopicName("bench") else { throw BenchmarkError.wrongResult("topic name") }
    let partition = TopicPartition(topic: topic, partition: 0)
    let batches = context.size.pick(small: 4, large: 10_000)
    for turn in 0..<batches {
      try await check(log.append([AppendRequest(partition: partition, batch: try batch(seed: UInt64(turn)))]))
    }
    let watch = Stopwatch()
    var offset: Int64 = 0
    var records = 0
    while records < batches * batchMessages {
      let slice = try await log.read(partition, from: offset, maxBytes: 1 << 20, waiting: .zero)
      guard let last = slice.batches.last else { throw BenchmarkError.wrongResult("the log ends at \(offset)") }
      for batch in slice.batches { records += batch.recordCount }
      offset = last.nextOffset
    }
    let wall = watch.wallSeconds
    let cpu = watch.cpuSeconds
    try await log.close()
    try remove()
    return Measurement(
      name: "log/read", count: Double(records), unit: "messages", bytes: Double(records * messageBytes),
      wallSeconds: wall, cpuSeconds: cpu)
  }

  private static func batch(seed: UInt64) throws -> RecordBatch {
    var random = BenchmarkRandom(seed: seed)
    var builder = RecordBatchBuilder()
    for index in 0..<batchMessages {
      let value = (0..<messageBytes).map { _ in UInt8.random(in: 0...255, using: &random) }
      builder.append(Record(timestamp: Int64(index), value: value))
    }
    return try builder.finish()
  }

  private static func check(_ results: [Result<AppendReceipt, LogError>]) async throws {
    for result in results { _ = try result.get() }
  }

  private static func remove(_ disk: PosixDisk, _ path: String) throws {
    guard try disk.exists(path) else { return }
    for name in try disk.list(path) {
      let inner = path + "/" + name
      do { try disk.remove(inner) } catch { try remove(disk, inner) }
    }
    try disk.removeDirectory(path)
  }
}
