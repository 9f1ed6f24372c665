import ApusIO

/// The log without threads: every decision, every write, one turn at a time. `EmbeddedLog` runs it on a thread of its
/// own; tests run it directly over a simulated disk and a clock that stands still, so that one seed gives one run.
///
/// One owner calls it, never from two threads at once. Readers use `reader`, from any thread.
package final class LogCore {
  package let reader: LogReader
  package let configuration: EmbeddedLog.Configuration
  package private(set) var totals = LogStatistics.Totals()
  package private(set) var recovery = RecoveryReport()
  /// The last failure to write, until a write succeeds.
  package private(set) var writeProblem: DiskError?

  private let disk: any Disk
  private let clock: any WallClock
  private let root: String
  /// Held for as long as the log is open.
  private var lock: (any DiskLock)?
  private var topics: [TopicName: Topic] = [:]
  private var identities: Identities
  private var nextProducer: Int64
  private var checkpoint: [PartitionIdentity: CheckpointEntry] = [:]
  /// The checkpoint that was there at the start could not be read.
  private var isCheckpointLost = false
  private var lastCheckpoint: Int64
  private var lastRetention: Int64
  private var lastSync: UInt64
  private var nextDeletion = 0

  private struct Topic {
    var identity: UInt64
    var configuration: TopicConfiguration
    var partitions: [Partition]
  }

  /// Producer ids are reserved so many at a time, so that giving one out rarely touches the disk.
  private static let producerBlock: Int64 = 1000
  /// Below durability `every`, offsets are reserved so many at a time for the same reason.
  static let offsetBlock: Int64 = 1 << 20

  /// Opens the log below the disk's root, recovers it and takes its lock.
  package init(
    disk: any Disk, clock: any WallClock, configuration: EmbeddedLog.Configuration
  ) throws(LogError) {
    try configuration.validate()
    self.disk = disk
    self.clock = clock
    self.configuration = configuration
    root = configuration.directory
    reader = LogReader(disk: disk, configuration: configuration)
    lastCheckpoint = clock.now
    lastRetention = clock.now
    lastSync = clock.monotonicNanoseconds
    do throws(DiskError) {
      for directory in ["", "topics", "deleted"] {
        let path = Disks.join(root, directory)
        try disk.createDirectory(directory.isEmpty ? root : path)
        try disk.syncDirectory(Disks.directory(of: directory.isEmpty ? root : path))
      }
      lock = try disk.lock(Disks.join(root, "lock"))
      let identitiesPath = Disks.join(root, "identities")
      var lost: RecoveryReport.Finding?
      if try disk.exists(identitiesPath) {
        if let known = Identities.decode(try disk.readFile(identitiesPath)) {
          identities = known
        } else {
          // Milliseconds since 1970 are far beyond what counting has reached.
          identities = Identities(producersReserved: clock.now, nextTopic: UInt64(clock.now))
          lost = .metadataLost(file: identitiesPath, reason: "its checksum is wrong; ids go on behind the time")
        }
      } else {
        identities = Identities()
      }
      nextProducer = identities.producersReserved
      if let lost { recovery.add(lost) }
      try loadCheckpoint()
      try purgeDeleted()
      for name in try disk.list(Disks.join(root, "topics")).sorted() { try openTopic(name) }
      try writeCheckpoint()
    } catch {
      throw LogCore.logError(error)
    }
  }

  // MARK: Appending

  /// One turn: takes the batches in, writes them, makes them durable as configured, and shows them to readers. One
  /// result a request, in order; requests to one partition are appended in order.
  package func append(_ requests: [AppendRequest]) -> [Result<AppendReceipt, LogError>] {
    totals.turns += 1
    var turn = Turn(count: requests.count)
    for (index, request) in requests.enumerated() {
      switch partition(for: request.partition) {
      case .failure(let error): turn.results[index] = .failure(error)
      case .success(let partition): stage(request.batch, index, partition, &turn)
      }
    }
    settle(turn.touched, &turn)
    return turn.results
  }

  /// The requests of a turn and what has become of them.
  private struct Turn {
    var results: [Result<AppendReceipt, LogError>]
    var touched: [Partition] = []
    /// Requests that hold once their partition's part of the turn is committed.
    var pending: [(index: Int, partition: Partition, receipt: AppendReceipt)] = []

    init(count: Int) { results = Array(repeating: .failure(.shuttingDown), count: count) }
  }

  private func stage(_ batch: RecordBatch, _ index: Int, _ partition: Partition, _ turn: inout Turn) {
    // Each of two things may happen once: the segment is full, or the log is and something can be dropped.
    for attempt in 0..<3 {
      let now = clock.now
      switch checkProducer(batch) ?? partition.stage(batch, now: now) {
      case .accepted(let receipt):
        if !turn.touched.contains(where: { $0 === partition }) { turn.touched.append(partition) }
        turn.pending.append((index, partition, receipt))
        return
      case .known(let receipt):
        totals.duplicateMessages += Int64(receipt.recordCount)
        turn.results[index] = .success(receipt)
        return
      case .refused(let error):
        if case .logFull = error {
          if attempt == 0, ((try? dropExpired(partition, now: now)) ?? 0) > 0 { continue }
          totals.logFullEvents += 1
        }
        turn.results[index] = .failure(error)
        return
      case .needsRoll:
        settle([partition], &turn)
        // Where that failed the segment may be as empty as its successor would be.
        guard partition.isWorthRolling else { continue }
        do throws(DiskError) {
          try partition.roll(now: now)
          totals.segmentsRolled += 1
          totals.syncs += 1
          _ = try dropExpired(partition, now: now)
        } catch {
          note(error)
          turn.results[index] = .failure(LogCore.logError(error))
          return
        }
      }
    }
    turn.results[index] = .failure(.messageTooLarge(bytes: batch.bytes.count, limit: configuration.maxMessageBytes))
  }

  /// An id that this log has not given out cannot be told from one that it will give to another producer.
  private func checkProducer(_ batch: RecordBatch) -> Partition.Staged? {
    let id = batch.producerID
    return id >= nextProducer ? .refused(.unknownProducer(id)) : nil
  }

  /// Writes, syncs and commits what is staged in these partitions, and settles the requests that waited for it.
  private func settle(_ partitions: [Partition], _ turn: inout Turn) {
    let now = clock.now
    var failures: [ObjectIdentifier: DiskError] = [:]
    for partition in partitions where partition.hasStaged {
      do throws(DiskError) {
        try partition.writeStaged()
        if configuration.durability != .every { try reserve(partition) }
      } catch { failures[ObjectIdentifier(partition)] = error }
    }
    if configuration.durability == .every {
      for partition in partitions where partition.hasStaged && failures[ObjectIdentifier(partition)] == nil {
        do throws(DiskError) {
          try partition.sync()
          totals.syncs += 1
        } catch {
          totals.syncFailures += 1
          failures[ObjectIdentifier(partition)] = error
        }
      }
    }
    for partition in partitions where partition.hasStaged {
      if let error = failures[ObjectIdentifier(partition)] {
        note(error)
        partition.rollBack()
      } else {
        totals.bytesAppended += partition.stagedSize
        partition.commit(now: now)
        writeProblem = nil
      }
    }
    turn.pending.removeAll { index, partition, receipt in
      guard partitions.contains(where: { $0 === partition }) else { return false }
      if let error = failures[ObjectIdentifier(partition)] {
        turn.results[index] = .failure(LogCore.logError(error))
      } else {
        turn.results[index] = .success(receipt)
        count(receipt)
      }
      return true
    }
  }

  private func count(_ receipt: AppendReceipt) {
    if receipt.isDuplicate {
      totals.duplicateMessages += Int64(receipt.recordCount)
    } else {
      totals.messagesAppended += Int64(receipt.recordCount)
      totals.batchesAppended += 1
    }
  }

  /// Makes sure that a power cut cannot make the log give out again an offset that a reader has seen.
  private func reserve(_ partition: Partition) throws(DiskError) {
    guard partition.stagedEnd > partition.reservedOffset else { return }
    let before = partition.reservedOffset
    partition.reservedOffset = partition.stagedEnd + LogCore.offsetBlock
    do throws(DiskError) { try writeCheckpoint() } catch {
      partition.reservedOffset = before
      throw error
    }
  }

  private func note(_ error: DiskError) {
    writeProblem = error
    if error.kind == .noSpace { totals.diskFullEvents += 1 } else { totals.writeFailures += 1 }
  }

  static func logError(_ error: DiskError) -> LogError { error.kind == .noSpace ? .diskFull(error) : .disk(error) }

  // MARK: Topics

  /// As `RecordLog.createTopic`.
  package func createTopic(_ name: TopicName, _ settings: TopicConfiguration) throws(LogError) {
    guard topics[name] == nil else { throw .topicExists(name.text) }
    try configuration.validate(settings)
    guard topics.count < configuration.topicsMax else {
      throw .invalidConfiguration(setting: "topicsMax", reason: "of \(configuration.topicsMax) is reached")
    }
    let partitions = topics.values.reduce(0) { $0 + $1.partitions.count }
    guard partitions + Int(settings.partitions) <= configuration.partitionsMax else {
      throw .invalidConfiguration(
        setting: "partitionsMax", reason: "of \(configuration.partitionsMax) would be exceeded")
    }
    do throws(DiskError) {
      var reserved = identities
      reserved.nextTopic += 1
      try saveIdentities(reserved)
      let file = TopicFile(identity: identities.nextTopic - 1, configuration: settings)
      let folder = topicFolder(name.text)
      // Left behind by a creation that did not finish: without its file it was never a topic.
      if try disk.exists(folder) { try moveToDeleted(folder) }
      try disk.createDirectory(folder)
      try disk.syncDirectory(Disks.join(root, "topics"))
      let opened = try openPartitions(name, file)
      try disk.replaceFile(Disks.join(folder, "topic"), with: file.encoded())
      publish(name, Topic(identity: file.identity, configuration: settings, partitions: opened))
    } catch { throw LogCore.logError(error) }
  }

  /// As `RecordLog.deleteTopic`.
  package func deleteTopic(_ name: TopicName) throws(LogError) {
    guard let topic = topics[name] else { throw .unknownTopic(name.text) }
    let folder = topicFolder(name.text)
    var failure: DiskError?
    do throws(DiskError) { try moveToDeleted(folder) } catch {
      // Where only the sync failed the topic is gone, though a power cut might bring it back: what would still be appended
      // to it would go with the next start.
      guard (try? disk.exists(folder)) == false else { throw LogCore.logError(error) }
      failure = error
    }
    topics[name] = nil
    reader.setTopic(name, nil)
    for partition in topic.partitions {
      checkpoint[partition.identity] = nil
      partition.view.publish { state in
        state.isDeleted = true
        state.tail.removeAll()
      }
      for segment in partition.segments { reader.files.forget(segment.path) }
    }
    shareTail()
    if let failure { throw LogCore.logError(failure) }
    do throws(DiskError) { try purgeDeleted() } catch { totals.maintenanceFailures += 1 }
  }

  private func partition(for id: TopicPartition) -> Result<Partition, LogError> {
    if topics[id.topic] == nil {
      guard configuration.createsTopics else { return .failure(.unknownTopic(id.topic.text)) }
      do throws(LogError) {
        try createTopic(id.topic, TopicConfiguration(partitions: configuration.defaultPartitions))
      } catch { return .failure(error) }
    }
    guard let topic = topics[id.topic] else { return .failure(.unknownTopic(id.topic.text)) }
    guard topic.partitions.indices.contains(Int(id.partition)) else {
      return .failure(
        .unknownPartition(
          topic: id.topic.text, partition: id.partition, partitions: Int32(topic.partitions.count)))
    }
    return .success(topic.partitions[Int(id.partition)])
  }

  private func topicFolder(_ name: String) -> String { Disks.join(Disks.join(root, "topics"), name) }

  private func openTopic(_ text: String) throws(DiskError) {
    let folder = topicFolder(text)
    guard let name = TopicName(text) else { return }
    let path = Disks.join(folder, "topic")
    var file: TopicFile?
    if try disk.exists(path) { file = TopicFile.decode(try disk.readFile(path)) }
    // Its new identity is in no checkpoint.
    let isNew = file == nil
    if file == nil {
      let holdsRecords = try holdsRecords(folder)
      guard try disk.exists(path) || holdsRecords else {
        try moveToDeleted(folder)
        return
      }
      recovery.add(.metadataLost(file: path, reason: "its checksum is wrong; the topic goes on with default settings"))
      var reserved = identities
      reserved.nextTopic += 1
      try saveIdentities(reserved)
      let count = try disk.list(folder).compactMap { Int32($0) }.max().map { $0 + 1 } ?? configuration.defaultPartitions
      file = TopicFile(identity: reserved.nextTopic - 1, configuration: TopicConfiguration(partitions: count))
      if let file { try disk.replaceFile(path, with: file.encoded()) }
    }
    guard let file else { return }
    let opened = try openPartitions(name, file, isCheckpointLost: isCheckpointLost || isNew)
    publish(name, Topic(identity: file.identity, configuration: file.configuration, partitions: opened))
  }

  private func holdsRecords(_ folder: String) throws(DiskError) -> Bool {
    for partition in try disk.list(folder) where Int32(partition) != nil {
      let inner = Disks.join(folder, partition)
      for name in try disk.list(inner) where name.hasSuffix(".log") {
        if try disk.open(Disks.join(inner, name), .read).size() > 0 { return true }
      }
    }
    return false
  }

  private func openPartitions(
    _ name: TopicName, _ file: TopicFile, isCheckpointLost: Bool = false
  ) throws(DiskError) -> [Partition] {
    let folder = topicFolder(name.text)
    for index in 0..<file.configuration.partitions { try disk.createDirectory(Disks.join(folder, "\(index)")) }
    try disk.syncDirectory(folder)
    var partitions: [Partition] = []
    for index in 0..<file.configuration.partitions {
      let identity = PartitionIdentity(topic: file.identity, partition: index)
      let around = Partition.Surroundings(
        id: TopicPartition(topic: name, partition: index), identity: identity,
        directory: Disks.join(folder, "\(index)"), disk: disk, files: reader.files,
        settings: settings(name, file.configuration), checkpoint: checkpoint[identity],
        isCheckpointLost: isCheckpointLost, prologue: configuration.prologue(name), tailBytes: configuration.tailBytes,
        now: clock.now)
      partitions.append(try Partition.open(around, &recovery))
    }
    return partitions
  }

  private func settings(_ name: TopicName, _ topic: TopicConfiguration) -> PartitionSettings {
    let retentionBytes = topic.retentionBytes ?? configuration.retentionBytes
    // Retention drops whole segments, so a partition has at least eight of them below its bound.
    let segmentBytes = min(topic.segmentBytes ?? configuration.segmentBytes, (retentionBytes ?? .max) / 8)
    return PartitionSettings(
      segmentBytes: max(1024, segmentBytes),
      retentionMilliseconds: topic.retentionMilliseconds ?? configuration.retentionMilliseconds,
      retentionBytes: retentionBytes, maxMessageBytes: topic.maxMessageBytes ?? configuration.maxMessageBytes,
      requiresCoverage: configuration.coverageTopics.contains(name), producersMax: configuration.producersMax,
      producerExpirationMilliseconds: configuration.producerExpirationMilliseconds)
  }

  private func publish(_ name: TopicName, _ topic: Topic) {
    topics[name] = topic
    reader.setTopic(
      name, LogReader.Topic(configuration: topic.configuration, partitions: topic.partitions.map(\.view)))
    shareTail()
  }

  /// All tails together stay within their bound, whatever the number of partitions.
  private func shareTail() {
    let count = topics.values.reduce(0) { $0 + $1.partitions.count }
    let share = min(configuration.tailBytes, configuration.tailBytesTotal / max(1, count))
    for topic in topics.values {
      for partition in topic.partitions { partition.view.publish { $0.tail.bytesMax = share } }
    }
  }

  /// Deletion is a rename, which is whole, and then a removal that may be repeated.
  private func moveToDeleted(_ folder: String) throws(DiskError) {
    let deleted = Disks.join(root, "deleted")
    while try disk.exists(Disks.join(deleted, "\(nextDeletion)")) { nextDeletion += 1 }
    try disk.rename(folder, to: Disks.join(deleted, "\(nextDeletion)"))
    try disk.syncDirectory(Disks.join(root, "topics"))
    try disk.syncDirectory(deleted)
  }

  private func purgeDeleted() throws(DiskError) {
    let deleted = Disks.join(root, "deleted")
    for topic in try disk.list(deleted) {
      let folder = Disks.join(deleted, topic)
      for name in try disk.list(folder) {
        let path = Disks.join(folder, name)
        if Int32(name) != nil {
          for file in try disk.list(path) { try disk.remove(Disks.join(path, file)) }
          try disk.removeDirectory(path)
        } else {
          try disk.remove(path)
        }
      }
      try disk.removeDirectory(folder)
    }
  }

  // MARK: Producers and coverage

  /// As `RecordLog.registerProducer`: an id that was never given out before, over restarts too.
  package func registerProducer() throws(LogError) -> ProducerIdentity {
    if nextProducer >= identities.producersReserved {
      var reserved = identities
      reserved.producersReserved = nextProducer + LogCore.producerBlock
      do throws(DiskError) { try saveIdentities(reserved) } catch { throw LogCore.logError(error) }
    }
    defer { nextProducer += 1 }
    return ProducerIdentity(id: nextProducer, epoch: 0)
  }

  private func saveIdentities(_ new: Identities) throws(DiskError) {
    try disk.replaceFile(Disks.join(root, "identities"), with: new.encoded())
    identities = new
  }

  /// Says that everything of the partition below `offset` has been taken in by the store, so that it may be dropped.
  /// It never moves back. Partitions that are not there are passed over.
  package func setCoveredOffset(_ offset: Int64, for id: TopicPartition) {
    guard let topic = topics[id.topic], topic.partitions.indices.contains(Int(id.partition)) else { return }
    let partition = topic.partitions[Int(id.partition)]
    partition.coveredOffset = max(partition.coveredOffset, min(offset, partition.nextOffset))
  }

  // MARK: Work beside appending

  /// Does what is due by the clock: sync, index files, retention, checkpoint. Called often; does little when nothing is
  /// due. Failures are counted and tried again.
  package func maintain() {
    let now = clock.now
    if case .interval(let interval) = configuration.durability {
      let elapsed = clock.monotonicNanoseconds &- lastSync
      if Duration.nanoseconds(Int64(clamping: elapsed)) >= interval { syncAll() }
    }
    for partition in allPartitions {
      partition.writeIndexes()
      do throws(DiskError) {
        if let finding = try partition.finishRepair(now: now) { recovery.add(finding) }
      } catch { totals.maintenanceFailures += 1 }
    }
    if now - lastRetention >= configuration.retentionCheckIntervalMilliseconds || now < lastRetention {
      lastRetention = now
      for partition in allPartitions {
        do throws(DiskError) { _ = try dropExpired(partition, now: now) } catch { totals.maintenanceFailures += 1 }
      }
    }
    if now - lastCheckpoint >= configuration.checkpointIntervalMilliseconds || now < lastCheckpoint {
      lastCheckpoint = now
      if checkpoint != currentCheckpoint() {
        do throws(DiskError) { try writeCheckpoint() } catch { totals.maintenanceFailures += 1 }
      }
    }
  }

  /// Puts everything on stable storage.
  package func syncAll() {
    lastSync = clock.monotonicNanoseconds
    for partition in allPartitions where partition.isDirty {
      do throws(DiskError) {
        try partition.sync()
        totals.syncs += 1
      } catch {
        totals.syncFailures += 1
        writeProblem = error
      }
    }
  }

  /// Looks into a segment that a reader found corrupt, and takes it out of service if it is.
  package func repair(_ id: TopicPartition, segment base: Int64) {
    guard let topic = topics[id.topic], topic.partitions.indices.contains(Int(id.partition)) else { return }
    do throws(DiskError) {
      if let finding = try topic.partitions[Int(id.partition)].repair(base, now: clock.now) { recovery.add(finding) }
    } catch { totals.maintenanceFailures += 1 }
  }

  /// Syncs, writes the index files and the checkpoint, and lets go of the lock. Nothing may be called afterwards.
  package func close() throws(LogError) {
    syncAll()
    do throws(DiskError) {
      for partition in allPartitions {
        if partition.isDirty { try partition.sync() }
        partition.writeIndexes()
        partition.reservedOffset = partition.nextOffset
      }
      try writeCheckpoint()
    } catch { throw LogCore.logError(error) }
    lock = nil
  }

  /// The bytes that all partitions hold.
  package var bytes: Int64 { allPartitions.reduce(0) { $0 + $1.bytes } }

  private var allPartitions: [Partition] { topics.values.flatMap(\.partitions) }

  private func dropExpired(_ partition: Partition, now: Int64) throws(DiskError) -> Int {
    let dropped = try partition.applyRetention(now: now)
    totals.segmentsDropped += Int64(dropped)
    return dropped
  }

  // MARK: The checkpoint

  private var checkpointPath: String { Disks.join(root, "checkpoint") }

  private func loadCheckpoint() throws(DiskError) {
    guard try disk.exists(checkpointPath) else { return }
    if let loaded = CheckpointFile.decode(try disk.readFile(checkpointPath)) {
      checkpoint = loaded
    } else {
      isCheckpointLost = true
      recovery.add(
        .metadataLost(
          file: checkpointPath, reason: "its checksum is wrong; where a segment ends badly its file is set aside"))
    }
  }

  private func currentCheckpoint() -> [PartitionIdentity: CheckpointEntry] {
    var entries: [PartitionIdentity: CheckpointEntry] = [:]
    for partition in allPartitions {
      entries[partition.identity] = CheckpointEntry(
        segmentBase: partition.active.path.baseOffset, syncedBytes: partition.syncedBytes,
        syncedOffset: partition.syncedOffset, reservedOffset: max(partition.syncedOffset, partition.reservedOffset))
    }
    return entries
  }

  private func writeCheckpoint() throws(DiskError) {
    let entries = currentCheckpoint()
    try disk.replaceFile(checkpointPath, with: CheckpointFile.encode(entries))
    checkpoint = entries
    totals.checkpoints += 1
  }
}
