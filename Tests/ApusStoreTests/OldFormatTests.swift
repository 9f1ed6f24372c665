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
  private func batches() -> [StoreBatch] {
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
    return [StoreBatch(partition: partition, items: items, nextOffset: 170)]
  }

  private let deleted: (matchers: [Matcher], range: TimeRange) = (
    [.metric("temperature"), .notEqual("gpu", "0")],
    TimeRange(start: Timestamp(milliseconds: 1_767_225_700_000), end: Timestamp(milliseconds: 1_767_225_800_000))
  )

  private func open(_ disk: any Disk) throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = false
    return try EmbeddedStore(disk: disk, directory: "store", clock: ManualClock(), configuration: configuration)
  }

  private func fill(_ store: EmbeddedStore) async throws {
    for batch in batches() { _ = try await store.append(batch) }
    try await store.delete(deleted.matchers, in: deleted.range)
  }

  private func check(_ disk: any Disk) async throws {
    var model = StoreModel()
    for batch in batches() { model.append(batch) }
    model.delete(deleted.matchers, in: deleted.range)
    let store = try open(disk)
    #expect(StoreModel.difference(try await store.select(SelectRequest([])), model.select(SelectRequest([]))) == nil)
    #expect(try await store.positions()[partition] == StorePosition(appended: 170, durable: 170))
    #expect(try await store.descriptors().map(\.name) == ["power"])
    try await store.compact()
    #expect(StoreModel.difference(try await store.select(SelectRequest([])), model.select(SelectRequest([]))) == nil)
  }

  @Test func versionOne() async throws {
    let folder = Disks.join(Disks.directory(of: #filePath), "Fixtures/store-v1")
    let fixture = try PosixDisk(root: folder)
    let disk = SimulatedDisk(seed: 1)
    try disk.createDirectory("store/blocks")
    for (name, path) in [("MANIFEST", "store/MANIFEST"), ("1.block", "store/blocks/0000000000000001.block")] {
      let bytes = try fixture.readFile(name)
      #expect(bytes.count > 100 && bytes.count < 10_000, "\(name) has \(bytes.count) bytes")
      try disk.open(path, .create).write(bytes, at: 0)
    }
    try await check(disk)
  }

  @Test func theVersionOfToday() async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try open(disk)
    try await fill(store)
    try await store.close()
    try await check(disk)
  }
}
