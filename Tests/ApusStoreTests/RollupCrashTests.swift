// Goal: after any crash and any failure of the disk, roll-ups say what the samples say. Method: seeded schedules of appends,
// seals, merges, roll-ups, deletes, faults and power cuts on a simulated disk; after each recovery, and in between,
// aggregates are compared with a plain model of the samples. A failing seed is in the message (`APUS_SEED`).

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Foundation
import Testing

@Suite struct RollupCrashTests {
  @Test func rollupsAgreeWithSamples() async throws {
    var fromRollups = 0
    // A schedule of these takes as long as some dozen of the others.
    let seeds = SeedRange.schedules(12, environment: ProcessInfo.processInfo.environment)
    for seed in seeds where seeds.count == 1 || seed < 12 || seed % 16 == 0 {
      var run = try RollupCrashRun(seed: seed)
      try await run.run()
      fromRollups += run.fromRollups
    }
    #expect(fromRollups > 0 || seeds.count == 1, "no answer came from a roll-up")
  }
}

private struct RollupCrashRun {
  static let start: Int64 = 1_767_225_600_000
  let seed: UInt64
  var material: RollupMaterial
  let disk: SimulatedDisk
  let clock = ManualClock(now: start)
  var store: EmbeddedStore
  var log: [StoreBatch] = []
  /// What the store should hold; further ones are what it may hold after the next crash, because a delete failed and
  /// nobody knows whether its commit reached the disk.
  var models = [StoreModel()]
  var fed = 0
  var fromRollups = 0

  init(seed: UInt64) throws {
    self.seed = seed
    material = RollupMaterial(seed: seed &* 104_729 &+ 7, start: RollupCrashRun.start)
    disk = SimulatedDisk(seed: seed)
    store = try RollupCrashRun.open(disk, clock)
  }

  static func open(_ disk: SimulatedDisk, _ clock: ManualClock) throws -> EmbeddedStore {
    try EmbeddedStore(disk: disk, directory: "data/store", clock: clock, configuration: RollupMaterial.configuration())
  }

  mutating func run() async throws {
    for step in 0..<60 {
      do {
        try await act()
        if material.chance(3) { try await check("step \(step)", models: [models[0]]) }
      } catch let error as StoreError {
        switch error {
        case .disk, .headFull: break
        default: Issue.record("seed \(seed), step \(step): \(error)")
        }
      }
      if disk.isCrashed || material.chance(20) { try await recover("step \(step)") }
    }
    try await recover("the end")
    try await store.flush()
    try await store.compact()
    for _ in 0..<4 { try await check("the end, compacted", models: models) }
    try await store.close()
  }

  private mutating func act() async throws {
    switch material.below(16) {
    case 0: try await store.flush()
    case 1, 2: try await store.compact()
    case 3, 4: for _ in 0..<3 { try store.maintain() }
    case 5:
      let (matchers, range) = material.deletion(from: RollupCrashRun.start)
      var deleted = models[0]
      deleted.delete(matchers, in: range)
      do {
        try await store.delete(matchers, in: range)
        models = [deleted]
      } catch {
        models.append(deleted)
        throw error
      }
    case 6: disk.crash(afterOperations: 1 + material.below(20))
    case 7:
      let often = 1 + material.below(4)
      let which = material.below(4)
      disk.setFaults { faults in
        switch which {
        case 0: faults.writeFails = often
        case 1: faults.syncFails = often
        case 2: faults.renameFails = often
        default: faults.openFails = often
        }
      }
    case 8: disk.setCapacity(disk.usedBytes + Int64(material.below(20_000)))
    case 9:
      disk.clearFaults()
      disk.setCapacity(.max)
    default:
      log.append(material.batch(rounds: 20))
      clock.set(material.instant)
      try await feed()
    }
  }

  private mutating func feed() async throws {
    while fed < log.count {
      _ = try await store.append(log[fed])
      for index in models.indices { models[index].append(log[fed]) }
      fed += 1
    }
  }

  /// The power goes, if it has not gone yet; the store is opened again and the log replayed.
  private mutating func recover(_ what: String) async throws {
    disk.restart()
    disk.setCapacity(.max)
    store = try RollupCrashRun.open(disk, clock)
    let durable = try await store.positions()[RollupMaterial.partition]?.durable ?? .min
    for batch in log[..<fed] where batch.nextOffset > durable { _ = try await store.append(batch) }
    let answer = try await store.select(SelectRequest([]))
    if let match = models.first(where: { StoreModel.difference(answer, $0.select(SelectRequest([]))) == nil }) {
      models = [match]
    } else {
      Issue.record("seed \(seed), \(what): the samples are not those of any model")
    }
    try await check("after recovery at \(what)", models: models)
    try await feed()
  }

  private mutating func check(_ what: String, models: [StoreModel]) async throws {
    let request = material.request(from: RollupCrashRun.start)
    let answer = try await store.aggregate(request)
    if answer.resolution != nil { fromRollups += 1 }
    let differences = models.map { $0.difference(answer, request) }
    if differences.contains(nil) { return }
    Issue.record("seed \(seed), \(what): \(differences[0] ?? ""), of \(request)")
  }
}
