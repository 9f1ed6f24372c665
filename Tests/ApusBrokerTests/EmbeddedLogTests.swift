// Goal: the shell around the core keeps its promises to callers: bounds, waiting, cancellation, closing.
// Method: a log whose disk holds its writer at a gate, so that what waits behind it can be looked at; nothing depends
// on how fast anything is.

import ApusBroker
import ApusIO
import ApusTestKit
import Synchronization
import Testing

@Suite struct EmbeddedLogTests {
  private let partition = TopicPartition(topic: TopicName("t")!, partition: 0)

  private func request(_ value: String, bytes: Int = 100) throws -> AppendRequest {
    var builder = RecordBatchBuilder()
    builder.append(Record(timestamp: 0, value: Array((value + String(repeating: ".", count: bytes)).utf8)))
    return AppendRequest(partition: partition, batch: try builder.finish())
  }

  @Test func whatWaitsIsCommittedTogether() async throws {
    let disk = GatedDisk()
    let log = try EmbeddedLog(disk: disk, clock: SystemClock())
    _ = await log.append([try request("warm")])
    disk.close()
    // The first holds the writer in its sync; the others come while it is there.
    async let first = log.append([try request("first")])
    await disk.someoneWaits()
    let syncs = disk.syncs
    let others = (0..<50).map { number in
      Task { [self] in await log.append([try request("\(number)")]) }
    }
    while log.statistics().queuedBytes < 51 * 150 { await Task.yield() }
    disk.open()
    _ = try await first[0].get()
    var offsets: Set<Int64> = []
    for task in others { offsets.insert(try await task.value[0].get().baseOffset) }
    #expect(offsets == Set(2..<52))
    #expect(disk.syncs - syncs == 2, "the first's own, and one for all fifty")
    #expect(log.statistics().queuedBytes == 0)
    try await log.close()
  }

  @Test func beyondTheBoundAppendsWaitAndThenAreRefused() async throws {
    let disk = GatedDisk()
    var configuration = EmbeddedLog.Configuration()
    configuration.queueBytesMax = 1000
    configuration.waitingAppendsMax = 2
    configuration.backpressureWait = .seconds(600)
    let log = try EmbeddedLog(disk: disk, clock: SystemClock(), configuration: configuration)
    _ = await log.append([try request("warm")])
    disk.close()
    async let held = log.append([try request("held", bytes: 700)])
    await disk.someoneWaits()
    // Two find no room and wait in line; the third is told so at once.
    let patient = Task { [self] in await log.append([try request("patient", bytes: 700)]) }
    while log.statistics().backpressureEvents < 1 { await Task.yield() }
    let cancelled = Task { [self] in await log.append([try request("cancelled", bytes: 700)]) }
    while log.statistics().backpressureEvents < 2 { await Task.yield() }
    let refused = await log.append([try request("refused", bytes: 700)])
    guard case .failure(.backpressure(let queued, 1000)) = refused[0] else {
      Issue.record("expected backpressure, not \(refused[0])")
      disk.open()
      return
    }
    #expect(queued > 700 && queued < 1000)
    cancelled.cancel()
    let outcome = try await cancelled.value[0]
    guard case .failure(.backpressure) = outcome else {
      Issue.record("expected backpressure, not \(outcome)")
      disk.open()
      return
    }
    disk.open()
    #expect(try await held[0].get().baseOffset == 1)
    #expect(try await patient.value[0].get().baseOffset == 2)
    #expect(log.statistics().backpressureEvents == 3)
    // One that is larger than the whole bound goes alone.
    #expect(try await log.append([try request("large", bytes: 5000)])[0].get().baseOffset == 3)
    try await log.close()
  }

  @Test func aWaitThatIsTooLongIsRefused() async throws {
    let disk = GatedDisk()
    var configuration = EmbeddedLog.Configuration()
    configuration.queueBytesMax = 1000
    configuration.backpressureWait = .milliseconds(1)
    let log = try EmbeddedLog(disk: disk, clock: SystemClock(), configuration: configuration)
    _ = await log.append([try request("warm")])
    disk.close()
    async let held = log.append([try request("held", bytes: 700)])
    await disk.someoneWaits()
    let late = await log.append([try request("late", bytes: 700)])
    if case .failure(.backpressure) = late[0] {} else { Issue.record("expected backpressure, not \(late[0])") }
    disk.open()
    _ = try await held[0].get()
    try await log.close()
  }

  @Test func closingFinishesWhatIsQueuedAndRefusesTheRest() async throws {
    let disk = GatedDisk()
    let log = try EmbeddedLog(disk: disk, clock: SystemClock())
    _ = await log.append([try request("warm")])
    disk.close()
    async let held = log.append([try request("held")])
    await disk.someoneWaits()
    let queued = Task { [self] in await log.append([try request("queued")]) }
    while log.statistics().queuedBytes < 350 { await Task.yield() }
    async let closing: Void = log.close()
    disk.open()
    #expect(try await held[0].get().baseOffset == 1)
    #expect(try await queued.value[0].get().baseOffset == 2)
    try await closing
    if case .failure(.shuttingDown) = await log.append([try request("late")])[0] {
    } else {
      Issue.record("an append after closing was not refused")
    }
    try await log.close()
    // All of it is there for the next owner of the folder.
    let next = try EmbeddedLog(disk: disk, clock: SystemClock())
    #expect(try await next.offset(of: .latest, in: partition) == 3)
    #expect(next.statistics().recovery.findings.isEmpty)
    try await next.close()
  }

  @Test func readersDoNotWaitForTheWriter() async throws {
    let disk = GatedDisk()
    var configuration = EmbeddedLog.Configuration()
    configuration.tailBytes = 0
    let log = try EmbeddedLog(disk: disk, clock: SystemClock(), configuration: configuration)
    _ = await log.append([try request("there")])
    disk.close()
    async let held = log.append([try request("held")])
    await disk.someoneWaits()
    // From disk, while the writer is stuck in its sync: what is durable, and nothing of what is not.
    let slice = try await log.read(partition, from: 0, maxBytes: 1 << 20, waiting: .zero)
    #expect(slice.batches.count == 1)
    #expect(slice.highWatermark == 1)
    #expect(try await log.offset(of: .timestamp(0), in: partition) == 0)
    #expect(log.statistics().topics.first?.partitions.first?.highWatermark == 1)
    disk.open()
    _ = try await held[0].get()
    try await log.close()
  }

  @Test func closingEndsEveryWait() async throws {
    let log = try EmbeddedLog(disk: SimulatedDisk(seed: 1), clock: SystemClock())
    _ = await log.append([try request("there")])
    // Far longer than any run.
    let waits = (0..<10).map { _ in
      Task { [self] in try await log.read(partition, from: 1, maxBytes: 1000, waiting: .seconds(3600)) }
    }
    while log.statistics().longPolls < 10 { await Task.yield() }
    try await log.close()
    for wait in waits { #expect(try await wait.value.batches.isEmpty) }
    #expect(try await log.read(partition, from: 1, maxBytes: 1000, waiting: .seconds(3600)).batches.isEmpty)
  }

  @Test func aReaderGoesOnBehindCorruption() async throws {
    let disk = SimulatedDisk(seed: 5)
    var configuration = EmbeddedLog.Configuration()
    configuration.tailBytes = 0
    let log = try EmbeddedLog(disk: disk, clock: SystemClock(), configuration: configuration)
    for number in 0..<4 { _ = await log.append([try request("\(number)")]) }
    disk.flipBit("log/topics/t/0/00000000000000000000.log", byte: 300, bit: 0)
    var offset: Int64 = 0
    var offsets: [Int64] = []
    var errors = 0
    while offset < 4 {
      do throws(LogError) {
        let slice = try await log.read(partition, from: offset, maxBytes: 1 << 20, waiting: .zero)
        for batch in slice.batches {
          offsets.append(batch.baseOffset)
          offset = batch.nextOffset
        }
      } catch { errors += 1 }
    }
    #expect(offsets == [0, 2, 3])
    #expect(errors >= 1)
    let statistics = log.statistics()
    #expect(statistics.corruptReads >= 1)
    #expect(statistics.recovery.corruptions == 1)
    try await log.close()
  }

  @Test func statisticsAddUp() async throws {
    let log = try EmbeddedLog(disk: SimulatedDisk(seed: 1), clock: SystemClock())
    let producer = try await log.registerProducer()
    var builder = RecordBatchBuilder()
    for number in 0..<10 { builder.append(Record(timestamp: Int64(number), value: [1])) }
    let batch = try builder.finish(producer: producer, baseSequence: 0)
    for _ in 0..<2 { _ = await log.append([AppendRequest(partition: partition, batch: batch)]) }
    _ = try await log.read(partition, from: 0, maxBytes: 1000, waiting: .zero)
    // A call through the writer's queue: what was done before it has been published when it is answered twice.
    _ = try await log.registerProducer()
    while log.statistics().totals.turns < 2 { await Task.yield() }
    let statistics = log.statistics()
    #expect(statistics.totals.messagesAppended == 10)
    #expect(statistics.totals.batchesAppended == 1)
    #expect(statistics.totals.bytesAppended == Int64(batch.bytes.count))
    #expect(statistics.totals.duplicateMessages == 10)
    #expect(statistics.messagesRead == 10)
    #expect(statistics.bytesRead == Int64(batch.bytes.count))
    #expect(statistics.longPolls == 0)
    #expect(statistics.topics.first?.partitions.first?.bytes == Int64(batch.bytes.count))
    try await log.close()
  }
}

/// A simulated disk whose syncs of segments wait at a gate while it is closed.
final class GatedDisk: Disk {
  private let inner = SimulatedDisk(seed: 1)
  private let gate = Mutex(Gate())

  private struct Gate {
    var isClosed = false
    var waiting = 0
    var syncs = 0
  }

  func close() { gate.withLock { $0.isClosed = true } }
  func open() { gate.withLock { $0.isClosed = false } }
  var syncs: Int { gate.withLock { $0.syncs } }

  func someoneWaits() async { while gate.withLock({ $0.waiting }) == 0 { await Task.yield() } }

  fileprivate func pass() {
    gate.withLock { $0.waiting += 1 }
    // A thread of the log's own blocks here, as it would in a slow disk.
    while gate.withLock({ $0.isClosed }) { _ = inner.operations }
    gate.withLock { gate in
      gate.waiting -= 1
      gate.syncs += 1
    }
  }

  func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile {
    let file = try inner.open(path, mode)
    return path.contains(".log") ? GatedFile(file, self) : file
  }
  func list(_ directory: String) throws(DiskError) -> [String] { try inner.list(directory) }
  func exists(_ path: String) throws(DiskError) -> Bool { try inner.exists(path) }
  func createDirectory(_ path: String) throws(DiskError) { try inner.createDirectory(path) }
  func remove(_ path: String) throws(DiskError) { try inner.remove(path) }
  func removeDirectory(_ path: String) throws(DiskError) { try inner.removeDirectory(path) }
  func rename(_ from: String, to: String) throws(DiskError) { try inner.rename(from, to: to) }
  func link(_ existing: String, to name: String) throws(DiskError) { try inner.link(existing, to: name) }
  func syncDirectory(_ directory: String) throws(DiskError) { try inner.syncDirectory(directory) }
  func space() throws(DiskError) -> (free: Int64, total: Int64) { try inner.space() }
  func lock(_ path: String) throws(DiskError) -> any DiskLock { try inner.lock(path) }
}

final class GatedFile: DiskFile {
  private let inner: any DiskFile
  private let disk: GatedDisk

  init(_ inner: any DiskFile, _ disk: GatedDisk) {
    self.inner = inner
    self.disk = disk
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DiskError) -> Int {
    try inner.read(into: buffer, at: offset)
  }
  func write(_ buffers: [UnsafeRawBufferPointer], at offset: Int64) throws(DiskError) {
    try inner.write(buffers, at: offset)
  }
  func sync() throws(DiskError) {
    disk.pass()
    try inner.sync()
  }
  func truncate(to length: Int64) throws(DiskError) { try inner.truncate(to: length) }
  func size() throws(DiskError) -> Int64 { try inner.size() }
  func map() throws(DiskError) -> MappedBytes { try inner.map() }
}
