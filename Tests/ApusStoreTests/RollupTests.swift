// Goal: an aggregate is the same from roll-ups as from the samples, whatever came late, was deleted or merged in between,
// and what retention took of the samples is still answered. Method: seeded runs compared with a plain model, then single
// cases of retention, deletes and dueness with their answers worked out.

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Foundation
import Testing

@Suite struct RollupTests {
  private static let start: Int64 = 1_767_225_600_000

  private static func open(
    _ disk: any Disk, _ clock: ManualClock, _ configuration: EmbeddedStore.Configuration
  ) throws -> EmbeddedStore {
    try EmbeddedStore(disk: disk, directory: "store", clock: clock, configuration: configuration)
  }

  @Test func sameAsFromSamples() async throws {
    var fromRollups = 0
    for seed in SeedRange.schedules(12, environment: ProcessInfo.processInfo.environment) {
      fromRollups += try await randomRun(seed: seed)
    }
    #expect(fromRollups > 0, "no answer came from a roll-up")
  }

  private func randomRun(seed: UInt64) async throws -> Int {
    var material = RollupMaterial(seed: seed, start: RollupTests.start)
    let clock = ManualClock(now: RollupTests.start)
    let disk = SimulatedDisk(seed: seed)
    var store = try RollupTests.open(disk, clock, RollupMaterial.configuration())
    var model = StoreModel()
    var fromRollups = 0
    for step in 0..<60 {
      switch material.below(12) {
      case 0: try await store.flush()
      case 1: try await store.compact()
      case 2, 3: for _ in 0..<4 { try store.maintain() }
      case 4:
        let (matchers, range) = material.deletion(from: RollupTests.start)
        try await store.delete(matchers, in: range)
        model.delete(matchers, in: range)
      case 5:
        try await store.close()
        store = try RollupTests.open(disk, clock, RollupMaterial.configuration())
      default:
        let batch = material.batch(rounds: 20)
        clock.set(material.instant)
        _ = try await store.append(batch)
        model.append(batch)
      }
      let request = material.request(from: RollupTests.start)
      let answer = try await store.aggregate(request)
      if answer.resolution != nil { fromRollups += 1 }
      let difference = model.difference(answer, request)
      #expect(difference == nil, "seed \(seed), step \(step), \(request)")
      if difference != nil { break }
    }
    try await store.compact()
    for _ in 0..<6 {
      let request = material.request(from: RollupTests.start)
      let answer = try await store.aggregate(request)
      if answer.resolution != nil { fromRollups += 1 }
      #expect(model.difference(answer, request) == nil, "seed \(seed), at the end, \(request)")
    }
    try await store.close()
    return fromRollups
  }

  /// A store with five spans of material, all of it rolled up, and what it should hold.
  private func filled(
    seed: UInt64, retention: Int64? = nil, _ change: (inout EmbeddedStore.Configuration) -> Void = { _ in }
  ) async throws -> (store: EmbeddedStore, model: StoreModel, clock: ManualClock, disk: SimulatedDisk) {
    var configuration = RollupMaterial.configuration(retention: retention)
    change(&configuration)
    let clock = ManualClock(now: RollupTests.start)
    let disk = SimulatedDisk(seed: seed)
    let store = try RollupTests.open(disk, clock, configuration)
    // What comes late still comes after the start.
    var material = RollupMaterial(seed: seed, start: RollupTests.start + 5000)
    var model = StoreModel()
    for _ in 0..<22 {
      let batch = material.batch(rounds: 20, latest: 3000)
      clock.set(material.instant)
      _ = try await store.append(batch)
      model.append(batch)
    }
    try await store.compact()
    try await store.flush()
    try await store.compact()
    return (store, model, clock, disk)
  }

  private static func range(_ from: Int64, _ to: Int64) -> TimeRange {
    TimeRange(start: Timestamp(milliseconds: start + from), end: Timestamp(milliseconds: start + to - 1))
  }

  private static func request(
    _ range: TimeRange, step: Int64 = 20_000,
    functions: Set<AggregateFunction> = [.minimum, .maximum, .sum, .count, .last]
  ) -> AggregateRequest {
    AggregateRequest([], in: range, step: step, functions: functions)
  }

  @Test func coarsestThatFits() async throws {
    let (store, model, _, _) = try await filled(seed: 1)
    let range = RollupTests.range(0, 400_000)
    for (step, resolution) in [(5000, 5000), (7000, nil), (20_000, 20_000), (25_000, 5000), (200_000, 20_000)]
      as [(Int64, Int64?)]
    {
      let request = RollupTests.request(range, step: step)
      let answer = try await store.aggregate(request)
      #expect(model.difference(answer, request) == nil)
      #expect(answer.resolution == resolution, "with a step of \(step)")
      #expect(answer.spans == [.init(range: range, resolution: resolution)], "with a step of \(step)")
    }
    // Borders that cut buckets: the samples answer there.
    let cut = RollupTests.request(RollupTests.range(3000, 130_000))
    let answer = try await store.aggregate(cut)
    #expect(model.difference(answer, cut) == nil)
    #expect(answer.spans.map(\.resolution) == [nil, 5000, 20_000, 5000])
    let shifted = AggregateRequest([], in: range, step: 20_000, origin: 5000, functions: [.sum])
    #expect(try await store.aggregate(shifted).resolution == 5000, "a grid that begins at a multiple of 5 s")
    // Of a gauge only the samples know how it would have grown as a counter.
    let growth = AggregateRequest([.metric("power")], in: range, step: 20_000, functions: [.increase])
    let grown = try await store.aggregate(growth)
    #expect(model.difference(grown, growth) == nil && grown.resolution == nil)
    let counted = AggregateRequest([.metric("energy")], in: range, step: 20_000, functions: [.increase, .first])
    let count = try await store.aggregate(counted)
    #expect(model.difference(count, counted) == nil && count.resolution == 20_000)
  }

  @Test func outliveTheSamples() async throws {
    let (store, model, clock, disk) = try await filled(seed: 2, retention: 1_000_000)
    let request = RollupTests.request(RollupTests.range(0, 400_000))
    // Retention ends in the middle of a bucket of the third span.
    clock.set(RollupTests.start + 1_000_000 + 172_345)
    try await store.compact()
    #expect(model.difference(try await store.aggregate(request), request) == nil)
    #expect(try await store.select(SelectRequest([], in: RollupTests.range(0, 172_000))).isEmpty)
    // Everything is gone but the roll-ups, once the last span has been rolled up.
    clock.set(RollupTests.start + 3_000_000)
    try await store.compact()
    try await store.compact()
    let statistics = try await store.statistics()
    #expect(statistics.blocks == 0 && statistics.rollups == 12 && statistics.bytesByPart["rollups"] ?? 0 > 0)
    #expect(model.difference(try await store.aggregate(request), request) == nil)
    try await store.close()
    let again = try RollupTests.open(disk, clock, RollupMaterial.configuration(retention: 1_000_000))
    let answer = try await again.aggregate(request)
    #expect(model.difference(answer, request) == nil)
    #expect(answer.spans == [.init(range: request.range, resolution: 20_000)])
    #expect(
      try await again.series([], in: request.range) == model.select(SelectRequest([], in: request.range)).map(\.labels))
    #expect(try await again.labelValues("Hostname", [.metric("power")], in: request.range) == ["a", "b", "c"])
    #expect(try await again.series([], in: RollupTests.range(500_000, 900_000)).isEmpty)
    // Too fine a question has no answer any more.
    #expect(try await again.aggregate(RollupTests.request(request.range, step: 1000)).series.isEmpty)
  }

  @Test func samplesWaitForTheirRollup() async throws {
    // The samples are too old at once, but the span is not over yet.
    let clock = ManualClock(now: RollupTests.start + 5000)
    let disk = SimulatedDisk(seed: 3)
    let store = try RollupTests.open(disk, clock, RollupMaterial.configuration(retention: 10_000))
    var material = RollupMaterial(seed: 3, start: RollupTests.start)
    var model = StoreModel()
    let batch = material.batch(rounds: 10, latest: 3000)
    _ = try await store.append(batch)
    model.append(batch)
    try await store.flush()
    clock.set(RollupTests.start + 60_000)
    try await store.compact()
    #expect(try await store.statistics().blocks == 1, "the samples are there until they have been rolled up")
    #expect(try await store.select(SelectRequest([])).isEmpty, "and not answered any more")
    clock.set(RollupTests.start + 90_001)
    try await store.compact()
    try await store.compact()
    let statistics = try await store.statistics()
    #expect(statistics.blocks == 0 && statistics.rollups == 2)
    let request = RollupTests.request(RollupTests.range(-400_000, 400_000))
    #expect(model.difference(try await store.aggregate(request), request) == nil)
  }

  @Test func deletesReachWhatOnlyTheRollupsHave() async throws {
    let (store, model, clock, _) = try await filled(seed: 4, retention: 1_000_000)
    clock.set(RollupTests.start + 3_000_000)
    try await store.compact()
    // 23,000 to 47,000 cuts buckets on both sides; at 5 s it takes four whole and two in part, at 20 s two.
    try await store.delete([.equal("gpu", "1")], in: RollupTests.range(23_000, 47_000))
    var fine = model
    fine.delete([.equal("gpu", "1")], in: RollupTests.range(20_000, 50_000))
    var coarse = model
    coarse.delete([.equal("gpu", "1")], in: RollupTests.range(20_000, 60_000))
    for part in ["marked", "rewritten"] {
      if part == "rewritten" { try await store.compact() }
      let five = RollupTests.request(RollupTests.range(0, 400_000), step: 5000)
      #expect(fine.difference(try await store.aggregate(five), five) == nil, "\(part)")
      let twenty = RollupTests.request(RollupTests.range(0, 400_000))
      #expect(coarse.difference(try await store.aggregate(twenty), twenty) == nil, "\(part)")
    }
    #expect(try await store.statistics().bytesByPart["tombstones"] == 0)
    let made = try await store.statistics().rollupsMade
    // Nothing has such a label, so nothing is written anew.
    try await store.delete([.equal("gpu", "7")], in: .all)
    try await store.compact()
    let after = try await store.statistics()
    #expect(after.bytesByPart["tombstones"] == 0 && after.rollupsMade == made)
    try await store.delete([], in: .all)
    let request = RollupTests.request(.all)
    #expect(try await store.aggregate(request).series.isEmpty)
    try await store.compact()
    #expect(try await store.aggregate(request).series.isEmpty)
    #expect(try await store.statistics().rollups == 0)
  }

  @Test func levelsHaveRetentionsOfTheirOwn() async throws {
    let (store, model, clock, _) = try await filled(seed: 5, retention: 1_000_000) {
      $0.rollups[0].retentionMilliseconds = 2_000_000
    }
    clock.set(RollupTests.start + 2_000_000 + 90_000)
    try await store.compact()
    #expect(try await store.statistics().rollups == 11, "of the first span the finer one is gone")
    var left = model
    left.delete([], in: RollupTests.range(-400_000, 90_000))
    let five = RollupTests.request(RollupTests.range(0, 400_000), step: 5000)
    #expect(left.difference(try await store.aggregate(five), five) == nil)
    let twenty = RollupTests.request(RollupTests.range(0, 400_000))
    #expect(model.difference(try await store.aggregate(twenty), twenty) == nil)
  }

  @Test func bySizeSamplesGoFirst() async throws {
    let (store, model, clock, disk) = try await filled(seed: 6)
    let before = try await store.statistics()
    let rolled = before.bytesByPart["rollups"] ?? 0
    try await store.close()
    var configuration = RollupMaterial.configuration()
    configuration.retentionBytes = rolled * 4
    let bounded = try RollupTests.open(disk, clock, configuration)
    try await bounded.compact()
    let statistics = try await bounded.statistics()
    #expect(
      statistics.bytesByPart["rollups"] == rolled && statistics.blocks < before.blocks
        || before.bytesOnDisk <= rolled * 4)
    let request = RollupTests.request(RollupTests.range(0, 400_000))
    #expect(model.difference(try await bounded.aggregate(request), request) == nil)
    try await bounded.close()
    // Now the roll-ups take more than their share: the finer ones go, and are not made again.
    configuration.retentionBytes = rolled
    let tight = try RollupTests.open(disk, clock, configuration)
    try await tight.compact()
    let left = try await tight.statistics()
    #expect(left.bytesByPart["rollups"] ?? 0 < rolled)
    try await tight.compact()
    #expect(try await tight.statistics().rollupsMade == 0)
  }

  @Test func smallSpansAnswerThemselves() async throws {
    let (few, model, _, _) = try await filled(seed: 7) { $0.rollupSamplesMin = 1 << 20 }
    #expect(try await few.statistics().rollups == 0)
    let (sparse, _, _, _) = try await filled(seed: 7) { $0.rollupSamplesPerBucketMin = 10 }
    #expect(try await sparse.statistics().rollups == 5, "20 s have enough samples, 5 s have not")
    try await sparse.compact()
    #expect(try await sparse.statistics().rollupsMade == 5)
    let (off, _, _, _) = try await filled(seed: 7) { $0.makesRollups = false }
    #expect(try await off.statistics().rollups == 0)
    let request = RollupTests.request(.all)
    for store in [few, sparse, off] { #expect(model.difference(try await store.aggregate(request), request) == nil) }
  }

  @Test func aDayIsRolledUpOnceItIsOver() async throws {
    let clock = ManualClock(now: RollupTests.start + 10_000_000)
    let store = try RollupTests.open(SimulatedDisk(seed: 8), clock, RollupMaterial.configuration())
    var material = RollupMaterial(seed: 8, start: RollupTests.start)
    // The import of an old day: by the clock it is long over, by the samples it is not.
    while material.instant < RollupTests.start + 80_000 {
      _ = try await store.append(material.batch(rounds: 5, latest: 3000))
      try await store.compact()
    }
    try await store.flush()
    try await store.compact()
    #expect(try await store.statistics().rollups == 0)
    while material.instant < RollupTests.start + 90_000 {
      _ = try await store.append(material.batch(rounds: 5, latest: 3000))
    }
    try await store.compact()
    #expect(try await store.statistics().rollups == 2)
  }

  @Test func aDamagedRollupIsMadeAgain() async throws {
    let (store, model, clock, disk) = try await filled(seed: 9)
    let request = RollupTests.request(RollupTests.range(0, 400_000))
    #expect(try await store.aggregate(request).resolution == 20_000)
    try await store.close()
    let manifest = try Manifest(try disk.readFile("store/MANIFEST"), path: "MANIFEST")
    for rollup in manifest.rollups {
      guard let id = rollup.block?.id else { continue }
      let digits = String(id, radix: 16)
      let path = "store/blocks/" + String(repeating: "0", count: 16 - digits.count) + digits + ".block"
      let file = try disk.open(path, .create)
      try file.write([try file.read(1, at: 20)[0] ^ 0x10], at: 20)
    }
    let again = try RollupTests.open(disk, clock, RollupMaterial.configuration())
    _ = try? await again.aggregate(request)
    for _ in 0..<20 { _ = try? await again.aggregate(request) }
    #expect(model.difference(try await again.aggregate(request), request) == nil)
    try await again.compact()
    let answer = try await again.aggregate(request)
    #expect(model.difference(answer, request) == nil && answer.resolution == 20_000)
    #expect(try await again.statistics().blocksQuarantined > 0)
  }
}
