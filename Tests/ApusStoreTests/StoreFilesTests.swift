// Goal: what is told of a store's files is what they are: bytes by part add up to the lengths on disk, verification names
// what is damaged and where, and compression changes nothing but the size. Method: stores on a simulated disk are written
// in both ways, damaged byte by byte, and looked at without being opened.

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Testing

@Suite struct StoreFilesTests {
  private static let partition = LogPartition(topic: "t", partition: 0)
  typealias Compression = EmbeddedStore.Configuration.Compression

  private static func open(
    _ disk: any Disk, _ compression: Compression = .zstd(level: 1), clock: ManualClock = ManualClock(),
    _ change: (inout EmbeddedStore.Configuration) -> Void = { _ in }
  ) throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = false
    configuration.compression = compression
    configuration.blockSamplesMin = 1000
    change(&configuration)
    return try EmbeddedStore(disk: disk, directory: "store", clock: clock, configuration: configuration)
  }

  /// GPUs with a load that repeats: what the codecs of single series do not see.
  private static func fill(
    _ store: EmbeddedStore, hosts: Int, rows: Int, from start: Int64 = 1_767_225_600_000
  ) async throws -> StoreModel {
    var model = StoreModel()
    var offset = try await store.positions()[partition]?.appended ?? 0
    var random = Seed(UInt64(bitPattern: start) ^ UInt64(hosts))
    let noise = (0..<61).map { _ in Double(random.below(700_000)) / 1000 }
    let sets = (0..<hosts).map { StoreConformance.set(host: "node-\($0)", gpus: 8) }
    for row in 0..<rows {
      var items: [StoreBatch.Item] = []
      for set in sets {
        let values: [Double] = (0..<set.count).map { noise[(row + $0) % noise.count] }
        let instant = Timestamp(milliseconds: start + Int64(row) * 10_000)
        items.append(.init(offset: offset, content: .scrape(Scrape(set: set, timestamp: instant, values: values))))
        offset += 1
      }
      let batch = StoreBatch(partition: partition, items: items, nextOffset: offset)
      _ = try await store.append(batch)
      model.append(batch)
    }
    return model
  }

  private static func bytesOfFiles(_ disk: SimulatedDisk, below folder: String) -> Int64 {
    disk.files().filter { $0.path.hasPrefix(folder + "/") }.reduce(0) { $0 + Int64($1.length) }
  }

  @Test(arguments: [Compression.none, .zstd(level: 1)]) func partsAddUpToTheFiles(_ compression: Compression)
    async throws
  {
    let disk = SimulatedDisk(seed: 1)
    let store = try StoreFilesTests.open(disk, compression)
    func check(_ what: String) async throws {
      let statistics = try await store.statistics()
      let beside = ["store/quarantine", "store/snapshots"].map { StoreFilesTests.bytesOfFiles(disk, below: $0) }
      let own = StoreFilesTests.bytesOfFiles(disk, below: "store") - beside.reduce(0, +)
      #expect(statistics.bytesOnDisk == own, "\(what): \(statistics.bytesByPart)")
      #expect(statistics.bytesByPart.values.allSatisfy { $0 >= 0 }, "\(what): \(statistics.bytesByPart)")
      #expect(statistics.bytesByPart["quarantine"] == beside[0], "\(what)")
    }
    try await check("empty")
    _ = try await StoreFilesTests.fill(store, hosts: 3, rows: 500)
    let work = try await store.flush()
    #expect(work.blocksWritten == 1 && work.samples == 3 * 24 * 500)
    try await check("sealed")
    _ = try await StoreFilesTests.fill(store, hosts: 4, rows: 50, from: 1_767_225_601_000)
    try await store.delete([.metric("power")], in: .all)
    try await check("with a tombstone")
    _ = try await store.snapshot(named: SnapshotName("s")!)
    let shared = try await store.statistics().bytesByPart["snapshots"] ?? 0
    #expect(shared == Int64(try disk.readFile("store/snapshots/s/MANIFEST").count), "blocks are shared")
    let merged = try await store.compact()
    #expect(merged.blocksMerged == 2 && merged.blocksWritten == 1)
    try await check("merged")
    #expect(try await store.compact() == StoreWork(), "nothing is left to merge")
    // The snapshot's blocks are no longer the store's own.
    _ = try await store.snapshot(named: SnapshotName("t")!)
    let snapshots = try await store.statistics().bytesByPart["snapshots"]
    let manifestOfT = Int64(try disk.readFile("store/snapshots/t/MANIFEST").count)
    #expect(snapshots == StoreFilesTests.bytesOfFiles(disk, below: "store/snapshots/s") + manifestOfT)
    try await store.close()
  }

  @Test func compressionChangesOnlyTheSize() async throws {
    var sizes: [Int64] = []
    for compression in [Compression.none, .zstd(level: 1), .zstd(level: 9)] {
      let disk = SimulatedDisk(seed: 1)
      var store = try StoreFilesTests.open(disk, compression) { $0.expandedBytesMax = 64 << 10 }
      let model = try await StoreFilesTests.fill(store, hosts: 5, rows: 1500)
      try await store.flush()
      sizes.append(try await store.statistics().bytesOnDisk)
      for _ in 0..<2 {
        #expect(
          StoreModel.difference(try await store.select(SelectRequest([])), model.select(SelectRequest([]))) == nil)
        let one = SelectRequest([.metric("temperature"), .equal("gpu", "3")], newest: 1)
        #expect(StoreModel.difference(try await store.select(one), model.select(one)) == nil)
        // Again from the file.
        try await store.close()
        store = try StoreFilesTests.open(disk, compression) { $0.expandedBytesMax = 0 }
      }
      let inspection = try StoreInspection(StoreFolder(disk, directory: "store"))
      #expect(inspection.blocks.map(\.version) == [compression == .none ? 1 : 2])
      #expect(inspection.blocks.allSatisfy { ($0.compressed.count > 0) == (compression != .none) })
      try await store.close()
    }
    #expect(sizes[1] < sizes[0] / 4 * 3 && sizes[2] <= sizes[1], "\(sizes)")
  }

  /// Blocks of both versions are merged with each other, whichever is written.
  @Test func versionsMix() async throws {
    let disk = SimulatedDisk(seed: 1)
    var models: [StoreModel] = []
    for (index, compression) in [Compression.none, .zstd(level: 1), .none].enumerated() {
      let store = try StoreFilesTests.open(disk, compression)
      let start = 1_767_225_600_000 + Int64(index) * 1000
      models.append(try await StoreFilesTests.fill(store, hosts: 2, rows: 100, from: start))
      try await store.close()
    }
    for compression in [Compression.zstd(level: 1), .none] {
      let store = try StoreFilesTests.open(disk, compression)
      try await store.compact()
      for (index, model) in models.enumerated() {
        for row in [0, 99] {
          let instant = Timestamp(milliseconds: 1_767_225_600_000 + Int64(index) * 1000 + Int64(row) * 10_000)
          let request = SelectRequest([], in: TimeRange(start: instant, end: instant))
          #expect(StoreModel.difference(try await store.select(request), model.select(request)) == nil)
        }
      }
      try await store.close()
    }
  }

  @Test func verificationNamesWhatIsDamaged() async throws {
    for compression in [Compression.none, .zstd(level: 1)] {
      let disk = SimulatedDisk(seed: 1)
      let store = try StoreFilesTests.open(disk, compression)
      _ = try await StoreFilesTests.fill(store, hosts: 2, rows: 40)
      try await store.close()
      let sound = try StoreVerification(StoreFolder(disk, directory: "store"))
      #expect(sound.findings == [] && sound.blocks == 1 && sound.samples == 2 * 24 * 40 && sound.series == 48)
      let block = try #require(disk.files().first { $0.path.hasSuffix(".block") })
      for byte in stride(from: 0, to: block.length, by: 3) {
        disk.flipBit(block.path, byte: byte, bit: byte % 8)
        let found = try StoreVerification(StoreFolder(disk, directory: "store"))
        #expect(found.findingCount > 0, "byte \(byte) of \(block.length)")
        #expect(found.findings.allSatisfy { $0.file == block.path && !$0.place.isEmpty }, "byte \(byte)")
        disk.flipBit(block.path, byte: byte, bit: byte % 8)
      }
      let manifest = try #require(disk.files().first { $0.path.hasSuffix("MANIFEST") })
      for byte in 0..<manifest.length {
        disk.flipBit(manifest.path, byte: byte, bit: byte % 8)
        do {
          let found = try StoreVerification(StoreFolder(disk, directory: "store"))
          #expect(found.findings.map(\.file) == [manifest.path], "manifest byte \(byte)")
        } catch {
          guard case .unsupportedVersion = error else { throw error }
        }
        disk.flipBit(manifest.path, byte: byte, bit: byte % 8)
      }
      try disk.remove(block.path)
      let missing = try StoreVerification(StoreFolder(disk, directory: "store"))
      #expect(missing.findings.map(\.file) == [block.path])
    }
  }

  @Test func inspectionAddsUp() async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try StoreFilesTests.open(disk)
    _ = try await StoreFilesTests.fill(store, hosts: 3, rows: 100)
    try await store.close()
    let report = try #require(try StoreInspection(StoreFolder(disk, directory: "store")).blocks.first)
    #expect(report.samples == 7200 && report.series == 72 && report.groups == 1 && report.labels["Hostname"] == 3)
    #expect(report.parts.reduce(0) { $0 + $1.bytes } == report.bytes)
    #expect(report.codecs.values.reduce(0) { $0 + $1.count } == 72 && report.metrics.count == 3)
    let chunks = report.codecs.values.reduce(0) { $0 + $1.bytes }
    let values = report.parts.first { $0.name == "values" }?.bytes ?? 0
    #expect(values == chunks - report.expandedBytes + report.compressed.bytes)
    let name = String(report.name.dropLast(6))
    #expect(try StoreInspection(StoreFolder(disk, directory: "store"), block: name).blocks.count == 1)
    #expect(try StoreInspection(StoreFolder(disk, directory: "store"), block: "1").blocks.count == 1)
    #expect(throws: StoreError.self) { try StoreInspection(StoreFolder(disk, directory: "store"), block: "77") }
  }

  /// Merges are held up, seals are not.
  @Test func mergesKeepTheirPace() async throws {
    let disk = SimulatedDisk(seed: 1)
    let clock = ManualClock()
    let store = try StoreFilesTests.open(disk, clock: clock) { $0.compactionBytesPerSecond = 1000 }
    for part in 0..<2 {
      _ = try await StoreFilesTests.fill(store, hosts: 2, rows: 300, from: 1_767_225_600_000 + Int64(part) * 5000)
      let before = clock.now
      try await store.flush()
      #expect(clock.now == before, "a seal is not held up")
    }
    let before = clock.now
    let work = try await store.compact()
    #expect(work.blocksMerged == 2)
    let took = clock.now - before
    #expect(took >= work.bytes * 9 / 10, "\(work.bytes) bytes at 1,000 a second took \(took) ms")
    #expect(took <= work.bytes * 11 / 10 + 100, "\(work.bytes) bytes at 1,000 a second took \(took) ms")
    try await store.close()
  }
}
