// Goal: what the embedded store does beyond the protocol: retention, limits, full disks, announcements, its lock, and exact
// answers while it seals and merges under load. Method: a manual clock and a simulated disk; threads for the last.

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Synchronization
import Testing

@Suite struct EmbeddedStoreTests {
  private let partition = LogPartition(topic: "gpu-telemetry", partition: 0)

  private func open(
    _ disk: any Disk, _ clock: ManualClock = ManualClock(),
    _ change: (inout EmbeddedStore.Configuration) -> Void = { _ in }
  ) throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = false
    change(&configuration)
    return try EmbeddedStore(disk: disk, directory: "store", clock: clock, configuration: configuration)
  }

  private func sample(_ name: String, _ timestamp: Int64, _ value: Double) -> StoreBatch.Item.Content {
    .samples([SeriesSamples(labels: Labels([("__name__", name)]), timestamps: [timestamp], values: [value])])
  }

  private func batch(_ contents: [StoreBatch.Item.Content], from offset: Int64) -> StoreBatch {
    StoreBatch(
      partition: partition,
      items: contents.enumerated().map { .init(offset: offset + Int64($0.offset), content: $0.element) },
      nextOffset: offset + Int64(contents.count))
  }

  @Test func aFolderIsOpenedOnceAtATime() async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try open(disk)
    #expect(throws: StoreError.self) { try open(disk) }
    try await store.close()
    let again = try open(disk)
    try await again.close()
    await #expect(throws: StoreError.self) { try await again.select(SelectRequest([])) }
    await #expect(throws: StoreError.self) { try await again.append(batch([sample("x", 1, 1)], from: 0)) }
    await #expect(throws: StoreError.self) { try await again.flush() }
  }

  @Test func settingsAreChecked() {
    for change in [
      { $0.headBytes = 1 }, { $0.headBytesMax = 1 << 16 }, { $0.retentionMilliseconds = 0 }, { $0.retentionBytes = -1 },
      { $0.seriesLimit = 0 }, { $0.partitionMilliseconds = 5 }, { $0.readerThreads = 0 }, { $0.tickMilliseconds = 0 },
      { $0.headSpanMilliseconds = 0 },
    ] as [(inout EmbeddedStore.Configuration) -> Void] {
      #expect(throws: StoreError.self) { try open(SimulatedDisk(seed: 1), ManualClock(), change) }
    }
  }

  @Test func theHeadIsSealedByAge() async throws {
    let clock = ManualClock()
    let seen = SharedPositions()
    let store = try open(SimulatedDisk(seed: 1), clock) { configuration in
      configuration.onDurable = { positions in seen.positions.withLock { $0 = positions } }
    }
    _ = try await store.append(batch([sample("x", 5, 1)], from: 0))
    try store.maintain()
    #expect(try await store.statistics().blocks == 0)
    #expect(try await store.positions()[partition] == StorePosition(appended: 1, durable: 0))
    clock.advance(milliseconds: 2 * 3600 * 1000)
    try store.maintain()
    let statistics = try await store.statistics()
    #expect(statistics.blocks == 1 && statistics.samplesInHead == 0 && statistics.samplesInBlocks == 1)
    #expect(statistics.bytesOnDisk > 100 && statistics.bytesByPart["values"]! > 0)
    #expect(try await store.positions()[partition] == StorePosition(appended: 1, durable: 1))
    #expect(seen.positions.withLock { $0 } == [partition: 1])
    #expect(statistics.oldestSample == Timestamp(milliseconds: 5))
  }

  /// A head that is mostly labels is not sealed after every scrape, and is sealed when the samples weigh as much.
  @Test func manySeriesDoNotSealAtEveryScrape() async throws {
    let store = try open(SimulatedDisk(seed: 1), ManualClock()) { $0.headBytes = 1 << 16 }
    let series = (0..<500).map { number in
      Labels([("__name__", "m"), ("pod", "a-pod-with-a-long-name-\(number)"), ("gpu", "\(number)")])
    }
    let set = SeriesSet(series: series)
    func append(_ round: Int) async throws {
      let scrape = Scrape(
        set: set, timestamp: Timestamp(milliseconds: Int64(round) * 10_000),
        values: (0..<500).map { Double($0) + Double(round) * 0.37 })
      _ = try await store.append(
        StoreBatch(
          partition: partition, items: [.init(offset: Int64(round), content: .scrape(scrape))],
          nextOffset: Int64(round) + 1))
      try store.maintain()
    }
    try await append(0)
    let first = try await store.statistics()
    #expect(first.headBytes > 1 << 16, "the labels alone are beyond what was asked for")
    #expect(first.blocks == 0)
    var round = 1
    while try await store.statistics().blocks == 0, round < 1000 {
      try await append(round)
      round += 1
    }
    #expect(round > 10 && round < 1000, "sealed after \(round) scrapes")
  }

  @Test func positionsMoveWithoutSamples() async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try open(disk)
    _ = try await store.append(StoreBatch(partition: partition, items: [], nextOffset: 42))
    try await store.close()
    let again = try open(disk)
    #expect(try await again.positions()[partition] == StorePosition(appended: 42, durable: 42))
  }

  @Test func retentionByAge() async throws {
    let day: Int64 = 86_400_000
    let clock = ManualClock(now: 100 * day)
    let store = try open(SimulatedDisk(seed: 1), clock) {
      $0.retentionMilliseconds = 10 * day
      $0.blockSamplesMin = 1
      // Samples do not wait for a roll-up that outlives them.
      $0.makesRollups = false
    }
    let outcome = try await store.append(
      batch([sample("x", 89 * day, 1), sample("x", 91 * day, 2), sample("x", 99 * day, 3)], from: 0))
    #expect(outcome.samplesTooOld == 1 && outcome.samplesAccepted == 2)
    try await store.flush()
    #expect(try await store.statistics().blocks == 2)
    clock.advance(milliseconds: 2 * day)
    #expect(try await store.select(SelectRequest([])).first?.values == [3], "what is too old is not answered")
    #expect(
      try await store.series([], in: TimeRange(start: .init(milliseconds: 0), end: .init(milliseconds: 92 * day)))
        .isEmpty)
    try store.maintain()
    #expect(try await store.statistics().blocks == 1)
    clock.advance(milliseconds: 20 * day)
    try store.maintain()
    #expect(try await store.statistics().blocks == 0)
  }

  @Test func retentionBySize() async throws {
    let day: Int64 = 86_400_000
    let disk = SimulatedDisk(seed: 1)
    let store = try open(disk) { $0.retentionBytes = 2500 }
    var random = Seed(3)
    for index in 0..<20 {
      let values = (0..<100).map { _ in Double.random(in: 0...1, using: &random) }
      let samples = SeriesSamples(
        labels: Labels([("__name__", "x")]), timestamps: (0..<100).map { Int64(index) * day + $0 }, values: values)
      _ = try await store.append(batch([.samples([samples])], from: Int64(index)))
      try await store.flush()
      try store.maintain()
      let statistics = try await store.statistics()
      #expect(statistics.bytesOnDisk < 2500 + 200, "\(statistics.bytesByPart)")
    }
    let kept = try await store.select(SelectRequest([])).first?.timestamps
    #expect(kept?.last == 19 * day + 99, "the newest stay")
    #expect(kept?.first ?? 0 > day, "the oldest went")
    #expect(disk.files().filter { $0.path.hasSuffix(".block") }.count == (try await store.statistics().blocks))
  }

  @Test func newSeriesAreLimitedAndOldOnesGoOn() async throws {
    let disk = SimulatedDisk(seed: 1)
    let clock = ManualClock()
    var store = try open(disk, clock) { $0.seriesLimit = 10 }
    func set(_ names: Range<Int>) -> SeriesSet { SeriesSet(series: names.map { Labels([("__name__", "m\($0)")]) }) }
    func scrape(_ set: SeriesSet, _ timestamp: Int64) -> StoreBatch.Item.Content {
      .scrape(
        Scrape(
          set: set, timestamp: Timestamp(milliseconds: timestamp), values: [Double](repeating: 1, count: set.count)))
    }
    var outcome = try await store.append(batch([scrape(set(0..<8), 1)], from: 0))
    #expect(outcome.samplesAccepted == 8)
    outcome = try await store.append(batch([scrape(set(4..<14), 2)], from: 1))
    #expect(outcome.samplesAccepted == 6 && outcome.samplesOverSeriesLimit == 4)
    outcome = try await store.append(batch([scrape(set(4..<14), 3), sample("new", 3, 1), sample("m1", 4, 1)], from: 2))
    #expect(outcome.samplesAccepted == 7 && outcome.samplesOverSeriesLimit == 5)
    #expect(try await store.series([], in: .all).count == 10)
    #expect(try await store.statistics().seriesRejected == 5)
    for _ in 0..<2 {
      // Neither a seal nor a restart lets new ones in before the window has passed, and the old ones always may.
      try await store.flush()
      let next = try await store.positions()[partition]!.appended
      outcome = try await store.append(batch([scrape(set(0..<14), 10 + next), sample("m9", 50 + next, 1)], from: next))
      #expect(outcome.samplesAccepted == 11 && outcome.samplesOverSeriesLimit == 4)
    }
    try await store.close()
    store = try open(disk, clock) { $0.seriesLimit = 1 }
    let next = try await store.positions()[partition]!.appended
    outcome = try await store.append(
      batch([sample("fresh", 900, 1), sample("m3", 900, 1), sample("n", 900, 1)], from: next))
    #expect(outcome.samplesAccepted == 2 && outcome.samplesOverSeriesLimit == 1)
    clock.advance(milliseconds: 5 * 3600 * 1000)
    try await store.flush()
  }

  @Test func aFullDiskLosesNothingAndIsReported() async throws {
    let disk = SimulatedDisk(seed: 1)
    let clock = ManualClock()
    let store = try open(disk, clock) {
      $0.headBytes = 1 << 16
      $0.headBytesMax = 1 << 17
    }
    var model = StoreModel()
    disk.setCapacity(disk.usedBytes)
    var offset: Int64 = 0
    var refused: StoreError?
    var random = Seed(1)
    while refused == nil && offset < 100_000 {
      let samples = SeriesSamples(
        labels: Labels([("__name__", "m\(offset % 50)")]), timestamps: [offset], values: [Double(random.next())])
      let next = batch([.samples([samples])], from: offset)
      do {
        _ = try await store.append(next)
        model.append(next)
        offset += 1
      } catch { refused = error }
      clock.advance(milliseconds: 100)
      if offset % 100 == 0 { try? store.maintain() }
    }
    guard case .headFull(let bytes, let limit, let cause)? = refused else {
      Issue.record("the head grew without end: \(String(describing: refused))")
      return
    }
    #expect(bytes > limit && limit == 1 << 17 && cause?.contains("disk is full") == true)
    #expect(try await store.statistics().lastFailure != nil)
    #expect(StoreModel.difference(try await store.select(SelectRequest([])), model.select(SelectRequest([]))) == nil)
    disk.setCapacity(.max)
    clock.advance(milliseconds: 60_000)
    try store.maintain()
    let next = batch([sample("after", 1, 1)], from: offset)
    _ = try await store.append(next)
    model.append(next)
    #expect(try await store.statistics().lastFailure == nil)
    #expect(StoreModel.difference(try await store.select(SelectRequest([])), model.select(SelectRequest([]))) == nil)
  }

  @Test func scatteredSamplesMakeFewBlocks() async throws {
    let store = try open(SimulatedDisk(seed: 1))
    var offset: Int64 = 0
    for index in 0..<3000 {
      _ = try await store.append(batch([sample("x", Int64(index) * 7 * 86_400_000, 1)], from: offset))
      offset += 1
    }
    try await store.flush()
    #expect(try await store.statistics().blocks == 1)
    #expect(try await store.select(SelectRequest([])).first?.values.count == 3000)
  }

  @Test func deletesAreTakenOutByCompaction() async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try open(disk)
    for index in 0..<10 {
      _ = try await store.append(
        batch([sample("a", Int64(index), 1), sample("b", Int64(index), 2)], from: Int64(index) * 2))
    }
    try await store.delete([.metric("a")], in: .all)
    var statistics = try await store.statistics()
    #expect(statistics.samplesInBlocks == 20 && statistics.bytesByPart["tombstones"]! > 0)
    try await store.compact()
    statistics = try await store.statistics()
    #expect(statistics.samplesInBlocks == 10 && statistics.bytesByPart["tombstones"] == 0)
    #expect(try await store.labelValues("__name__", [], in: .all) == ["b"])
    try await store.delete([], in: .all)
    try await store.compact()
    #expect(try await store.statistics().blocks == 0)
  }

  @Test func manyDeletesDoNotPileUp() async throws {
    let store = try open(SimulatedDisk(seed: 1))
    for index in 0..<100 {
      _ = try await store.append(batch([sample("a", Int64(index), Double(index))], from: Int64(index)))
      let instant = Timestamp(milliseconds: Int64(index))
      if index % 2 == 0 { try await store.delete([.metric("a")], in: TimeRange(start: instant, end: instant)) }
      for _ in 0..<3 { try store.maintain() }
      #expect(try await store.statistics().bytesByPart["tombstones"]! < 40 * 40)
    }
    #expect(try await store.select(SelectRequest([])).first?.values == (0..<50).map { Double($0 * 2 + 1) })
  }

  @Test func closingOnAFullDiskLetsGoOfTheFolder() async throws {
    let disk = SimulatedDisk(seed: 1)
    let store = try open(disk)
    _ = try await store.append(batch([sample("a", 1, 1)], from: 0))
    disk.setCapacity(disk.usedBytes)
    await #expect(throws: StoreError.self) { try await store.close() }
    disk.setCapacity(.max)
    let again = try open(disk)
    #expect(try await again.positions().isEmpty, "what was not written is replayed from the log")
    try await again.close()
  }

  @Test func seriesOfOneSetShareTheirTimestamps() async throws {
    let store = try open(SimulatedDisk(seed: 1))
    let set = StoreConformance.set(host: "a", gpus: 4)
    for index in 0..<300 {
      let scrape = Scrape(
        set: set, timestamp: Timestamp(milliseconds: Int64(index)), values: [Double](repeating: 1, count: set.count))
      _ = try await store.append(batch([.scrape(scrape)], from: Int64(index)))
    }
    for request in [SelectRequest([]), SelectRequest([], newest: 7)] {
      let columns = try await store.select(request)
      let bases = Set(columns.map { $0.timestamps.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) } })
      #expect(columns.count == set.count && bases.count == 1)
    }
  }

  /// Each value tells its series and instant, so every answer can be checked by itself.
  @Test func answersAreExactWhileSealingAndMerging() async throws {
    let store = try EmbeddedStore(disk: SimulatedDisk(seed: 1), directory: "store", clock: ManualClock())
    let sets = (0..<3).map { StoreConformance.set(host: "h\($0)", gpus: 2) }
    let total = 1500
    let counter = SharedCounter()
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        for index in 0..<total {
          let items = sets.enumerated().map { number, set in
            StoreBatch.Item(
              offset: Int64(index),
              content: .scrape(
                Scrape(
                  set: set, timestamp: Timestamp(milliseconds: Int64(index) * 60_000),
                  values: (0..<set.count).map { Double(index * 1000 + number * 100 + $0) })))
          }
          _ = try await store.append(
            StoreBatch(partition: self.partition, items: items, nextOffset: Int64(index) + 1))
          counter.value.store(index + 1, ordering: .releasing)
        }
      }
      group.addTask {
        while counter.value.load(ordering: .acquiring) < total {
          try await store.flush()
          try await store.compact()
        }
      }
      for _ in 0..<2 {
        group.addTask {
          var last = 0
          while last < total {
            last = counter.value.load(ordering: .acquiring)
            let columns = try await store.select(SelectRequest([]))
            if last == 0 { continue }
            #expect(columns.count == 18)
            for column in columns {
              let host = Int(column.labels["Hostname"]!.dropFirst())!
              let row = sets[host].series.firstIndex(of: column.labels)!
              #expect(column.values.count >= last, "\(column.values.count) of at least \(last)")
              for (index, value) in column.values.enumerated() {
                guard column.timestamps[index] == Int64(index) * 60_000,
                  value == Double(index * 1000 + host * 100 + row)
                else {
                  Issue.record("\(column.labels) at \(index) is \(value)")
                  break
                }
              }
            }
          }
        }
      }
      try await group.waitForAll()
    }
    try await store.close()
  }
}

private final class SharedPositions: Sendable {
  let positions = Mutex<[LogPartition: Int64]>([:])
}

private final class SharedCounter: Sendable {
  let value = Atomic<Int>(0)
}
