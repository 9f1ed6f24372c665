import ApusIO
import ApusModel

extension StoreCore {
  /// What opening a directory found.
  struct Opened {
    var lock: any DiskLock
    var manifest: Manifest
    var manifestBytes: Int
    var blocks: [Block]
    var rollups: [Rollup]
    var quarantined: Int
  }

  static func open(_ disk: any Disk, _ directory: String, cache: ExpandedCache) throws(StoreError) -> Opened {
    let path = Disks.join(directory, Manifest.name)
    let blocksDirectory = Disks.join(directory, "blocks")
    var content: [UInt8]?
    let lock: any DiskLock
    var names: [String]
    do throws(DiskError) {
      try disk.createDirectory(blocksDirectory)
      lock = try disk.lock(Disks.join(directory, "LOCK"))
      if try disk.exists(path) { content = try disk.readFile(path) }
      names = try disk.list(blocksDirectory)
    } catch { throw .disk(error) }

    var manifest = Manifest()
    var manifestBytes = content?.count ?? manifest.encoded().count
    if let content {
      manifest = try Manifest(content, path: path)
    } else {
      // A store has a manifest before it has a block, so blocks without one are a store whose manifest was lost.
      guard names.isEmpty else {
        throw .corrupt(
          file: path, section: "manifest", reason: "it is missing although there are \(names.count) blocks beside it")
      }
      do throws(DiskError) {
        try disk.syncDirectory(Disks.directory(of: directory))
        try disk.replaceFile(path, with: manifest.encoded())
        try disk.syncDirectory(directory)
      } catch { throw .disk(error) }
    }

    // What stays of these is no harm; the next opening tries again.
    try? removeUnfinishedSnapshots(disk, directory)
    let listed = Set(manifest.files.map(\.name))
    for name in names where !listed.contains(name) { try? disk.remove(Disks.join(blocksDirectory, name)) }

    var opened: [UInt64: Block] = [:]
    var lost: Set<UInt64> = []
    for meta in manifest.files {
      do throws(StoreError) {
        opened[meta.id] = try Block(disk, path: Disks.join(blocksDirectory, meta.name), meta: meta, cache: cache)
      } catch {
        switch error {
        // A block that is damaged, or gone, is set aside; the rest of the store is served.
        case .corrupt: lost.insert(meta.id)
        case .disk(let cause) where cause.kind == .notFound: lost.insert(meta.id)
        default: throw error
        }
      }
    }
    let before = manifest
    manifest.lose(lost)
    // A roll-up that is lost is made again from the samples that are there.
    manifest.rollups.removeAll { $0.block.map { lost.contains($0.id) } ?? false }
    let blocks = manifest.blocks.compactMap { opened[$0.id] }
      .sorted { ($0.meta.sequence, $0.meta.minimum) < ($1.meta.sequence, $1.meta.minimum) }
    let rollups = manifest.rollups.map { meta in Rollup(meta: meta, block: meta.block.flatMap { opened[$0.id] }) }
    if manifest != before {
      let bytes = manifest.encoded()
      manifestBytes = bytes.count
      do throws(DiskError) {
        // Moved first: a file that no manifest lists is taken for what a crash left behind.
        for id in lost.sorted() { try setAside(disk, directory, id) }
        try disk.replaceFile(path, with: bytes)
      } catch { throw .disk(error) }
    }
    // A tombstone is needed for as long as the manifest lists it; the file of the next commit may drop it.
    return Opened(
      lock: lock, manifest: manifest, manifestBytes: manifestBytes, blocks: blocks, rollups: rollups,
      quarantined: lost.count)
  }

  /// Moves a damaged block to where nothing reads or removes it; on return it is there for good.
  static func setAside(_ disk: any Disk, _ directory: String, _ id: UInt64) throws(DiskError) {
    let from = Disks.join(Disks.join(directory, "blocks"), BlockMeta.name(id))
    guard try disk.exists(from) else { return }
    let quarantine = Disks.join(directory, "quarantine")
    try disk.createDirectory(quarantine)
    try disk.rename(from, to: Disks.join(quarantine, BlockMeta.name(id)))
    try disk.syncDirectory(quarantine)
    try disk.syncDirectory(Disks.join(directory, "blocks"))
  }

  /// Takes a block that turned out to be damaged out of the store; it is kept in the quarantine folder.
  func quarantine(_ block: Block) {
    let isNew = state.withLock { state in
      let isRollup = { (rollup: Rollup) in rollup.block?.meta.id == block.meta.id }
      guard state.blocks.contains(where: { $0.meta.id == block.meta.id }) || state.rollups.contains(where: isRollup)
      else { return false }
      state.blocks.removeAll { $0.meta.id == block.meta.id }
      state.rollups.removeAll(where: isRollup)
      state.quarantined += 1
      return true
    }
    guard isNew else { return }
    do throws(StoreError) {
      // Moved first: a commit removes the files that it drops from the list. Where that fails the block stays listed, and
      // the next start finds it again.
      do throws(DiskError) { try StoreCore.setAside(disk, directory, block.meta.id) } catch { throw .disk(error) }
      _ = try commit(
        { manifest in
          manifest.lose([block.meta.id])
          manifest.rollups.removeAll { $0.block?.id == block.meta.id }
          return true
        }, install: { state, manifest in state.adopt(manifest) })
    } catch { note(failure: error) }
    measureBeside()
  }

  /// Sets the block aside that a damaged file belongs to, if the error tells of one. Returns whether it did.
  @discardableResult
  func handle(_ error: StoreError) -> Bool {
    guard case .corrupt(let file, _, _) = error else { return false }
    let block = state.withLock { state in
      (state.blocks + state.rollups.compactMap(\.block)).first { $0.path == file }
    }
    if let block { quarantine(block) }
    return block != nil
  }
}
