import ApusIO

/// Makes a folder with the files of a store at one moment, so that after a crash there is all of it or, under its name,
/// nothing: it grows beside its place under a name that ends in `.partial`, the manifest last, and is renamed when all of
/// it is on stable storage.
struct FolderCopy {
  /// A folder of this ending was not finished; whoever finds it may remove it.
  static let partialEnding = ".partial"

  let disk: any Disk
  /// Where the folder is to be; there must be nothing.
  let target: String

  private var partial: String { target + FolderCopy.partialEnding }
  private var blocks: String { Disks.join(partial, "blocks") }

  /// Begins anew: what an attempt before left is removed.
  func begin() throws(StoreError) {
    do throws(DiskError) {
      if try disk.exists(target) {
        throw DiskError(kind: .alreadyExists, operation: "create", path: target)
      }
      try disk.removeTree(partial)
      try disk.createDirectory(blocks)
    } catch { throw .disk(error) }
  }

  /// Gives a block's file a second name here. False when the file system has no links between the two places, or the
  /// file is no longer there.
  func link(_ block: Block) throws(StoreError) -> Bool {
    do throws(DiskError) {
      try disk.link(block.path, to: Disks.join(blocks, block.meta.name))
      return true
    } catch {
      switch error.kind {
      case .other, .notFound, .permissionDenied: return false
      case .alreadyExists, .noSpace, .inputOutput, .tooManyOpenFiles, .busy: throw .disk(error)
      }
    }
  }

  /// Writes a block's bytes into a file here. They come from the mapped file, which stays readable when a merge removes
  /// its name meanwhile.
  func copy(_ block: Block, wrote: (Int) -> Void = { _ in }) throws(StoreError) {
    let bytes = block.map.bytes
    do throws(DiskError) {
      let file = try disk.open(Disks.join(blocks, block.meta.name), .create)
      var position = 0
      while position < bytes.count {
        let end = min(bytes.count, position + BlockFormat.writeBytes)
        try file.write(UnsafeRawBufferPointer(rebasing: bytes[position..<end]), at: Int64(position))
        wrote(end - position)
        position = end
      }
      try file.sync()
    } catch { throw .disk(error) }
  }

  /// Ends it: the manifest, then the name. Returns the length of the manifest.
  @discardableResult
  func finish(_ manifest: Manifest) throws(StoreError) -> Int {
    let bytes = manifest.encoded()
    do throws(DiskError) {
      try disk.syncDirectory(blocks)
      try disk.replaceFile(Disks.join(partial, Manifest.name), with: bytes)
      try disk.rename(partial, to: target)
      try disk.syncDirectory(Disks.directory(of: target))
    } catch { throw .disk(error) }
    return bytes.count
  }

  /// Removes what there is of it, as far as that can be done now.
  func abandon() { try? disk.removeTree(partial) }
}
