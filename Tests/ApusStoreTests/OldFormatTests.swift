// Goal: files that a released version wrote stay readable for ever. Method: a store of each format version lies in
// Fixtures/store-vN, written by that version from the batches below; it is opened from a copy and must answer the same.
// A new format version adds a folder here and removes none.

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Testing

@Suite struct OldFormatTests {
  private let partition = LogPartition(topic: "gpu-telemetry", partition: 3)

  /// What every fixture holds: each codec, gaps, odd values, several sets, single series and a delete.
  private func batches(version: Int) -> [StoreBatch] {
    var items: [StoreBatch.Item] = []
    let set = StoreConformance.set(host: "node-1", gpus: 2)
    for index in 0..<150 {
      var absent = Bitmap(count: set.count)
      if index % 10 == 0 { absent[1] = true }
      let row = Double(index)
      let values = [
        400 + Double(index * 7919 % 1000) / 1000, 250 + row / 8, 40 + (row / 30).rounded(.down), 42,
        1e12 + row * 4_000_123,
        .pi * row,
      ]
      items.append(
        .init(
          offset: Int64(index),
          content: .scrape(
            Scrape(
              set: set,
              timestamp: Timestamp(milliseconds: 1_767_225_600_000 + Int64(index) * 10_000 + Int64(index % 3)),
              values: values, absent: absent))))
    }
    let odd: [Double] = [
      .nan, StaleMarker.value, .infinity, -0.0, 0.1, .greatestFiniteMagnitude, .leastNonzeroMagnitude,
    ]
    let samples = SeriesSamples(
      labels: Labels([("__name__", "odd"), ("name", "ä €")]), timestamps: odd.indices.map { Int64($0) - 3 }, values: odd
    )
    items.append(.init(offset: 160, content: .samples([samples])))
    if version >= 2 {
      // What repeats is what the codecs of values do not see and zstd does.
      let other = StoreConformance.set(host: "node-2", gpus: 2)
      for index in 0..<150 {
        let noise = index % 7 * 7919 % 1000
        let values: [Double] = (0..<other.count).map { Double(noise + $0) / 1000 }
        items.append(
          .init(
            offset: 161,
            content: .scrape(
              Scrape(
                set: other, timestamp: Timestamp(milliseconds: 1_767_225_600_000 + Int64(index) * 10_000),
                values: values))))
      }
    }
    return [StoreBatch(partition: partition, items: items, nextOffset: 170)]
  }

  private let deleted: (matchers: [Matcher], range: TimeRange) = (
    [.metric("temperature"), .notEqual("gpu", "0")],
    TimeRange(start: Timestamp(milliseconds: 1_767_225_700_000), end: Timestamp(milliseconds: 1_767_225_800_000))
  )

  private func open(
    _ disk: any Disk, _ compression: EmbeddedStore.Configuration.Compression = .zstd(level: 1)
  ) throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.compression = compression
    configuration.hasThreads = false
    configuration.rollups = [300_000, 900_000].map { RollupLevel(resolutionMilliseconds: $0) }
    configuration.rollupSpanMilliseconds = 900_000
    configuration.rollupDelayMilliseconds = 0
    configuration.rollupSamplesMin = 1
    return try EmbeddedStore(
      disk: disk, directory: "store", clock: ManualClock(now: 1_767_312_000_000), configuration: configuration)
  }

  private func fill(_ store: EmbeddedStore, version: Int) async throws {
    for batch in batches(version: version) { _ = try await store.append(batch) }
    try await store.delete(deleted.matchers, in: deleted.range)
  }

  private func check(_ disk: any Disk, version: Int) async throws {
    var model = StoreModel()
    for batch in batches(version: version) { model.append(batch) }
    model.delete(deleted.matchers, in: deleted.range)
    let store = try open(disk)
    #expect(StoreModel.difference(try await store.select(SelectRequest([])), model.select(SelectRequest([]))) == nil)
    #expect(try await store.positions()[partition] == StorePosition(appended: 170, durable: 170))
    #expect(try await store.descriptors().map(\.name) == ["power"])
    try await store.compact()
    #expect(StoreModel.difference(try await store.select(SelectRequest([])), model.select(SelectRequest([]))) == nil)
  }

  /// Versions of the block's format; the manifest's are its own.
  @Test(arguments: [("store-v1", 1, "1"), ("store-v2", 2, "1"), ("store-v2-merged", 2, "2")])
  func earlierVersions(_ name: String, _ version: Int, _ number: String) async throws {
    let folder = Disks.join(Disks.directory(of: #filePath), "Fixtures/\(name)")
    let fixture = try PosixDisk(root: folder)
    let disk = SimulatedDisk(seed: 1)
    try disk.createDirectory("store/blocks")
    let block = "\(number).block"
    for (name, path) in [("MANIFEST", "store/MANIFEST"), (block, "store/blocks/000000000000000\(number).block")] {
      let bytes = try fixture.readFile(name)
      #expect(bytes.count > 60 && bytes.count < 10_000, "\(name) has \(bytes.count) bytes")
      if name == block { #expect(bytes[8] == UInt8(version), "\(name) has version \(bytes[8])") }
      try disk.open(path, .create).write(bytes, at: 0)
    }
    let report = try #require(try StoreInspection(StoreFolder(disk, directory: "store")).blocks.first)
    #expect(report.metrics.values.contains { $0.keys.contains("coded") } == (name == "store-v2-merged"))
    try await check(disk, version: version)
  }

  /// Version 2 of the manifest: a block and its roll-ups at two resolutions.
  @Test func rollups() async throws {
    let folder = Disks.join(Disks.directory(of: #filePath), "Fixtures/store-rollups")
    let fixture = try PosixDisk(root: folder)
    let disk = SimulatedDisk(seed: 1)
    try disk.createDirectory("store/blocks")
    let files = [2, 7, 8].map { ("\($0).block", "store/blocks/000000000000000\($0).block", UInt8(1)) }
    for (name, path, version) in [("MANIFEST", "store/MANIFEST", 2)] + files {
      let bytes = try fixture.readFile(name)
      #expect(bytes.count > 60 && bytes.count < 10_000, "\(name) has \(bytes.count) bytes")
      #expect(bytes[8] == version, "\(name) has version \(bytes[8])")
      try disk.open(path, .create).write(bytes, at: 0)
    }
    let store = try open(disk)
    var model = StoreModel()
    for batch in batches(version: 1) { model.append(batch) }
    model.delete(deleted.matchers, in: deleted.range)
    let range = TimeRange(
      start: Timestamp(milliseconds: 1_767_225_600_000), end: Timestamp(milliseconds: 1_767_226_499_999))
    for step in [300_000, 900_000] as [Int64] {
      let request = AggregateRequest([], in: range, step: step, functions: [.minimum, .maximum, .sum, .count, .last])
      let answer = try await store.aggregate(request)
      #expect(model.difference(answer, request) == nil && answer.resolution == step)
    }
    try await store.close()
    try await check(disk, version: 1)
  }

  @Test(arguments: [EmbeddedStore.Configuration.Compression.none, .zstd(level: 1), .zstd(level: 19)])
  func theVersionOfToday(_ compression: EmbeddedStore.Configuration.Compression) async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try open(disk, compression)
    try await fill(store, version: 2)
    try await store.close()
    try await check(disk, version: 2)
  }
}
