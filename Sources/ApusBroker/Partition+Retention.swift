import ApusIO

// What a partition drops and when: whole segments from its start, by age of the append and by size, and never one that
// holds what the store has not covered where the topic requires that.
extension Partition {
  /// Drops what may be dropped. Returns how many segments went.
  func applyRetention(now: Int64) throws(DiskError) -> Int {
    // It would take away under a repair what that one is about to put in place.
    if pendingRepair != nil { return 0 }
    if isActiveDroppable(now: now) { try roll(now: now) }
    var dropped = 0
    var rest = bytes
    while dropped < segments.count - 1 {
      let oldest = segments[dropped]
      guard isExpired(oldest, now: now) || isOversize(rest), isCovered(oldest) else { break }
      rest -= oldest.bytes
      dropped += 1
    }
    try drop(dropped)
    producers.expire(before: now - settings.producerExpirationMilliseconds)
    return dropped
  }

  /// The newest segment may go as well, once it has a successor.
  private func isActiveDroppable(now: Int64) -> Bool {
    guard isWorthRolling, isCovered(active), !hasStaged else { return false }
    return isExpired(active, now: now)
  }

  private func isExpired(_ segment: Segment, now: Int64) -> Bool {
    guard let limit = settings.retentionMilliseconds else { return false }
    return now - segment.lastAppendTime > limit
  }

  /// Where producers are refused at the bound, the oldest segments go a quarter earlier, so that they are not.
  private func isOversize(_ held: Int64) -> Bool {
    guard let limit = settings.retentionBytes else { return false }
    return held > (settings.requiresCoverage ? limit - limit / 4 : limit)
  }

  private func isCovered(_ segment: Segment) -> Bool {
    !settings.requiresCoverage || segment.nextOffset <= coveredOffset
  }

  /// Readers see the new start before the files go, so that an offset is said to be gone rather than not found.
  private func drop(_ count: Int) throws(DiskError) {
    guard count > 0 else { return }
    let gone = segments[..<count]
    segments.removeFirst(count)
    let start = logStart
    view.publish { state in
      state.segments = segments.map(\.view)
      state.logStart = start
    }
    for segment in gone {
      files.forget(segment.path)
      try Partition.removeFiles(segment.path, disk)
    }
    for kept in setAside where kept.baseOffset < start {
      let name = Disks.join(directory, kept.name)
      if try disk.exists(name) { try disk.remove(name) }
    }
    setAside.removeAll { $0.baseOffset < start }
    try disk.syncDirectory(directory)
  }

  static func removeFiles(_ path: SegmentPath, _ disk: any Disk) throws(DiskError) {
    // The log goes first: without it the rest is litter that the next start clears away.
    for name in [path.log, path.offsetIndex, path.timeIndex, path.producers] where try disk.exists(name) {
      try disk.remove(name)
    }
  }
}
