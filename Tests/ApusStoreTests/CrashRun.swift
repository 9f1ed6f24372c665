import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Synchronization
import Testing

/// The durable positions that the store has announced.
final class Announced: Sendable {
  let positions = Mutex<[LogPartition: Int64]>([:])
}

/// One seeded run over one simulated disk: several lives of a store.
struct CrashRun {
  /// What has happened.
  struct Counts {
    var blocksHit = 0
    var blocksLost = 0
    var manifestsRefused = 0

    mutating func add(_ other: Counts) {
      blocksHit += other.blocksHit
      blocksLost += other.blocksLost
      manifestsRefused += other.manifestsRefused
    }
  }

  let seed: UInt64
  var counts = Counts()
  private var random: Seed
  /// Decides what is flipped, so that the rest of a schedule is the same with and without flips.
  private var chance: Seed
  private let hasFlips: Bool
  /// What the blocks held whose bits were flipped, by their names.
  private var hit: [String: [SeriesColumn]] = [:]
  /// Which blocks these are: a number is given again when the commit that listed its block did not reach the disk.
  private var hitMetas: [String: BlockMeta] = [:]
  /// Blocks of this life that the store has set aside.
  private var quarantined = 0
  private var everSetAside: Set<String> = []
  let disk: SimulatedDisk
  let clock = ManualClock()
  let announced = Announced()
  var store: EmbeddedStore
  /// The log, which loses nothing.
  var log: [StoreBatch] = []
  var nextOffset: [Int64] = [0, 0]
  /// What the store should hold; further ones are what it may hold after the next crash, because a delete failed and
  /// nobody knows whether its commit reached the disk.
  var models = [DamagedModel()]
  var appendedToStore = 0
  private var snapshots = 0

  init(seed: UInt64) throws {
    self.seed = seed
    random = Seed(seed &* 7919 &+ 13)
    chance = Seed(seed &* 104_729 &+ 5)
    hasFlips = !chance.oneIn(3)
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
        case .corrupt(let file, _, _) where isHit(file): break
        default: Issue.record("seed \(seed), step \(step): \(error)")
        }
      }
      if hasFlips, !disk.isCrashed, chance.oneIn(15) { try await flipABlock() }
      if disk.isCrashed || random.oneIn(25) { try await recover("step \(step)") }
    }
    try await recover("the end")
    try await store.flush()
    try await store.compact()
    try await check("the end, compacted", models: models)
    try checkSnapshots()
    let positions = try await store.positions()
    for (partition, position) in positions {
      #expect(position.durable == position.appended, "seed \(seed): \(partition) at \(position) after a flush")
    }
    try await store.close()
    let kept = (try? disk.list("data/store/quarantine")) ?? []
    #expect(everSetAside.isSubset(of: kept), "seed \(seed): set aside were \(everSetAside), kept \(kept)")
  }

  /// What has the name of a snapshot is a whole one, whatever went wrong when it was made and since; flipped bits of a
  /// block are in the snapshots that share its file.
  private func checkSnapshots() throws {
    for number in 1..<max(snapshots + 1, 2) {
      let path = "data/store/snapshots/s\(number)"
      guard try disk.exists(path) else { continue }
      let found = try StoreVerification(StoreFolder(disk, directory: path))
      let unexplained = found.findings.filter { !isHit($0.file) }
      #expect(unexplained == [], "seed \(seed): \(path)")
    }
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
    if hasFlips {
      while chance.oneIn(2) { try await flipABlock() }
      if chance.oneIn(6) { try flipTheManifest(what) }
    }
    store = try openAsAnOperator(what)
    quarantined = 0
    try await takeLosses(what)
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
    if let match = models.first(where: { $0.difference(answer) == nil }) { models = [match] }
    try await feed()
  }

  private mutating func check(_ what: String, models checked: [DamagedModel]) async throws {
    let isOne = checked.count == 1
    while true {
      do throws(StoreError) {
        let answer = try await store.select(SelectRequest([]))
        // What was found out on the way is known by now: the first of the models is always the one in force.
        let candidates = isOne ? [models[0]] : models
        var first: String?
        for model in candidates {
          guard let difference = model.difference(answer) else { return }
          first = first ?? difference
        }
        Issue.record("seed \(seed), \(what): \(first ?? "")")
        return
      } catch {
        guard case .corrupt(let file, _, _) = error else { throw error }
        let before = quarantined
        if !isHit(file) {
          Issue.record("seed \(seed), \(what): a false alarm: \(error)")
          return
        }
        try await takeLosses(what)
        if quarantined == before {
          Issue.record("seed \(seed), \(what): \(file) is corrupt and was not set aside")
          return
        }
      }
    }
  }

  // MARK: Flips

  private func isHit(_ file: String) -> Bool { hit[String(file.split(separator: "/").last ?? "")] != nil }

  /// A block whose version cannot be is refused by name, as one of a newer program: then its file is taken away.
  private func openAsAnOperator(_ what: String) throws -> EmbeddedStore {
    while true {
      do { return try CrashRun.open(disk, clock, announced) } catch StoreError.unsupportedVersion(let file, _, _) {
        guard isHit(file) else { throw StoreError.corrupt(file: file, section: "header", reason: "a false alarm") }
        try disk.createDirectory("data/store/quarantine")
        try disk.rename(file, to: "data/store/quarantine/" + (file.split(separator: "/").last ?? ""))
        try disk.syncDirectory("data/store/quarantine")
        try disk.syncDirectory("data/store/blocks")
      }
    }
  }

  /// Flips up to three bits of a block that the manifest lists. What it holds is found out before.
  private mutating func flipABlock() async throws {
    guard let bytes = try? disk.readFile("data/store/MANIFEST"),
      let manifest = try? Manifest(bytes, path: "MANIFEST"),
      let meta = manifest.blocks.randomElement(using: &chance)
    else { return }
    let name = BlockMeta.name(meta.id)
    let path = "data/store/blocks/" + name
    // A commit whose outcome was unknown may have listed it and be undone.
    guard let content = try? disk.readFile(path) else { return }
    if hitMetas[name] != meta {
      hit[name, default: []] += try await CrashRun.columns(of: content, meta)
      hitMetas[name] = meta
      counts.blocksHit += 1
    }
    for _ in 0...chance.below(3) {
      disk.flipBit(path, byte: chance.below(content.count), bit: chance.below(8))
    }
  }

  /// A block's samples, read by a store that has no other.
  private static func columns(of content: [UInt8], _ meta: BlockMeta) async throws -> [SeriesColumn] {
    let disk = SimulatedDisk(seed: 0)
    try disk.createDirectory("data/store/blocks")
    try disk.open("data/store/blocks/" + BlockMeta.name(meta.id), .create).write(content, at: 0)
    var manifest = Manifest()
    manifest.blocks = [meta]
    manifest.nextBlock = meta.id + 1
    manifest.nextSequence = meta.sequence + 1
    manifest.nextTombstone = meta.tombstonesApplied + 1
    try disk.open("data/store/MANIFEST", .create).write(manifest.encoded(), at: 0)
    let store = try open(disk, ManualClock(), Announced())
    let columns = try await store.select(SelectRequest([]))
    try await store.close()
    return columns
  }

  /// A damaged manifest is refused by name; then its backup is put back.
  private mutating func flipTheManifest(_ what: String) throws {
    let path = "data/store/MANIFEST"
    guard let length = try? disk.readFile(path).count, length > 0 else { return }
    let (byte, bit) = (chance.below(length), chance.below(8))
    disk.flipBit(path, byte: byte, bit: bit)
    do {
      _ = try CrashRun.open(disk, clock, Announced())
      Issue.record("seed \(seed), \(what): a manifest with a flipped bit was opened")
    } catch let error as StoreError {
      switch error {
      case .corrupt(path, _, _), .unsupportedVersion(path, _, _): break
      default: Issue.record("seed \(seed), \(what): \(error)")
      }
    }
    disk.flipBit(path, byte: byte, bit: bit)
    counts.manifestsRefused += 1
  }

  /// What the store has set aside since the last look may be missing from now on; only what was hit is set aside.
  private mutating func takeLosses(_ what: String) async throws {
    let now = try await store.statistics().blocksQuarantined
    if now > quarantined {
      let kept = Set((try? disk.list("data/store/quarantine")) ?? []).intersection(hit.keys)
      everSetAside.formUnion(kept)
      if now > hit.count { Issue.record("seed \(seed), \(what): \(now) blocks set aside, \(hit.count) were hit") }
      for (_, columns) in hit {
        for index in models.indices { models[index].lose(columns) }
      }
      counts.blocksLost += now - quarantined
    }
    quarantined = now
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
