// Goal: after any crash and any failure of the disk, the manifest and a replay of the log from the durable positions give
// every sample exactly once with its right value, and snapshots are whole. Method: seeded schedules of appends, seals,
// compactions, snapshots, deletes, faults and power cuts on a simulated disk, compared with a plain model; a failing seed
// is in the message (`APUS_SEED`).

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Foundation
import Synchronization
import Testing

@Suite struct CrashTests {
  @Test func everySampleExactlyOnce() async throws {
    for seed in SeedRange.schedules(60, environment: ProcessInfo.processInfo.environment) {
      var run = try CrashRun(seed: seed)
      try await run.run()
    }
  }
}

/// The durable positions that the store has announced.
private final class Announced: Sendable {
  let positions = Mutex<[LogPartition: Int64]>([:])
}

private struct CrashRun {
  let seed: UInt64
  var random: Seed
  let disk: SimulatedDisk
  let clock = ManualClock()
  let announced = Announced()
  var store: EmbeddedStore
  /// The log, which loses nothing.
  var log: [StoreBatch] = []
  var nextOffset: [Int64] = [0, 0]
  /// What the store should hold; further ones are what it may hold after the next crash, because a delete failed and
  /// nobody knows whether its commit reached the disk.
  var models = [StoreModel()]
  var appendedToStore = 0
  var snapshots = 0

  init(seed: UInt64) throws {
    self.seed = seed
    random = Seed(seed &* 7919 &+ 13)
    disk = SimulatedDisk(seed: seed)
    store = try CrashRun.open(disk, clock, announced)
  }

  static func open(_ disk: SimulatedDisk, _ clock: ManualClock, _ announced: Announced) throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = false
    configuration.headSpanMilliseconds = 5000
    configuration.headBytes = 1 << 16
    configuration.headBytesMax = 1 << 18
    configuration.partitionMilliseconds = 60_000
    configuration.blockSamplesMin = 60
    configuration.compactionSamplesMax = 5000
    configuration.retryMilliseconds = 500
    configuration.onDurable = { positions in announced.positions.withLock { $0 = positions } }
    return try EmbeddedStore(disk: disk, directory: "data/store", clock: clock, configuration: configuration)
  }

  mutating func run() async throws {
    for step in 0..<60 {
      clock.advance(milliseconds: Int64(random.below(1000)))
      do {
        try await act()
        if random.oneIn(6) { try await check("step \(step)", models: [models[0]]) }
      } catch let error as StoreError {
        switch error {
        case .disk, .headFull: break
        default: Issue.record("seed \(seed), step \(step): \(error)")
        }
      }
      if disk.isCrashed || random.oneIn(25) { try await recover("step \(step)") }
    }
    try await recover("the end")
    try await store.flush()
    try await store.compact()
    try await check("the end, compacted", models: models)
    // What has the name of a snapshot is a whole one, whatever went wrong when it was made and since.
    for number in 1..<max(snapshots + 1, 2) {
      let path = "data/store/snapshots/s\(number)"
      guard try disk.exists(path) else { continue }
      let found = try StoreVerification(StoreFolder(disk, directory: path))
      #expect(found.findings == [], "seed \(seed): \(path)")
    }
    let positions = try await store.positions()
    for (partition, position) in positions {
      #expect(position.durable == position.appended, "seed \(seed): \(partition) at \(position) after a flush")
    }
    try await store.close()
  }

  private mutating func act() async throws {
    switch random.below(17) {
    case 0: try await store.flush()
    case 1: try await store.compact()
    case 2, 3: try store.maintain()
    case 4:
      let matchers: [Matcher] = random.oneIn(2) ? [.equal("gpu", "0")] : [.metric("power")]
      let start = Int64(random.below(2000))
      let range = TimeRange(
        start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: start + Int64(random.below(500))))
      var deleted = models[0]
      deleted.delete(matchers, in: range)
      do {
        try await store.delete(matchers, in: range)
        models = [deleted]
      } catch {
        models.append(deleted)
        throw error
      }
    case 5: disk.crash(afterOperations: 1 + random.below(12))
    case 6:
      let often = 1 + random.below(4)
      let which = random.below(4)
      disk.setFaults { faults in
        switch which {
        case 0: faults.writeFails = often
        case 1: faults.syncFails = often
        case 2: faults.renameFails = often
        default: faults.openFails = often
        }
      }
    case 7: disk.setCapacity(disk.usedBytes + Int64(random.below(3000)))
    case 16:
      snapshots += 1
      _ = try await store.snapshot(named: SnapshotName("s\(snapshots)")!)
    case 8, 9:
      disk.clearFaults()
      disk.setCapacity(.max)
    default:
      let number = random.below(2)
      let batch = StoreConformance.randomBatch(
        &random, partition: LogPartition(topic: number == 0 ? "a" : "b", partition: Int32(number)),
        offset: &nextOffset[number])
      // Each partition has hosts of its own, as keys by host see to: between partitions there is no order of offsets.
      log.append(CrashRun.renamed(batch, host: "p\(number)"))
      try await feed()
    }
  }

  /// Gives the store what it has not had yet of the log, and sometimes something that it has had.
  private mutating func feed() async throws {
    if random.oneIn(5), let old = log[..<appendedToStore].randomElement(using: &random) {
      #expect(try await store.append(old).samplesAccepted == 0, "seed \(seed): a repeat was taken in")
    }
    while appendedToStore < log.count {
      let batch = log[appendedToStore]
      _ = try await store.append(batch)
      for index in models.indices { models[index].append(batch) }
      appendedToStore += 1
    }
  }

  /// The power goes, if it has not gone yet; the store is opened again and the log replayed.
  private mutating func recover(_ what: String) async throws {
    disk.restart()
    disk.setCapacity(.max)
    store = try CrashRun.open(disk, clock, announced)
    let positions = try await store.positions()
    for (partition, position) in announced.positions.withLock({ $0 }) {
      let now = positions[partition]?.durable ?? 0
      #expect(now >= position, "seed \(seed), \(what): \(partition) was durable up to \(position), now \(now)")
    }
    for batch in log[..<appendedToStore] {
      if batch.nextOffset > positions[batch.partition]?.durable ?? .min { _ = try await store.append(batch) }
    }
    try await check("after recovery at \(what)", models: models)
    let answer = try await store.select(SelectRequest([]))
    if let match = models.first(where: { StoreModel.difference(answer, $0.select(SelectRequest([]))) == nil }) {
      models = [match]
    }
    try await feed()
  }

  private func check(_ what: String, models: [StoreModel]) async throws {
    let answer = try await store.select(SelectRequest([]))
    var first: String?
    for model in models {
      guard let difference = StoreModel.difference(answer, model.select(SelectRequest([]))) else { return }
      first = first ?? difference
    }
    Issue.record("seed \(seed), \(what): \(first ?? "")")
  }

  private static func renamed(_ batch: StoreBatch, host: String) -> StoreBatch {
    var batch = batch
    for index in batch.items.indices {
      switch batch.items[index].content {
      case .scrape(let scrape):
        let set = SeriesSet(series: scrape.set.series.map { $0.setting([("partition", host)]) })
        batch.items[index].content = .scrape(
          Scrape(set: set, timestamp: scrape.timestamp, values: scrape.values, absent: scrape.absent))
      case .samples(let list):
        batch.items[index].content = .samples(
          list.map {
            SeriesSamples(
              labels: $0.labels.setting([("partition", host)]), timestamps: $0.timestamps, values: $0.values)
          })
      }
    }
    return batch
  }
}
