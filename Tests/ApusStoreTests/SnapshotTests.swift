// Goal: a snapshot is the store at one moment, whole or not there, however it is interrupted; what is restored from it
// answers the same and goes on with the log from its positions. Method: snapshots on a simulated disk are interrupted by
// power cuts and faults at every step in turn; a restored store is compared with a plain model.

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Foundation
import Testing

@Suite struct SnapshotTests {
  private static let partition = LogPartition(topic: "t", partition: 0)

  private static func open(_ disk: any Disk, _ directory: String = "data/store") throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = false
    configuration.partitionMilliseconds = 60_000
    configuration.blockSamplesMin = 60
    return try EmbeddedStore(disk: disk, directory: directory, clock: ManualClock(), configuration: configuration)
  }

  /// A store with some batches in several blocks, and what it should answer.
  private static func fill(
    _ store: EmbeddedStore, _ model: inout StoreModel, seed: UInt64, batches: Int = 4, offset: inout Int64
  ) async throws {
    var random = Seed(seed)
    for _ in 0..<batches {
      let batch = StoreConformance.randomBatch(&random, partition: partition, offset: &offset)
      _ = try await store.append(batch)
      model.append(batch)
      if random.oneIn(2) { try await store.flush() }
    }
  }

  private static func difference(_ store: EmbeddedStore, _ model: StoreModel) async throws -> String? {
    StoreModel.difference(try await store.select(SelectRequest([])), model.select(SelectRequest([])))
  }

  @Test(arguments: [false, true]) func aSnapshotIsTheStoreAtItsMoment(_ hasNoLinks: Bool) async throws {
    let disk = SimulatedDisk(seed: 3)
    disk.setFaults { $0.hasNoLinks = hasNoLinks }
    let store = try SnapshotTests.open(disk)
    var model = StoreModel()
    var offset: Int64 = 0
    try await SnapshotTests.fill(store, &model, seed: 1, offset: &offset)
    let snapshot = try await store.snapshot(named: SnapshotName("first")!)
    #expect(snapshot.path == "data/store/snapshots/first" && snapshot.blocks > 0)
    #expect(snapshot.blocksLinked == (hasNoLinks ? 0 : snapshot.blocks))
    let atThatMoment = model
    let offsetThen = offset
    // What comes later, merges and deletes included, does not change it.
    try await SnapshotTests.fill(store, &model, seed: 2, offset: &offset)
    try await store.delete([.equal("gpu", "0")], in: .all)
    try await store.compact()
    await #expect(throws: StoreError.self) { try await store.snapshot(named: SnapshotName("first")!) }
    let copied = try await store.statistics().bytesByPart["snapshots"] ?? 0
    #expect(copied > 0, "its blocks are no longer the store's own")
    try await store.close()

    let folder = try StoreFolder(disk, directory: snapshot.path)
    #expect(try StoreVerification(folder).findings.isEmpty)
    let (restored, positions) = try folder.copy(to: "other/store", isLinking: false)
    #expect(restored.samples == snapshot.samples && positions == [SnapshotTests.partition: offsetThen])
    let second = try SnapshotTests.open(disk, "other/store")
    #expect(try await SnapshotTests.difference(second, atThatMoment) == nil)
    #expect(try await second.positions()[SnapshotTests.partition]?.durable == offsetThen)
    try await second.close()
  }

  @Test func aRestoredStoreGoesOnWithItsLog() async throws {
    let disk = SimulatedDisk(seed: 3)
    let store = try SnapshotTests.open(disk)
    var random = Seed(8)
    var offset: Int64 = 0
    var log: [StoreBatch] = []
    var model = StoreModel()
    for number in 0..<8 {
      let batch = StoreConformance.randomBatch(&random, partition: SnapshotTests.partition, offset: &offset)
      log.append(batch)
      model.append(batch)
      _ = try await store.append(batch)
      if number == 3 { _ = try await store.snapshot(named: SnapshotName("s")!) }
    }
    try await store.close()
    for resets in [false, true] {
      let folder = try StoreFolder(disk, directory: "data/store/snapshots/s")
      _ = try folder.copy(to: "again-\(resets)/store", isLinking: true, resetsPositions: resets)
      let restored = try SnapshotTests.open(disk, "again-\(resets)/store")
      #expect(try await restored.positions().isEmpty == resets)
      // The same log from its beginning: what the store has is skipped, or taken in again over itself.
      for batch in log { _ = try await restored.append(batch) }
      #expect(try await SnapshotTests.difference(restored, model) == nil, "positions reset: \(resets)")
      try await restored.compact()
      #expect(try await SnapshotTests.difference(restored, model) == nil, "positions reset: \(resets), merged")
      try await restored.close()
    }
  }

  @Test func nothingIsWrittenOver() async throws {
    let disk = SimulatedDisk(seed: 3)
    let store = try SnapshotTests.open(disk)
    var model = StoreModel()
    var offset: Int64 = 0
    try await SnapshotTests.fill(store, &model, seed: 1, offset: &offset)
    _ = try await store.snapshot(named: SnapshotName("s")!)
    // A running store is not copied behind its back, and its folder is nobody's target.
    let live = try StoreFolder(disk, directory: "data/store")
    #expect(live.isLive)
    #expect(throws: StoreError.self) { try live.copy(to: "b", isLinking: false) }
    let folder = try StoreFolder(disk, directory: "data/store/snapshots/s")
    #expect(throws: StoreError.self) { try folder.copy(to: "data/store", isLinking: false) }
    try disk.createDirectory("empty")
    _ = try folder.copy(to: "empty", isLinking: false)
    #expect(throws: StoreError.self) { try folder.copy(to: "empty", isLinking: false) }
    #expect(try await SnapshotTests.difference(store, model) == nil)
    try await store.close()
  }

  @Test func aDamagedBlockIsNotRestored() async throws {
    let disk = SimulatedDisk(seed: 3)
    let store = try SnapshotTests.open(disk)
    var model = StoreModel()
    var offset: Int64 = 0
    try await SnapshotTests.fill(store, &model, seed: 1, offset: &offset)
    _ = try await store.snapshot(named: SnapshotName("s")!)
    try await store.close()
    let path = try #require(disk.files().map(\.path).first { $0.contains("snapshots/s/blocks/") })
    disk.flipBit(path, byte: 30, bit: 2)
    let folder = try StoreFolder(disk, directory: "data/store/snapshots/s")
    #expect(throws: StoreError.self) { try folder.copy(to: "other", isLinking: false) }
    #expect(try !disk.exists("other") && !disk.exists("other.partial"))
  }

  @Test func namesOfSnapshots() {
    for name in ["a", "2026-01-01T00-00-00Z", "before.upgrade_2"] { #expect(SnapshotName(name) != nil, "\(name)") }
    for name in ["", ".", "..", "a/b", "a b", ".hidden", "x.partial", String(repeating: "a", count: 129), "ä"] {
      #expect(SnapshotName(name) == nil, "\(name)")
    }
    #expect(SnapshotName.of(Timestamp(milliseconds: 1_767_225_600_000)).text == "2026-01-01T00-00-00Z")
  }

  /// The power goes, or a call fails, at each of the operations of a snapshot and of a restore in turn.
  @Test(arguments: [false, true]) func everyStepMayBeTheLast(_ hasNoLinks: Bool) async throws {
    for seed in SeedRange.schedules(2, environment: ProcessInfo.processInfo.environment) {
      var step = 1
      var wasWhole = 0
      while wasWhole < 3 {
        let disk = SimulatedDisk(seed: seed &* 1009 &+ UInt64(step))
        var store = try SnapshotTests.open(disk)
        var model = StoreModel()
        var offset: Int64 = 0
        try await SnapshotTests.fill(store, &model, seed: seed, batches: 3, offset: &offset)
        try await store.flush()
        let what = "seed \(seed), step \(step)\(hasNoLinks ? ", copies" : "")"
        disk.setFaults { $0.hasNoLinks = hasNoLinks }
        disk.crash(afterOperations: step)
        let name = SnapshotName("s")!
        let made = try? await store.snapshot(named: name)
        var restored: SnapshotSummary?
        if made != nil {
          let folder = try? StoreFolder(disk, directory: "data/store/snapshots/s")
          restored = try? folder?.copy(to: "copy/store", isLinking: false).summary
        }
        if restored != nil { wasWhole += 1 }
        disk.restart()
        store = try SnapshotTests.open(disk)
        #expect(try await SnapshotTests.difference(store, model) == nil, "\(what): the store itself")
        for path in ["data/store/snapshots/s", "copy/store"] where try disk.exists(path) {
          // What has its name is whole, also where the call said that it failed.
          let folder = try StoreFolder(disk, directory: path)
          #expect(try StoreVerification(folder).findings == [], "\(what): \(path)")
          let opened = try SnapshotTests.open(disk, path)
          #expect(try await SnapshotTests.difference(opened, model) == nil, "\(what): \(path)")
          try await opened.close()
        }
        if made != nil { #expect(try disk.exists("data/store/snapshots/s"), "\(what): it was made") }
        if restored != nil { #expect(try disk.exists("copy/store"), "\(what): it was restored") }
        // What was not finished is gone, or made anew.
        #expect(!disk.files().contains { $0.path.hasPrefix("data/store/snapshots/s.partial") }, "\(what)")
        if try !disk.exists("data/store/snapshots/s") { _ = try await store.snapshot(named: name) }
        if try !disk.exists("copy/store") {
          _ = try StoreFolder(disk, directory: "data/store/snapshots/s").copy(to: "copy/store", isLinking: false)
        }
        let again = try SnapshotTests.open(disk, "copy/store")
        #expect(try await SnapshotTests.difference(again, model) == nil, "\(what): made anew")
        step += 1
      }
      #expect(step > 10, "seed \(seed): a snapshot and a restore took \(step) operations")
    }
  }
}
