import ApusIO
import ApusModel

extension StoreCore {
  var snapshotsDirectory: String { Disks.join(directory, SnapshotName.folder) }

  /// Makes a folder with everything that is in files now, while appends, merges and queries go on. Blocks are immutable,
  /// so on most file systems a snapshot is a second name for each of them, and costs as much disk as merges and
  /// retention remove from the store later.
  ///
  /// The list of blocks is taken at one moment, with the positions that belong to it; no lock is held while names are
  /// made. A block that a merge removes meanwhile is written from its mapped bytes.
  func snapshot(named name: SnapshotName) throws(StoreError) -> SnapshotSummary {
    let made = try snapshotting.withLockIfAvailable { _ throws(StoreError) in
      try writeSnapshot(named: name)
    }
    guard let made else { throw .refused("another snapshot is being made; wait for it to end") }
    return made
  }

  private func writeSnapshot(named name: SnapshotName) throws(StoreError) -> SnapshotSummary {
    let path = Disks.join(snapshotsDirectory, name.text)
    let isTaken: Bool
    do throws(DiskError) {
      try disk.createDirectory(snapshotsDirectory)
      isTaken = try disk.exists(path)
    } catch { throw .disk(error) }
    if isTaken { throw .snapshotExists(name.text) }
    var (listed, blocks) = manifest.withLock { files in
      (files.manifest, state.withLock { $0.blocks + $0.rollups.compactMap(\.block) })
    }
    // What was found damaged a moment ago and has not left the manifest yet is no part of it.
    let known = Set(blocks.map(\.meta.id))
    listed.blocks.removeAll { !known.contains($0.id) }
    listed.rollups.removeAll { rollup in rollup.block.map { !known.contains($0.id) } ?? false }
    let wanted = Set(listed.files.map(\.id))
    let sampled = Set(listed.blocks.map(\.id))
    blocks.removeAll { !wanted.contains($0.meta.id) }
    let copy = FolderCopy(disk: disk, target: path)
    var summary = SnapshotSummary(name: name.text, path: path)
    do throws(StoreError) {
      try copy.begin()
      for block in blocks {
        if isStopping.isSet { throw .closed }
        if try copy.link(block) { summary.blocksLinked += 1 } else { try copy.copy(block) }
        summary.blocks += 1
        if sampled.contains(block.meta.id) { summary.samples += block.meta.samples }
        summary.bytes += block.meta.bytes
      }
      summary.bytes += Int64(try copy.finish(listed))
    } catch {
      copy.abandon()
      throw error
    }
    measureBeside()
    return summary
  }

  /// Removes the snapshots that a crash left unfinished.
  static func removeUnfinishedSnapshots(_ disk: any Disk, _ directory: String) throws(DiskError) {
    let folder = Disks.join(directory, SnapshotName.folder)
    guard try disk.exists(folder) else { return }
    for name in try disk.list(folder) where name.hasSuffix(FolderCopy.partialEnding) {
      try disk.removeTree(Disks.join(folder, name))
    }
  }
}

/// The name of a snapshot, which is that of its folder.
package struct SnapshotName: Hashable, Sendable {
  /// Where snapshots are, in the store's folder.
  package static let folder = "snapshots"
  static let lengthMax = 128

  package let text: String

  /// Nil for what is not 1 to 128 of `A-Z a-z 0-9 . _ -`, begins with a dot, or ends as what is unfinished does.
  package init?(_ text: String) {
    let isRight = text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
      default: false
      }
    }
    guard isRight, !text.isEmpty, text.utf8.count <= SnapshotName.lengthMax, !text.hasPrefix("."),
      !text.hasSuffix(FolderCopy.partialEnding)
    else { return nil }
    self.text = text
  }

  /// A name of an instant: `2026-01-01T00-00-00Z`. A second snapshot in one second needs a name of its own.
  package static func of(_ instant: Timestamp) -> SnapshotName {
    let text = RFC3339.format(instant.milliseconds).prefix(19).map { $0 == ":" ? "-" : $0 }
    return SnapshotName(String(text) + "Z") ?? SnapshotName("snapshot")!
  }
}
