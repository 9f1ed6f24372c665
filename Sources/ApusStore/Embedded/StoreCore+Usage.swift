import ApusIO

/// What lies beside the blocks in a store's folder, in bytes.
struct BesideBytes: Sendable {
  /// Blocks set aside because they were damaged.
  var quarantine: Int64 = 0
  /// Files of snapshots that are not also the store's own.
  var snapshots: Int64 = 0
  /// When it was measured, on the monotonic clock; nil for never.
  var measuredAt: UInt64?
}

extension StoreCore {
  /// How often it is looked whether somebody removed a snapshot.
  private static let besideNanoseconds: UInt64 = 60_000_000_000

  func measureBesideIfOld() {
    let now = clock.monotonicNanoseconds
    let isFresh = beside.withLock { beside in
      beside.measuredAt.map { now &- $0 < StoreCore.besideNanoseconds } ?? false
    }
    if !isFresh { measureBeside() }
  }

  /// Looks what the quarantine and the snapshots take. What cannot be read counts as nothing.
  func measureBeside() {
    let own = manifest.withLock { Set($0.manifest.files.map(\.name)) }
    var found = BesideBytes(measuredAt: clock.monotonicNanoseconds)
    found.quarantine = bytes(in: quarantineDirectory, without: [])
    let snapshots = (try? disk.exists(snapshotsDirectory)) == true ? (try? disk.list(snapshotsDirectory)) ?? [] : []
    // A block that several snapshots have is one file under several names.
    var seen = own
    for name in snapshots.sorted() {
      let snapshot = Disks.join(snapshotsDirectory, name)
      found.snapshots += size(of: Disks.join(snapshot, Manifest.name))
      let blocks = Disks.join(snapshot, "blocks")
      found.snapshots += bytes(in: blocks, without: seen)
      seen.formUnion((try? disk.list(blocks)) ?? [])
    }
    beside.withLock { $0 = found }
  }

  private func bytes(in directory: String, without known: Set<String>) -> Int64 {
    guard (try? disk.exists(directory)) == true, let names = try? disk.list(directory) else { return 0 }
    return names.filter { !known.contains($0) }.reduce(0) { $0 + size(of: Disks.join(directory, $1)) }
  }

  private func size(of path: String) -> Int64 {
    guard (try? disk.exists(path)) == true, let file = try? disk.open(path, .read) else { return 0 }
    return (try? file.size()) ?? 0
  }
}
