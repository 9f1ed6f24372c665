import ApusBroker
import ApusIO
import ApusTestKit

/// One seeded run: several lives of one log on one disk.
struct LogSchedule {
  enum Retention: CaseIterable {
    case none, size, age
    /// By size, and nothing that was not released.
    case covered
  }

  /// What happens beside appends, failures and power cuts.
  struct Features {
    var flips = false
    var retention = Retention.none
    var deletes = false
  }

  /// What has happened, over all lives.
  struct Counts {
    var flips: [String: Int] = [:]
    var corruptions = 0
    var lostToFlips = 0
    var dropped = 0
    var deletions = 0

    mutating func add(_ other: Counts) {
      flips.merge(other.flips) { $0 + $1 }
      corruptions += other.corruptions
      lostToFlips += other.lostToFlips
      dropped += other.dropped
      deletions += other.deletions
    }
  }

  /// A batch that the model knows: its values are unique, so that a record tells where it came from.
  struct Sent {
    var values: [String]
    var partition: Int
    /// The offset it was acknowledged with, and when.
    var offset: Int64?
    var time: Int64 = 0
    /// It was refused or its outcome is unknown: it may be there, whole, once.
    var isInDoubt = false
    /// Flipped bits or retention took it: it may be missing.
    var isGone = false
    /// Its topic was deleted: it must be missing.
    var isDeleted = false

    var offsets: Range<Int64>? { offset.map { $0..<$0 + Int64(values.count) } }
  }

  /// An idempotent client that sends its batch again until it is acknowledged.
  private struct Client {
    var identity: ProducerIdentity
    var sequence: Int32 = 0
    var unacknowledged: Int?
    var partition: Int
  }

  static let retentionBytes: Int64 = 24_000
  static let retentionMilliseconds: Int64 = 150

  let seed: UInt64
  let durability: Durability
  let features: Features
  /// Breaks the model's own memory on purpose.
  var forgets = false
  var counts = Counts()
  private var random: Seed
  /// Decides what the features do, so that the rest of a schedule is the same with and without them.
  private var chance: Seed
  let disk: SimulatedDisk
  let clock = ManualClock()
  var sent: [Sent] = []
  /// What `sent` was before each deletion of which nobody knows whether it reached the disk, the newest first.
  var sentIfNotDeleted: [[Sent]] = []
  var damage: LogDamage
  /// The greatest offsets that were released to retention.
  var covered: [Int64] = [0, 0]
  private var findingsTaken = 0
  private var clients: [Client] = []
  private var nextValue = 0
  let topic = TopicName("t")!

  init(seed: UInt64, durability: Durability, features: Features? = nil) {
    self.seed = seed
    self.durability = durability
    random = Seed(seed &* 0x9e37_79b9 &+ 7)
    chance = Seed(seed &* 0x51_7cc1 &+ 99)
    disk = SimulatedDisk(seed: seed)
    damage = LogDamage(topic: topic.text)
    let flips = !chance.oneIn(3)
    let retention = Retention.allCases.randomElement(using: &chance) ?? .none
    let deletes = chance.oneIn(3)
    self.features = features ?? Features(flips: flips, retention: retention, deletes: deletes)
  }

  var configuration: EmbeddedLog.Configuration {
    var configuration = EmbeddedLog.Configuration()
    configuration.durability = durability
    configuration.defaultPartitions = 2
    configuration.segmentBytes = 4096
    configuration.retentionBytes =
      features.retention == .size || features.retention == .covered ? LogSchedule.retentionBytes : nil
    configuration.retentionMilliseconds = features.retention == .age ? LogSchedule.retentionMilliseconds : nil
    configuration.retentionCheckIntervalMilliseconds = 20
    configuration.coverageTopics = features.retention == .covered ? [topic] : []
    configuration.checkpointIntervalMilliseconds = 40
    configuration.tailBytes = seed % 3 == 0 ? 4096 : 0
    configuration.openFilesMax = 2
    if seed % 4 == 1 { configuration.prologue = { _ in CountingPrologue() } }
    return configuration
  }

  /// Nil when all went well, else what went wrong.
  mutating func run() -> String? {
    defer { counts.flips = damage.flips }
    let lives = 2 + random.below(4)
    for life in 0..<lives {
      // A power cut may hit the opening as well: then it is tried again.
      var opened: LogCore?
      for attempt in 0..<20 {
        flipAtRest()
        if attempt < 3, random.oneIn(4) { disk.crash(afterOperations: 1 + random.below(12)) }
        do throws(LogError) {
          opened = try LogCore(disk: disk, clock: clock, configuration: configuration)
          break
        } catch {
          guard disk.isCrashed else { return "life \(life): cannot open: \(error)" }
          disk.restart()
          damage.startWasCutOff(disk)
        }
      }
      guard let core = opened else { return "life \(life): no attempt to open succeeded" }
      findingsTaken = 0
      if let problem = takeFindings(core) { return "life \(life), opened: \(problem)" }
      damage.logWasOpened()
      if disk.isCrashed {
        disk.restart()
        continue
      }
      if let problem = verify(core, "life \(life), opened", isOpened: true) { return problem }
      if !disk.isCrashed, let problem = live(core) { return "life \(life): \(problem)" }
      if let problem = takeFindings(core) { return "life \(life): \(problem)" }
      if !disk.isCrashed, random.oneIn(3) {
        disk.clearFaults()
        disk.setCapacity(.max)
        do throws(LogError) { try core.close() } catch {
          if !disk.isCrashed { return "life \(life): cannot close: \(error)" }
        }
      }
      disk.setCapacity(.max)
      disk.restart()
      if durability != .every { forgetWhatWasNotSynced() }
    }
    flipAtRest()
    return atTheEnd() ?? atTheEnd(isAgain: true)
  }

  /// The last life finishes what is open; the one after it finds a log in order.
  private mutating func atTheEnd(isAgain: Bool = false) -> String? {
    let place = isAgain ? "at the end, opened again" : "at the end"
    do throws(LogError) {
      let core = try LogCore(disk: disk, clock: clock, configuration: configuration)
      findingsTaken = 0
      if let problem = takeFindings(core) { return "\(place): \(problem)" }
      if isAgain, configuration.tailBytes == 0, core.recovery.corruptions + core.recovery.tornTails > 0 {
        return "\(place): found only now: \(core.recovery.findings)"
      }
      if !isAgain {
        // Before anything is appended: an append to a topic whose deletion was undone does not say that it is a new one.
        if let problem = verify(core, "\(place), opened", isOpened: true) { return problem }
        finishClients(core)
      }
      if forgets { sent.removeAll { $0.offset == 0 } }
      if let problem = verify(core, place) { return problem }
      if isAgain { return checkRetention(core) }
      try core.close()
      return nil
    } catch { return "cannot open or close \(place): \(error)" }
  }

  private mutating func live(_ core: LogCore) -> String? {
    makeFaults()
    let turns = random.below(25)
    for turn in 0..<turns {
      clock.advance(milliseconds: Int64(random.below(30)))
      if clients.count < 3, random.oneIn(4), let identity = try? core.registerProducer() {
        if clients.contains(where: { $0.identity.id == identity.id }) { return "producer id given out twice" }
        clients.append(Client(identity: identity, partition: random.below(2)))
      }
      append(core)
      if let problem = beside(core) { return "turn \(turn): \(problem)" }
      core.maintain()
      if disk.isCrashed { return nil }
      if random.oneIn(8) {
        disk.clearFaults()
        disk.setCapacity(.max)
        if let problem = verify(core, "turn \(turn)") { return problem }
        if disk.isCrashed { return nil }
        makeFaults()
      }
    }
    disk.clearFaults()
    disk.setCapacity(.max)
    return verify(core, "after \(turns) turns")
  }

  /// What the features do in a turn.
  private mutating func beside(_ core: LogCore) -> String? {
    if features.flips, !disk.isCrashed, chance.oneIn(12) { damage.flip(disk, &chance) }
    if features.flips, chance.oneIn(4), let problem = browse(core) { return problem }
    if features.retention == .covered, chance.oneIn(3) {
      let partition = chance.below(2)
      let known = sent.compactMap { $0.partition == partition && !$0.isDeleted ? $0.offsets?.upperBound : nil }
      if let offset = known.randomElement(using: &chance) {
        core.setCoveredOffset(offset, for: id(partition))
        covered[partition] = max(covered[partition], offset)
      }
    }
    if features.deletes, chance.oneIn(25) { delete(core) }
    return nil
  }

  private mutating func flipAtRest() {
    guard features.flips else { return }
    damage.closeRegions(disk)
    while chance.oneIn(3) { damage.flip(disk, &chance) }
  }

  private mutating func delete(_ core: LogCore) {
    guard core.reader.descriptions().contains(where: { $0.name == topic }) else { return }
    let before = sent
    do throws(LogError) {
      try core.deleteTopic(topic)
      counts.deletions += 1
      sentIfNotDeleted = []
    } catch {
      let isGone = !core.reader.descriptions().contains { $0.name == topic }
      // Refused before anything had happened.
      if !disk.isCrashed && !isGone { return }
      sentIfNotDeleted.insert(before, at: 0)
    }
    for index in sent.indices { sent[index].isDeleted = true }
    if sentIfNotDeleted.isEmpty { damage.forget() }
    covered = [0, 0]
    clients.removeAll()
  }

  private mutating func makeFaults() {
    let kind = random.below(6)
    let crashIn = random.oneIn(2) ? 1 + random.below(80) : nil
    disk.setFaults { faults in
      faults.writeFails = kind == 1 || kind == 4 ? 6 : 0
      faults.syncFails = kind == 2 || kind == 4 ? 6 : 0
      faults.renameFails = kind == 4 ? 10 : 0
      faults.openFails = kind == 4 ? 10 : 0
    }
    disk.setCapacity(kind == 3 ? disk.usedBytes + Int64(random.below(6000)) : .max)
    if let crashIn { disk.crash(afterOperations: crashIn) }
  }

  private mutating func append(_ core: LogCore) {
    var requests: [AppendRequest] = []
    var indexes: [(sent: Int, client: Int?)] = []
    for client in clients.indices where random.oneIn(2) {
      let index: Int
      if let again = clients[client].unacknowledged {
        index = again
      } else {
        index = make(partition: clients[client].partition)
        clients[client].unacknowledged = index
      }
      let batch = build(sent[index].values, clients[client].identity, clients[client].sequence)
      requests.append(AppendRequest(partition: id(sent[index].partition), batch: batch))
      indexes.append((index, client))
    }
    for _ in 0..<random.below(4) {
      let index = make(partition: random.below(2))
      requests.append(AppendRequest(partition: id(sent[index].partition), batch: build(sent[index].values, nil, -1)))
      indexes.append((index, nil))
    }
    for (result, index) in zip(core.append(requests), indexes) {
      switch result {
      case .success(let receipt):
        acknowledge(index.sent, receipt)
        if let client = index.client {
          clients[client].sequence += Int32(receipt.recordCount)
          clients[client].unacknowledged = nil
        }
      case .failure: sent[index.sent].isInDoubt = true
      }
    }
  }

  private mutating func acknowledge(_ index: Int, _ receipt: AppendReceipt) {
    // An appended batch says that the topic is a new one, made for good.
    if !receipt.isDuplicate, !sentIfNotDeleted.isEmpty {
      sentIfNotDeleted = []
      damage.forget()
    }
    sent[index].offset = receipt.baseOffset
    sent[index].time = clock.now
    // Known from before, and lost since: the producer was right to take it for done.
    if receipt.isDuplicate, let offsets = sent[index].offsets,
      damage.hasLost(sent[index].partition, offsets) || features.retention != .none
    {
      sent[index].isGone = true
    }
  }

  /// Clients send what is open until it is acknowledged: exactly once, however often it was sent.
  private mutating func finishClients(_ core: LogCore) {
    for client in clients.indices {
      guard let index = clients[client].unacknowledged else { continue }
      let batch = build(sent[index].values, clients[client].identity, clients[client].sequence)
      let result = core.append([AppendRequest(partition: id(sent[index].partition), batch: batch)])[0]
      if case .success(let receipt) = result { acknowledge(index, receipt) }
    }
  }

  /// Below `every` a power cut takes what it takes: then an acknowledgement says only where the batch is, if it is.
  private mutating func forgetWhatWasNotSynced() {
    for index in sent.indices where sent[index].offset != nil { sent[index].isInDoubt = true }
    for other in sentIfNotDeleted.indices {
      for index in sentIfNotDeleted[other].indices where sentIfNotDeleted[other][index].offset != nil {
        sentIfNotDeleted[other][index].isInDoubt = true
      }
    }
    // An idempotent client cannot tell what was lost behind its back either.
    clients.removeAll()
  }

  private mutating func make(partition: Int) -> Int {
    let size = random.oneIn(5) ? 1 + random.below(900) : random.below(60)
    let values = (0..<1 + random.below(4)).map { _ -> String in
      nextValue += 1
      return "\(nextValue):" + String(repeating: "x", count: size)
    }
    sent.append(Sent(values: values, partition: partition))
    for other in sentIfNotDeleted.indices {
      sentIfNotDeleted[other].append(Sent(values: values, partition: partition, isInDoubt: true))
    }
    return sent.count - 1
  }

  private func build(_ values: [String], _ producer: ProducerIdentity?, _ sequence: Int32) -> RecordBatch {
    var builder = RecordBatchBuilder()
    for value in values { builder.append(Record(timestamp: clock.now, value: Array(value.utf8))) }
    do { return try builder.finish(producer: producer, baseSequence: sequence) } catch {
      preconditionFailure("the builder refused: \(error)")
    }
  }

  func id(_ partition: Int) -> TopicPartition { TopicPartition(topic: topic, partition: Int32(partition)) }

  /// Takes in what the log has reported since the last look.
  mutating func takeFindings(_ core: LogCore) -> String? {
    let new = core.recovery.findings.dropFirst(findingsTaken)
    findingsTaken = core.recovery.findings.count
    for case .corruption in new { counts.corruptions += 1 }
    return damage.take(new)
  }

  /// Reads a little from somewhere, while the disk may fail: what comes is right, and what is refused is damaged.
  private mutating func browse(_ core: LogCore) -> String? {
    let partition = chance.below(2)
    guard let start = try? core.reader.offset(of: .earliest, in: id(partition)),
      let end = try? core.reader.offset(of: .latest, in: id(partition)), start < end
    else { return nil }
    var offset = Int64.random(in: start..<end, using: &chance)
    for _ in 0..<4 {
      do throws(LogError) {
        let slice = try core.reader.read(id(partition), from: offset, maxBytes: 2000)
        for batch in slice.batches {
          if let problem = check(batch, partition) { return problem }
          offset = batch.nextOffset
        }
      } catch {
        guard case .corrupt(_, let file, _, _) = error else { return nil }
        return repair(core, partition, file)
      }
    }
    return nil
  }

  /// A record that is served is one that was appended, where it was appended.
  private func check(_ batch: RecordBatch, _ partition: Int) -> String? {
    var problem: String?
    try? batch.forEachRecord { record in
      let value = record.value.map { String(decoding: $0, as: UTF8.self) } ?? ""
      if value.hasPrefix("prologue") { return }
      let isKnown = sent.contains { batch in
        guard batch.partition == partition, !batch.isDeleted, let row = batch.values.firstIndex(of: value) else {
          return false
        }
        return batch.isInDoubt || batch.offset.map { $0 + Int64(row) == record.offset } ?? false
      }
      if !isKnown { problem = "\(value.prefix(8)) is served at \(record.offset) of partition \(partition)" }
    }
    return problem
  }

  /// What the log does when a reader was refused a segment.
  mutating func repair(_ core: LogCore, _ partition: Int, _ file: String) -> String? {
    if let problem = damage.take(corrupt: file) { return "\(problem): \(file)" }
    damage.closeRegions(disk)
    let name = file.split(separator: "/").last ?? ""
    guard let base = Int64(name.prefix(20)) else { return "\(file) is no segment" }
    core.repair(id(partition), segment: base)
    return takeFindings(core)
  }
}

/// Begins each segment with a record that counts the batches seen.
struct CountingPrologue: SegmentPrologue {
  var batches = 0

  mutating func observe(_ batch: RecordBatch) { batches += 1 }

  func records(now: Int64) -> [Record] {
    batches == 0 ? [] : [Record(timestamp: now, value: Array("prologue \(batches)".utf8))]
  }
}
