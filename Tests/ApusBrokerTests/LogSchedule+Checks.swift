import ApusBroker
import ApusIO
import ApusTestKit

// The checkers, apart from the workload.
extension LogSchedule {
  /// Compares all that can be read with the model. Damage that is come upon is repaired; a power cut may end that.
  mutating func verify(_ core: LogCore, _ place: String, isOpened: Bool = false) -> String? {
    let before = sent
    let others = sentIfNotDeleted
    var problem = compareAll(core)
    if disk.isCrashed { return nil }
    if problem != nil {
      // A deletion did not reach the disk, if that explains it.
      for other in others {
        sent = other
        sentIfNotDeleted = []
        guard let otherwise = compareAll(core) else {
          problem = nil
          break
        }
        problem = problem.map { "\($0); had the deletion not reached the disk, \(otherwise)" }
        if disk.isCrashed { break }
        (sent, sentIfNotDeleted) = (before, others)
      }
    } else if isOpened {
      // Only what was read from the disk says so: what the log in memory has deleted may come back with a power cut.
      sentIfNotDeleted = []
    }
    if disk.isCrashed { return nil }
    if problem == nil { damage.settle() }
    return problem.map { "\(place): \($0)\n\(damage)\nfindings: \(core.recovery.findings)" }
  }

  private mutating func compareAll(_ core: LogCore) -> String? {
    if let problem = takeFindings(core) { return problem }
    guard let description = core.reader.descriptions().first(where: { $0.name == topic }) else {
      let isLoss = sent.contains { $0.offset != nil && !$0.isInDoubt && !$0.isDeleted && !$0.isGone }
      return isLoss ? "the topic is gone" : nil
    }
    guard description.partitions.count == 2 else { return "there are \(description.partitions.count) partitions" }
    for partition in 0..<2 {
      switch readAll(core, partition) {
      case .failure(let problem): return "partition \(partition): \(problem.text)"
      case .success(let found):
        if disk.isCrashed { return nil }
        let logStart = (try? core.reader.offset(of: .earliest, in: id(partition))) ?? 0
        if let problem = compare(found, partition, logStart: logStart) { return "partition \(partition): \(problem)" }
      }
    }
    return nil
  }

  struct Problem: Error {
    var text: String
  }

  private mutating func readAll(_ core: LogCore, _ partition: Int) -> Result<[(offset: Int64, value: String)], Problem>
  {
    var found: [(offset: Int64, value: String)] = []
    var lastRefusal: (file: String, offset: Int64)?
    var hasMaintained = false
    do {
      var offset = try core.reader.offset(of: .earliest, in: id(partition))
      while true {
        do {
          let slice = try core.reader.read(id(partition), from: offset, maxBytes: 3000)
          if slice.batches.isEmpty { return .success(found) }
          for batch in slice.batches {
            try batch.forEachRecord { record in
              guard record.offset >= offset else { return }
              found.append((record.offset, record.value.map { String(decoding: $0, as: UTF8.self) } ?? ""))
            }
            offset = batch.nextOffset
          }
        } catch LogError.corrupt(_, let file, let position, let reason) {
          if let last = lastRefusal, last == (file, offset) {
            return .failure(Problem(text: "\(file) is still corrupt after a repair, at byte \(position): \(reason)"))
          }
          lastRefusal = (file, offset)
          if let problem = repair(core, partition, file) { return .failure(Problem(text: problem)) }
          if disk.isCrashed { return .success([]) }
          // The log may begin later now.
          offset = max(offset, try core.reader.offset(of: .earliest, in: id(partition)))
        } catch  where !hasMaintained && !disk.isCrashed {
          // A repair that a failing disk broke off is finished at the next maintenance; until then its segment cannot be
          // read.
          hasMaintained = true
          core.maintain()
          if let problem = takeFindings(core) { return .failure(Problem(text: problem)) }
        }
      }
    } catch { return disk.isCrashed ? .success([]) : .failure(Problem(text: "\(error)")) }
  }

  private mutating func compare(
    _ found: [(offset: Int64, value: String)], _ partition: Int, logStart: Int64
  ) -> String? {
    var places: [String: Int64] = [:]
    var previous: Int64 = -1
    for (offset, value) in found {
      if offset <= previous { return "offset \(offset) follows \(previous)" }
      previous = offset
      if value.hasPrefix("prologue") { continue }
      if places.updateValue(offset, forKey: value) != nil { return "\(value.prefix(8)) is there twice" }
    }
    for index in sent.indices where sent[index].partition == partition && !sent[index].isDeleted {
      let batch = sent[index]
      let offsets = batch.values.map { places.removeValue(forKey: $0) }
      let there = offsets.compactMap { $0 }
      if let offset = batch.offset {
        if there.isEmpty && batch.isInDoubt && durability != .every { continue }
        if there.isEmpty && (batch.isGone || mayBeGone(batch, logStart: logStart)) {
          sent[index].isGone = true
          continue
        }
        let expected = batch.values.indices.map { Int64($0) + offset }
        if there != expected {
          return "acknowledged at \(offset) and found at \(offsets): \(batch.values[0].prefix(8)), start \(logStart)"
        }
      } else if !there.isEmpty {
        guard batch.isInDoubt else { return "\(batch.values[0].prefix(8)) was never sent" }
        if there.count != batch.values.count { return "half of \(batch.values[0].prefix(8)) is there" }
      }
    }
    if let stranger = places.first { return "\(stranger.key.prefix(8)) at \(stranger.value) is unknown" }
    return nil
  }

  /// Whether a batch that is not there was taken by flipped bits that were reported, or by retention.
  private mutating func mayBeGone(_ batch: Sent, logStart: Int64) -> Bool {
    guard let offsets = batch.offsets else { return false }
    if damage.excuses(batch.partition, offsets) {
      counts.lostToFlips += 1
      return true
    }
    guard offsets.upperBound <= logStart else { return false }
    let isDue =
      switch features.retention {
      case .none: false
      case .size: true
      case .age: clock.now - batch.time > LogSchedule.retentionMilliseconds
      case .covered: offsets.upperBound <= covered[batch.partition]
      }
    if isDue { counts.dropped += 1 }
    return isDue
  }

  /// Retention keeps what it must, and drops what it should once it has its turn.
  mutating func checkRetention(_ core: LogCore) -> String? {
    guard let before = core.reader.descriptions().first(where: { $0.name == topic }) else { return nil }
    // A segment and the batch that did not fit in it.
    let slack: Int64 = 8192
    if features.retention == .size, !features.flips, durability == .every {
      for partition in before.partitions where partition.logStart > 0 {
        if partition.bytes < LogSchedule.retentionBytes - slack { return "only \(partition.bytes) bytes were kept" }
      }
    }
    clock.advance(milliseconds: LogSchedule.retentionMilliseconds + 21)
    core.maintain()
    guard let after = core.reader.descriptions().first(where: { $0.name == topic }) else { return "the topic is gone" }
    for (old, new) in zip(before.partitions, after.partitions) {
      switch features.retention {
      case .none: if old.logStart != new.logStart { return "segments were dropped without retention" }
      case .size: if new.bytes > LogSchedule.retentionBytes + slack { return "\(new.bytes) bytes were kept" }
      case .age: if new.logStart < old.highWatermark { return "what is too old was kept: \(new)" }
      case .covered:
        let partition = Int(new.index)
        if new.logStart > max(old.logStart, covered[partition]) { return "what was not covered was dropped: \(new)" }
      }
    }
    return nil
  }
}
