import ApusIO
import ApusModel

/// The files of a store, or of a snapshot, without opening it as a store: nothing is changed, not even what is damaged.
package struct StoreFolder {
  /// How far something long has come.
  package struct Progress: Hashable, Sendable {
    package var bytes: Int64 = 0
    package var totalBytes: Int64 = 0
    package var blocks = 0
    package var totalBlocks = 0
  }

  let disk: any Disk
  let directory: String
  /// Held while the folder is read, so that no process opens it meanwhile.
  private let lock: (any DiskLock)?
  /// A process has the store open: files come and go.
  package let isLive: Bool

  /// Takes the folder's lock where there is one to take. Whoever needs the folder to stand still refuses `isLive`.
  package init(_ disk: any Disk, directory: String) throws(StoreError) {
    self.disk = disk
    self.directory = directory
    do throws(DiskError) {
      guard try disk.exists(directory) else {
        throw DiskError(kind: .notFound, operation: "open", path: directory)
      }
      let path = Disks.join(directory, "LOCK")
      guard try disk.exists(path) else {
        lock = nil
        isLive = false
        return
      }
      do throws(DiskError) {
        lock = try disk.lock(path)
        isLive = false
      } catch {
        lock = nil
        // Whoever may not take the lock cannot tell either; a process that could write would have made it so.
        isLive = error.kind == .busy
        if error.kind != .busy && error.kind != .permissionDenied { throw error }
      }
    } catch { throw .disk(error) }
  }

  var manifestPath: String { Disks.join(directory, Manifest.name) }
  var blocksDirectory: String { Disks.join(directory, "blocks") }

  /// The manifest and its length.
  func manifest() throws(StoreError) -> (manifest: Manifest, bytes: Int) {
    let content: [UInt8]
    do throws(DiskError) {
      guard try disk.exists(manifestPath) else {
        throw DiskError(kind: .notFound, operation: "open", path: manifestPath)
      }
      content = try disk.readFile(manifestPath)
    } catch { throw .disk(error) }
    return (try Manifest(content, path: manifestPath), content.count)
  }

  func open(_ meta: BlockMeta, cache: ExpandedCache) throws(StoreError) -> Block {
    try Block(disk, path: Disks.join(blocksDirectory, meta.name), meta: meta, cache: cache)
  }

  /// Makes a folder with the same files at `target`, of which there must be nothing or an empty folder. Every block's
  /// checksums are verified on the way; the first that is wrong ends it. After a crash or an error there is nothing at
  /// `target`.
  ///
  /// - Parameters:
  ///   - isLinking: gives the blocks a second name where the file system can, instead of copying them.
  ///   - resetsPositions: the copy knows of no log, so that a collector reads what its log has from the beginning.
  package func copy(
    to target: String, isLinking: Bool, resetsPositions: Bool = false, progress: (Progress) -> Void = { _ in }
  ) throws(StoreError) -> (summary: SnapshotSummary, positions: [LogPartition: Int64]) {
    if isLive {
      throw .refused(
        "\(directory) is in use by a running process; let that process make a snapshot and copy the snapshot")
    }
    var (manifest, _) = try manifest()
    try clear(target)
    let copy = FolderCopy(disk: disk, target: target)
    var summary = SnapshotSummary(name: target.split(separator: "/").last.map(String.init) ?? "", path: target)
    var count = Progress(
      totalBytes: manifest.files.reduce(0) { $0 + $1.bytes }, totalBlocks: manifest.files.count)
    let sampled = Set(manifest.blocks.map(\.id))
    progress(count)
    let cache = ExpandedCache(limit: 1 << 20)
    do throws(StoreError) {
      try copy.begin()
      for meta in manifest.files {
        let block = try open(meta, cache: cache)
        try block.verifyStripes()
        if isLinking, try copy.link(block) {
          summary.blocksLinked += 1
          count.bytes += meta.bytes
        } else {
          try copy.copy(block) { written in
            count.bytes += Int64(written)
            progress(count)
          }
        }
        count.blocks += 1
        summary.blocks += 1
        if sampled.contains(meta.id) { summary.samples += meta.samples }
        summary.bytes += meta.bytes
        progress(count)
      }
      if resetsPositions { manifest.durable = [:] }
      summary.bytes += Int64(try copy.finish(manifest))
    } catch {
      copy.abandon()
      throw error
    }
    return (summary, manifest.durable)
  }

  /// An empty folder may be taken over; anything else is somebody's.
  private func clear(_ target: String) throws(StoreError) {
    var isTaken = false
    do throws(DiskError) {
      guard try disk.exists(target) else { return }
      if try disk.isDirectory(target), try disk.list(target).isEmpty {
        try disk.removeDirectory(target)
      } else {
        isTaken = true
      }
    } catch { throw .disk(error) }
    if isTaken {
      throw .refused("\(target) is not empty, and nothing is ever written over; move it away or choose another folder")
    }
  }
}

extension Block {
  /// Compares every stripe with its checksum; those of the index were compared when the block was opened.
  func verifyStripes() throws(StoreError) {
    for group in groups {
      for (index, stripe) in group.stripes.enumerated()
      where CRC32C.checksum(UnsafeRawBufferPointer(rebasing: map.bytes[stripe.values])) != stripe.checksum {
        throw .corrupt(
          file: path, section: "values", reason: "stripe \(group.firstStripe + index) does not match its checksum")
      }
    }
  }
}
