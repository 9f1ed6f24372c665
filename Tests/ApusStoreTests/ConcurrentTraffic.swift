import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Synchronization
import Testing

/// What the tasks of `StoreConcurrencyTests` do, and the truth that they share: which record wrote which value when.
final class ConcurrentTraffic: Sendable {
  static let partitions = 2
  private static let records = 260
  private static let victims = 12
  private static let stepMilliseconds: Int64 = 10_000
  /// So many records' time is kept; the rest falls to retention while the appends go on.
  private static let retentionMilliseconds: Int64 = 150 * stepMilliseconds
  private static let origin: Int64 = 1_767_225_600_000

  /// How far everything has come.
  struct Moment {
    /// Records of each partition that were acknowledged, and that were begun.
    var acknowledged = [Int](repeating: 0, count: partitions)
    var begun = [Int](repeating: 0, count: partitions)
    /// Victims whose deletion was acknowledged, and was begun.
    var deleted = 0
    var deletesBegun = 0
    /// The store's clock, in milliseconds.
    var clock = origin
    var reads = 0
    var appenders = partitions
  }

  /// The records that wrote a point, ascending, with what they wrote.
  private struct Point {
    var versions: [(record: Int, value: Double)] = []
  }

  private let disk: any Disk
  private let clock = ManualClock(now: origin)
  private let progress = Mutex(Moment())
  private let truth: [[Labels: [Int64: Point]]]

  init(disk: any Disk) {
    self.disk = disk
    truth = (0..<ConcurrentTraffic.partitions).map { ConcurrentTraffic.truth(of: $0) }
  }

  func open(hasThreads: Bool) throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = hasThreads
    configuration.headSpanMilliseconds = 20 * ConcurrentTraffic.stepMilliseconds
    configuration.headBytes = 1 << 16
    configuration.partitionMilliseconds = 60 * ConcurrentTraffic.stepMilliseconds
    configuration.blockSamplesMin = 400
    configuration.retentionMilliseconds = ConcurrentTraffic.retentionMilliseconds
    configuration.tickMilliseconds = 2
    configuration.readerThreads = 3
    return try EmbeddedStore(disk: disk, directory: "store", clock: clock, configuration: configuration)
  }

  func moment() -> Moment { progress.withLock { $0 } }

  var reads: Int { progress.withLock { $0.reads } }

  private var isRunning: Bool { progress.withLock { $0.appenders > 0 } }

  // MARK: What is written

  private static func set(_ partition: Int, hosts: Int) -> SeriesSet {
    SeriesSet(
      series: (0..<hosts * 3).map { row in
        Labels([("__name__", "metric\(row % 3)"), ("Hostname", "p\(partition)h\(row / 3)")])
      })
  }

  private static func lone(_ partition: Int) -> Labels {
    Labels([("__name__", "lone"), ("Hostname", "p\(partition)h0")])
  }

  /// Two sets take turns, so that series move from one to the other.
  private static let sets: [[SeriesSet]] = (0..<partitions).map { [set($0, hosts: 2), set($0, hosts: 3)] }

  private static func instant(_ record: Int) -> Int64 { origin + Int64(record) * stepMilliseconds }

  /// The content of a record: a scrape; now and then a late one or one for an instant that has been; a few single samples.
  private static func content(_ partition: Int, _ record: Int) -> [StoreBatch.Item.Content] {
    let set = sets[partition][record / 9 % 2]
    let back = record % 7 == 3 ? 2 : record % 11 == 5 ? 13 : 0
    let instant = instant(max(0, record - back))
    var absent: Bitmap?
    if record % 5 == 2 {
      var bits = Bitmap(count: set.count)
      for row in 0..<set.count where (row + record) % 4 == 0 { bits[row] = true }
      absent = bits
    }
    var contents: [StoreBatch.Item.Content] = [
      .scrape(
        Scrape(
          set: set, timestamp: Timestamp(milliseconds: instant + (back == 13 ? 500 : 0)),
          values: (0..<set.count).map { Double(record * 1000 + $0) }, absent: absent))
    ]
    if record % 3 == 0 {
      let instants = [Self.instant(max(0, record - 8)), Self.instant(record), Self.instant(record) + 7]
      contents.append(
        .samples([
          SeriesSamples(
            labels: lone(partition), timestamps: record < 8 ? Array(instants[1...]) : instants,
            values: (record < 8 ? [1, 2] : [0, 1, 2]).map { Double(record * 1000 + 500 + $0) })
        ]))
    }
    return contents
  }

  private static func truth(of partition: Int) -> [Labels: [Int64: Point]] {
    var result: [Labels: [Int64: Point]] = [:]
    for record in 0..<records {
      for content in content(partition, record) {
        switch content {
        case .scrape(let scrape):
          for (row, labels) in scrape.set.series.enumerated() where scrape.absent?[row] != true {
            result[labels, default: [:]][scrape.timestamp.milliseconds, default: Point()].versions
              .append((record, scrape.values[row]))
          }
        case .samples(let list):
          for series in list {
            for (timestamp, value) in zip(series.timestamps, series.values) {
              result[series.labels, default: [:]][timestamp, default: Point()].versions.append((record, value))
            }
          }
        }
      }
    }
    return result
  }

  // MARK: Tasks

  private static func victim(_ index: Int) -> Labels {
    Labels([("__name__", "victim"), ("Hostname", "v\(index)")])
  }

  /// Writes the series that will be deleted, at instants that retention never reaches.
  func prepare(_ store: EmbeddedStore) async throws {
    let series = (0..<ConcurrentTraffic.victims).map { index in
      SeriesSamples(
        labels: ConcurrentTraffic.victim(index),
        timestamps: (0..<20).map { ConcurrentTraffic.instant(ConcurrentTraffic.records + $0) },
        values: (0..<20).map { Double(index * 100 + $0) })
    }
    _ = try await store.append(
      StoreBatch(
        partition: LogPartition(topic: "victims", partition: 0),
        items: [StoreBatch.Item(offset: 0, content: .samples(series))], nextOffset: 1))
  }

  func append(_ partition: Int, to store: EmbeddedStore) async throws {
    defer { progress.withLock { $0.appenders -= 1 } }
    while moment().acknowledged[partition] < ConcurrentTraffic.records {
      try await appendOne(partition, to: store)
      await Task.yield()
    }
  }

  func appendOne(_ partition: Int, to store: EmbeddedStore) async throws {
    let record = progress.withLock { progress in
      progress.begun[partition] += 1
      return progress.begun[partition] - 1
    }
    let items = ConcurrentTraffic.content(partition, record).map {
      StoreBatch.Item(offset: Int64(record), content: $0)
    }
    let batch = StoreBatch(
      partition: LogPartition(topic: "t", partition: Int32(partition)), items: items, nextOffset: Int64(record) + 1)
    let outcome = try await store.append(batch)
    #expect(outcome.samplesTooOld == 0 && outcome.recordsSkipped == 0, "record \(record): \(outcome)")
    // What was sent before is known by its offset.
    if record % 6 == 1 {
      let repeated = try await store.append(batch)
      #expect(repeated.samplesAccepted == 0, "record \(record): a repeat was taken in")
    }
    progress.withLock { progress in
      progress.acknowledged[partition] += 1
      // Time goes on with the slowest, so that no sample is too old when it comes.
      let slowest = progress.acknowledged.min() ?? 0
      progress.clock = max(progress.clock, ConcurrentTraffic.instant(slowest))
      clock.set(progress.clock)
    }
  }

  func whileRunning(_ body: () async throws -> Void) async throws {
    while isRunning {
      try await body()
      await Task.yield()
    }
  }

  func deleteVictims(_ store: EmbeddedStore) async throws {
    for index in 0..<ConcurrentTraffic.victims {
      progress.withLock { $0.deletesBegun += 1 }
      try await store.delete([.equal("Hostname", "v\(index)")], in: .all)
      progress.withLock { $0.deleted += 1 }
      // Spread over the run: the next one goes when as much of the appends is done.
      let due = (index + 1) * ConcurrentTraffic.records / ConcurrentTraffic.victims
      while isRunning, moment().acknowledged.min() ?? 0 < due { await Task.yield() }
    }
  }

  func read(_ store: EmbeddedStore, reader: Int) async throws {
    var random = Seed(UInt64(reader))
    try await whileRunning {
      let before = moment()
      var range = TimeRange.all
      if random.oneIn(2) {
        let start = random.below(ConcurrentTraffic.records)
        range = TimeRange(
          start: Timestamp(milliseconds: ConcurrentTraffic.instant(start)),
          end: Timestamp(milliseconds: ConcurrentTraffic.instant(start + random.below(60))))
      }
      let answer = try await store.select(SelectRequest([], in: range))
      let after = moment()
      if let problem = problem(answer, range, before, after) { Issue.record("reader \(reader), \(range): \(problem)") }
      progress.withLock { $0.reads += 1 }
    }
  }

  /// All tasks are done: there is one right answer.
  func checkTheEnd(_ store: EmbeddedStore) async throws {
    let now = moment()
    #expect(now.acknowledged == now.begun && now.acknowledged.allSatisfy { $0 == ConcurrentTraffic.records })
    let answer = try await store.select(SelectRequest([]))
    let problem = problem(answer, .all, now, now)
    #expect(problem == nil, "at the end: \(problem ?? "")")
    let newest = try await store.select(SelectRequest([], newest: 1))
    #expect(newest.map(\.labels) == answer.map(\.labels))
    for (one, all) in zip(newest, answer) {
      #expect(one.timestamps == all.timestamps.suffix(1) && one.values == all.values.suffix(1), "\(one.labels)")
    }
    let series = try await store.series([], in: .all)
    #expect(series == answer.map(\.labels))
  }

  // MARK: The checker

  /// What is wrong with an answer to a question that was put after `before` and answered before `after`.
  func problem(_ answer: [SeriesColumn], _ range: TimeRange, _ before: Moment, _ after: Moment) -> String? {
    var got: [Labels: [Int64: Double]] = [:]
    for (index, column) in answer.enumerated() {
      if index > 0, !(answer[index - 1].labels < column.labels) { return "\(column.labels) is out of order" }
      if column.timestamps.isEmpty { return "\(column.labels) is empty" }
      for (row, timestamp) in column.timestamps.enumerated() {
        if row > 0, column.timestamps[row - 1] >= timestamp { return "\(column.labels): \(timestamp) is out of order" }
        if !range.contains(Timestamp(milliseconds: timestamp)) { return "\(timestamp) was not asked for" }
      }
      got[column.labels] = Dictionary(uniqueKeysWithValues: zip(column.timestamps, column.values))
    }
    for partition in truth.indices {
      if let problem = compare(partition, &got, range, before, after) { return "partition \(partition): \(problem)" }
    }
    for index in 0..<ConcurrentTraffic.victims {
      let labels = ConcurrentTraffic.victim(index)
      let found = got.removeValue(forKey: labels) ?? [:]
      let whole = (0..<20).filter {
        range.contains(Timestamp(milliseconds: ConcurrentTraffic.instant(ConcurrentTraffic.records + $0)))
      }
      if index < before.deleted, !found.isEmpty { return "\(labels) was deleted and is there" }
      let isThere =
        found.count == whole.count
        && whole.allSatisfy {
          found[ConcurrentTraffic.instant(ConcurrentTraffic.records + $0)] == Double(index * 100 + $0)
        }
      if index >= after.deletesBegun, !isThere { return "\(labels) is not whole" }
      if !isThere, !found.isEmpty { return "\(labels) is half deleted" }
    }
    return got.first.map { "\($0.key) was never written" }
  }

  /// Narrows down after which record of the partition the answer can be the state.
  private func compare(
    _ partition: Int, _ got: inout [Labels: [Int64: Double]], _ range: TimeRange, _ before: Moment, _ after: Moment
  ) -> String? {
    let retention = ConcurrentTraffic.retentionMilliseconds
    var least = before.acknowledged[partition]
    var most = after.begun[partition]
    for (labels, points) in truth[partition] {
      let found = got.removeValue(forKey: labels) ?? [:]
      for timestamp in found.keys where points[timestamp] == nil {
        return "\(labels) at \(timestamp) was never written"
      }
      for (timestamp, point) in points where range.contains(Timestamp(milliseconds: timestamp)) {
        guard let value = found[timestamp] else {
          // Retention may have taken it since the question was put.
          if timestamp < after.clock - retention { continue }
          most = min(most, point.versions[0].record)
          if most < least { return "\(labels) at \(timestamp) is missing, after \(least) records" }
          continue
        }
        if timestamp < before.clock - retention { return "\(labels) at \(timestamp) is older than retention keeps" }
        guard let version = point.versions.firstIndex(where: { $0.value == value }) else {
          return "\(labels) at \(timestamp) has \(value), which was never written"
        }
        least = max(least, point.versions[version].record + 1)
        if version + 1 < point.versions.count { most = min(most, point.versions[version + 1].record) }
        if most < least {
          return
            "\(labels) at \(timestamp) has \(value), of record \(point.versions[version].record), and the rest of the"
            + " answer does not fit that: \(before.acknowledged[partition]) were acknowledged before"
        }
      }
    }
    return nil
  }
}
