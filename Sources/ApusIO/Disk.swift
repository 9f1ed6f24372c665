/// The file system as the log and the store see it: the one seam through which bytes reach a disk.
///
/// Two forms: `PosixDisk`, and the test kit's `SimulatedDisk`, which tears writes, forgets what was not synced, flips
/// bits and fails on command. Calls block; they are made from threads that may block, never from an event loop.
/// Paths are relative to the disk's root and use `/`. All calls may be made from any thread.
package protocol Disk: AnyObject, Sendable {
  /// Opens a file. `create` makes it when it is not there; its directory must exist.
  func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile
  /// The names of the entries of a directory, in no particular order. A directory that is not there is an error.
  func list(_ directory: String) throws(DiskError) -> [String]
  func exists(_ path: String) throws(DiskError) -> Bool
  /// Makes a directory and those above it, where they are not there yet; they are durable on return.
  func createDirectory(_ path: String) throws(DiskError)
  /// Removes a file. Durable only after `syncDirectory`.
  func remove(_ path: String) throws(DiskError)
  /// Removes an empty directory.
  func removeDirectory(_ path: String) throws(DiskError)
  /// Renames, replacing what is there, atomically. Durable only after `syncDirectory`.
  func rename(_ from: String, to: String) throws(DiskError)
  /// Gives an existing file a second name, in a directory that is there; both names are of one file from then on.
  /// `alreadyExists` when there is something under the new name; `other` where the file system has no such links, or the
  /// two names lie on different ones. Durable only after `syncDirectory`.
  func link(_ existing: String, to name: String) throws(DiskError)
  /// Makes the entries of a directory durable: files created in, renamed into and removed from it.
  func syncDirectory(_ directory: String) throws(DiskError)
  /// The space that is left for ordinary users and the size of the file system, in bytes.
  func space() throws(DiskError) -> (free: Int64, total: Int64)
  /// Takes the exclusive lock of the data folder, so that two processes cannot open it; `busy` when another has it.
  /// The lock goes when the returned value does, and with the process.
  func lock(_ path: String) throws(DiskError) -> any DiskLock
}

/// What a file is opened for.
package enum DiskOpenMode: Sendable {
  /// An existing file, for reading only.
  case read
  /// For reading and writing; made when it is not there.
  case create
  /// For reading and writing; an error when it is not there.
  case update
}

/// An open file. It is closed when the last reference goes.
package protocol DiskFile: AnyObject, Sendable {
  /// Reads up to the buffer's size from `offset`; fewer bytes only at the end of the file.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DiskError) -> Int
  /// Writes all of the buffers, one after another, from `offset` on (one `pwritev` where there are many).
  /// On an error any part of it may have been written.
  func write(_ buffers: [UnsafeRawBufferPointer], at offset: Int64) throws(DiskError)
  /// Returns when what was written, and the length, are on stable storage (`fdatasync`).
  /// After an error nothing is known about what was written since the last sync, and a later success says nothing of it.
  func sync() throws(DiskError)
  func truncate(to length: Int64) throws(DiskError)
  func size() throws(DiskError) -> Int64
  /// The whole of an immutable file, mapped where the disk can do that. Must not be used on a file that still grows.
  func map() throws(DiskError) -> MappedBytes
}

/// Holds the lock of a data folder until it is released by going away.
package protocol DiskLock: AnyObject, Sendable {}

/// Read-only bytes of a whole file, alive as long as this object: whoever reads `bytes` keeps the object meanwhile
/// (`withExtendedLifetime`, or a stored property).
package final class MappedBytes: @unchecked Sendable {
  // Invariant: `bytes` is never written to after init, and `release` runs once, in deinit, when nobody can read any more.
  package let bytes: UnsafeRawBufferPointer
  private let release: (UnsafeRawBufferPointer) -> Void

  package init(bytes: UnsafeRawBufferPointer, release: @escaping @Sendable (UnsafeRawBufferPointer) -> Void) {
    self.bytes = bytes
    self.release = release
  }

  deinit { release(bytes) }
}

extension DiskFile {
  /// Writes one buffer.
  package func write(_ buffer: UnsafeRawBufferPointer, at offset: Int64) throws(DiskError) {
    try write([buffer], at: offset)
  }

  /// Writes an array's bytes.
  package func write(_ bytes: [UInt8], at offset: Int64) throws(DiskError) {
    let result = bytes.withUnsafeBytes { buffer -> Result<Void, DiskError> in
      do throws(DiskError) { return .success(try write([buffer], at: offset)) } catch { return .failure(error) }
    }
    try result.get()
  }

  /// Reads exactly `count` bytes from `offset`, or as many as there are before the end of the file.
  package func read(_ count: Int, at offset: Int64) throws(DiskError) -> [UInt8] {
    var failure: DiskError?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      do throws(DiskError) {
        filled = try read(into: UnsafeMutableRawBufferPointer(buffer), at: offset)
      } catch { failure = error }
    }
    if let failure { throw failure }
    return bytes
  }
}

extension Disk {
  /// The whole of a small file.
  package func readFile(_ path: String) throws(DiskError) -> [UInt8] {
    let file = try open(path, .read)
    return try file.read(Int(try file.size()), at: 0)
  }

  /// Replaces a small file so that after a crash either the old or the new content is there, whole:
  /// written beside it, synced, renamed over it, and the directory synced.
  package func replaceFile(_ path: String, with bytes: [UInt8]) throws(DiskError) {
    let temporary = path + ".tmp"
    let file = try open(temporary, .create)
    try file.truncate(to: 0)
    try file.write(bytes, at: 0)
    try file.sync()
    try rename(temporary, to: path)
    try syncDirectory(Disks.directory(of: path))
  }
}

extension Disk {
  /// Removes a directory with everything in it; nothing happens when it is not there. After a crash in the middle a part
  /// of it may still be there.
  package func removeTree(_ directory: String) throws(DiskError) {
    guard try exists(directory) else { return }
    for name in try list(directory) {
      let path = Disks.join(directory, name)
      if try isDirectory(path) { try removeTree(path) } else { try remove(path) }
    }
    try removeDirectory(directory)
  }

  /// Whether a path names a directory: only those can be listed.
  package func isDirectory(_ path: String) throws(DiskError) -> Bool {
    do throws(DiskError) {
      _ = try list(path)
      return true
    } catch {
      if error.kind == .notFound { return false }
      throw error
    }
  }
}

/// Path arithmetic for `Disk`.
package enum Disks {
  /// The directory of a path; empty for the root.
  package static func directory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "" }
    return String(path[..<slash])
  }

  /// The path of an entry of a directory; the entry's name alone in the root.
  package static func join(_ directory: String, _ name: String) -> String {
    directory.isEmpty ? name : directory + "/" + name
  }
}
