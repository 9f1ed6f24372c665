// Goal: what was acknowledged is read back exactly once, in order and unchanged, whatever the disk does; what was not
// is absent or whole; nothing that is wrong is served.
// Method: seeded schedules of appends, failures, power cuts and restarts over a simulated disk, compared after each
// restart with a plain model in memory. A failing seed is named; run it alone with APUS_SEED=n.

import ApusBroker
import ApusIO
import ApusTestKit
import Foundation
import Testing

@Suite struct LogCrashModelTests {
  /// Seeds that found something once.
  static let pinned: [UInt64] = [135, 143, 154, 1992]

  @Test func everyAcknowledgedRecordSurvives() throws {
    for seed in Self.pinned + SeedRange.schedules(24, environment: ProcessInfo.processInfo.environment) {
      var schedule = LogSchedule(seed: seed, durability: .every)
      let problem = schedule.run()
      #expect(problem == nil, "seed \(seed): \(problem ?? "")")
      if problem != nil { break }
    }
  }

  @Test func weakerDurabilityLosesOnlyTheEndAndNeverReusesAnOffset() throws {
    for seed in Self.pinned + SeedRange.schedules(16, environment: ProcessInfo.processInfo.environment) {
      var schedule = LogSchedule(seed: seed, durability: seed % 2 == 0 ? .none : .interval(.milliseconds(50)))
      let problem = schedule.run()
      #expect(problem == nil, "seed \(seed): \(problem ?? "")")
      if problem != nil { break }
    }
  }

  /// The checker is checked: a log that forgets is found out.
  @Test func theModelNoticesALoss() throws {
    var schedule = LogSchedule(seed: 3, durability: .every)
    schedule.forgets = true
    #expect(schedule.run() != nil)
  }
}

/// One seeded run: several lives of one log on one disk.
struct LogSchedule {
  /// A batch that the model knows: its values are unique, so that a record tells where it came from.
  private struct Sent {
    var values: [String]
    var partition: Int
    /// The offset it was acknowledged with.
    var offset: Int64?
    /// It was refused or its outcome is unknown: it may be there, whole, once.
    var isInDoubt = false
  }

  /// An idempotent client that sends its batch again until it is acknowledged.
  private struct Client {
    var identity: ProducerIdentity
    var sequence: Int32 = 0
    var unacknowledged: Int?
    var partition: Int
  }

  let seed: UInt64
  let durability: Durability
  /// Breaks the model's own memory on purpose.
  var forgets = false
  private var random: Seed
  private let disk: SimulatedDisk
  private let clock = ManualClock()
  private var sent: [Sent] = []
  private var clients: [Client] = []
  private var nextValue = 0
  private let topic = TopicName("t")!

  init(seed: UInt64, durability: Durability) {
    self.seed = seed
    self.durability = durability
    random = Seed(seed &* 0x9e37_79b9 &+ 7)
    disk = SimulatedDisk(seed: seed)
  }

  private var configuration: EmbeddedLog.Configuration {
    var configuration = EmbeddedLog.Configuration()
    configuration.durability = durability
    configuration.defaultPartitions = 2
    configuration.segmentBytes = 4096
    configuration.retentionBytes = nil
    configuration.retentionMilliseconds = nil
    configuration.checkpointIntervalMilliseconds = 40
    configuration.tailBytes = seed % 3 == 0 ? 4096 : 0
    configuration.openFilesMax = 2
    if seed % 4 == 1 { configuration.prologue = { _ in CountingPrologue() } }
    return configuration
  }

  /// Nil when all went well, else what went wrong.
  mutating func run() -> String? {
    let lives = 2 + random.below(4)
    for life in 0..<lives {
      // A power cut may hit the opening as well: then it is tried again.
      var opened: LogCore?
      for attempt in 0..<20 {
        if attempt < 3, random.oneIn(4) { disk.crash(afterOperations: 1 + random.below(12)) }
        do throws(LogError) {
          opened = try LogCore(disk: disk, clock: clock, configuration: configuration)
          break
        } catch {
          guard disk.isCrashed else { return "life \(life): cannot open: \(error)" }
          disk.restart()
        }
      }
      guard let core = opened else { return "life \(life): no attempt to open succeeded" }
      if disk.isCrashed {
        disk.restart()
        continue
      }
      if core.recovery.corruptions > 0 { return "life \(life): false alarm: \(core.recovery.findings)" }
      if let problem = verify(core, "life \(life), opened") { return problem }
      if let problem = live(core) { return "life \(life): \(problem)" }
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
    do throws(LogError) {
      let core = try LogCore(disk: disk, clock: clock, configuration: configuration)
      finishClients(core)
      if forgets { sent.removeAll { $0.offset == 0 } }
      return verify(core, "at the end")
    } catch { return "cannot open at the end: \(error)" }
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
      core.maintain()
      if disk.isCrashed { return nil }
      if random.oneIn(8) {
        disk.clearFaults()
        if let problem = verify(core, "turn \(turn)") { return problem }
        makeFaults()
      }
    }
    disk.clearFaults()
    disk.setCapacity(.max)
    return verify(core, "after \(turns) turns")
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
        sent[index.sent].offset = receipt.baseOffset
        if let client = index.client {
          clients[client].sequence += Int32(receipt.recordCount)
          clients[client].unacknowledged = nil
        }
      case .failure: sent[index.sent].isInDoubt = true
      }
    }
  }

  /// Clients send what is open until it is acknowledged: exactly once, however often it was sent.
  private mutating func finishClients(_ core: LogCore) {
    for client in clients.indices {
      guard let index = clients[client].unacknowledged else { continue }
      let batch = build(sent[index].values, clients[client].identity, clients[client].sequence)
      let result = core.append([AppendRequest(partition: id(sent[index].partition), batch: batch)])[0]
      if case .success(let receipt) = result { sent[index].offset = receipt.baseOffset }
    }
  }

  /// Below `every` a power cut takes what it takes: then an acknowledgement says only where the batch is, if it is.
  private mutating func forgetWhatWasNotSynced() {
    for index in sent.indices where sent[index].offset != nil { sent[index].isInDoubt = true }
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
    return sent.count - 1
  }

  private func build(_ values: [String], _ producer: ProducerIdentity?, _ sequence: Int32) -> RecordBatch {
    var builder = RecordBatchBuilder()
    for value in values { builder.append(Record(timestamp: clock.now, value: Array(value.utf8))) }
    do { return try builder.finish(producer: producer, baseSequence: sequence) } catch {
      preconditionFailure("the builder refused: \(error)")
    }
  }

  private func id(_ partition: Int) -> TopicPartition { TopicPartition(topic: topic, partition: Int32(partition)) }

  /// Compares all that can be read with the model.
  private func verify(_ core: LogCore, _ place: String) -> String? {
    guard core.reader.descriptions().contains(where: { $0.name == topic }) else {
      return sent.contains { $0.offset != nil && !$0.isInDoubt } ? "\(place): the topic is gone" : nil
    }
    for partition in 0..<2 {
      var found: [(offset: Int64, value: String)] = []
      do { found = try readAll(core, partition) } catch { return "\(place): partition \(partition): \(error)" }
      if let problem = compare(found, partition) { return "\(place): partition \(partition): \(problem)" }
    }
    return nil
  }

  private func readAll(_ core: LogCore, _ partition: Int) throws -> [(offset: Int64, value: String)] {
    var found: [(offset: Int64, value: String)] = []
    var offset = try core.reader.offset(of: .earliest, in: id(partition))
    while true {
      let slice = try core.reader.read(id(partition), from: offset, maxBytes: 3000)
      if slice.batches.isEmpty { return found }
      for batch in slice.batches {
        try batch.forEachRecord { record in
          guard record.offset >= offset else { return }
          found.append((record.offset, record.value.map { String(decoding: $0, as: UTF8.self) } ?? ""))
        }
        offset = batch.nextOffset
      }
    }
  }

  private func compare(_ found: [(offset: Int64, value: String)], _ partition: Int) -> String? {
    var places: [String: Int64] = [:]
    var previous: Int64 = -1
    for (offset, value) in found {
      if offset <= previous { return "offset \(offset) follows \(previous)" }
      previous = offset
      if value.hasPrefix("prologue") { continue }
      if places.updateValue(offset, forKey: value) != nil { return "\(value.prefix(8)) is there twice" }
    }
    for batch in sent where batch.partition == partition {
      let offsets = batch.values.map { places.removeValue(forKey: $0) }
      let there = offsets.compactMap { $0 }
      if let offset = batch.offset {
        if there.isEmpty && batch.isInDoubt && durability != .every { continue }
        let expected = batch.values.indices.map { Int64($0) + offset }
        if there != expected {
          return "acknowledged at \(offset) and found at \(offsets): \(batch.values[0].prefix(8))"
        }
      } else if !there.isEmpty {
        guard batch.isInDoubt else { return "\(batch.values[0].prefix(8)) was never sent" }
        if there.count != batch.values.count { return "half of \(batch.values[0].prefix(8)) is there" }
      }
    }
    if let stranger = places.first { return "\(stranger.key.prefix(8)) at \(stranger.value) is unknown" }
    return nil
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
