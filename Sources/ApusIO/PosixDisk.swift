#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A real folder of a real file system.
package final class PosixDisk: Disk {
  /// The absolute or working-directory-relative path that all paths are below.
  package let root: String

  /// Makes the root folder where it is not there yet.
  package init(root: String) throws(DiskError) {
    self.root = root
    try createDirectory("")
  }

  private func absolute(_ path: String) -> String {
    if path.isEmpty { return root }
    return root.hasSuffix("/") ? root + path : root + "/" + path
  }

  package func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile {
    let flags: Int32 =
      switch mode {
      case .read: O_RDONLY
      case .create: O_RDWR | O_CREAT
      case .update: O_RDWR
      }
    let full = absolute(path)
    let descriptor = Posix.retrying { posixOpen(full, flags | O_CLOEXEC, 0o640) }
    guard descriptor >= 0 else { throw DiskError(errno: errno, operation: "open", path: full) }
    return PosixFile(descriptor: descriptor, path: full)
  }

  package func list(_ directory: String) throws(DiskError) -> [String] {
    let full = absolute(directory)
    guard let handle = opendir(full) else { throw DiskError(errno: errno, operation: "list", path: full) }
    defer { closedir(handle) }
    var names: [String] = []
    while let entry = readdir(handle) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
        pointer.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: entry.pointee.d_name)) {
          String(cString: $0)
        }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names
  }

  package func exists(_ path: String) throws(DiskError) -> Bool {
    let full = absolute(path)
    if access(full, F_OK) == 0 { return true }
    if errno == ENOENT || errno == ENOTDIR { return false }
    throw DiskError(errno: errno, operation: "access", path: full)
  }

  package func createDirectory(_ path: String) throws(DiskError) {
    let full = absolute(path)
    var parent = full.hasPrefix("/") ? "/" : "."
    var made = full.hasPrefix("/") ? "/" : ""
    for part in full.split(separator: "/") {
      made += made.isEmpty || made.hasSuffix("/") ? String(part) : "/" + part
      if mkdir(made, 0o750) == 0 {
        try PosixDisk.sync(directory: parent)
      } else if errno != EEXIST && errno != EISDIR {
        throw DiskError(errno: errno, operation: "mkdir", path: made)
      }
      parent = made
    }
  }

  package func remove(_ path: String) throws(DiskError) {
    let full = absolute(path)
    guard unlink(full) == 0 else { throw DiskError(errno: errno, operation: "remove", path: full) }
  }

  package func removeDirectory(_ path: String) throws(DiskError) {
    let full = absolute(path)
    guard rmdir(full) == 0 else { throw DiskError(errno: errno, operation: "rmdir", path: full) }
  }

  package func rename(_ from: String, to: String) throws(DiskError) {
    let source = absolute(from)
    guard posixRename(source, absolute(to)) == 0 else {
      throw DiskError(errno: errno, operation: "rename", path: source)
    }
  }

  package func link(_ existing: String, to name: String) throws(DiskError) {
    let target = absolute(name)
    guard posixLink(absolute(existing), target) == 0 else {
      throw DiskError(errno: errno, operation: "link", path: target)
    }
  }

  package func syncDirectory(_ directory: String) throws(DiskError) {
    try PosixDisk.sync(directory: absolute(directory))
  }

  private static func sync(directory path: String) throws(DiskError) {
    let descriptor = posixOpen(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
    guard descriptor >= 0 else { throw DiskError(errno: errno, operation: "open", path: path) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw DiskError(errno: errno, operation: "sync", path: path) }
  }

  package func space() throws(DiskError) -> (free: Int64, total: Int64) {
    var status = statvfs()
    guard statvfs(root, &status) == 0 else { throw DiskError(errno: errno, operation: "statvfs", path: root) }
    let unit = Int64(status.f_frsize)
    return (Int64(status.f_bavail) * unit, Int64(status.f_blocks) * unit)
  }

  package func lock(_ path: String) throws(DiskError) -> any DiskLock {
    let full = absolute(path)
    let descriptor = posixOpen(full, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
    guard descriptor >= 0 else { throw DiskError(errno: errno, operation: "lock", path: full) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let code = errno
      close(descriptor)
      throw DiskError(
        kind: code == EWOULDBLOCK ? .busy : DiskError.kind(errno: code), operation: "lock", path: full, code: code)
    }
    return PosixLock(descriptor: descriptor)
  }
}

/// An open file of a `PosixDisk`.
final class PosixFile: DiskFile {
  private let descriptor: Int32
  private let path: String

  init(descriptor: Int32, path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  deinit { close(descriptor) }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DiskError) -> Int {
    var done = 0
    while done < buffer.count {
      let count = pread(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
      if count == 0 { break }
      if count < 0 {
        if errno == EINTR { continue }
        throw DiskError(errno: errno, operation: "read", path: path)
      }
      done += count
    }
    return done
  }

  func write(_ buffers: [UnsafeRawBufferPointer], at offset: Int64) throws(DiskError) {
    if buffers.count == 1 { return try writeAll(buffers[0], at: offset) }
    var vectors = buffers.filter { !$0.isEmpty }.map {
      iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count)
    }
    var position = offset
    var first = 0
    while first < vectors.count {
      let number = min(vectors.count - first, 1024)
      let written = vectors.withUnsafeBufferPointer {
        pwritev(descriptor, $0.baseAddress! + first, Int32(number), off_t(position))
      }
      if written < 0 {
        if errno == EINTR { continue }
        throw DiskError(errno: errno, operation: "write", path: path)
      }
      position += Int64(written)
      var rest = written
      while rest > 0 {
        if rest >= vectors[first].iov_len {
          rest -= vectors[first].iov_len
          first += 1
        } else {
          vectors[first].iov_base += rest
          vectors[first].iov_len -= rest
          rest = 0
        }
      }
    }
  }

  private func writeAll(_ buffer: UnsafeRawBufferPointer, at offset: Int64) throws(DiskError) {
    var done = 0
    while done < buffer.count {
      let count = pwrite(descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + off_t(done))
      if count < 0 {
        if errno == EINTR { continue }
        throw DiskError(errno: errno, operation: "write", path: path)
      }
      done += count
    }
  }

  func sync() throws(DiskError) {
    #if canImport(Darwin)
      let result = fcntl(descriptor, F_FULLFSYNC)
    #else
      let result = fdatasync(descriptor)
    #endif
    guard result == 0 else { throw DiskError(errno: errno, operation: "sync", path: path) }
  }

  func truncate(to length: Int64) throws(DiskError) {
    guard ftruncate(descriptor, off_t(length)) == 0 else {
      throw DiskError(errno: errno, operation: "truncate", path: path)
    }
  }

  func size() throws(DiskError) -> Int64 {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw DiskError(errno: errno, operation: "stat", path: path) }
    return Int64(status.st_size)
  }

  func map() throws(DiskError) -> MappedBytes {
    let length = Int(try size())
    guard length > 0 else { return MappedBytes(bytes: UnsafeRawBufferPointer(start: nil, count: 0)) { _ in } }
    guard let address = mmap(nil, length, PROT_READ, MAP_SHARED, descriptor, 0), address != MAP_FAILED else {
      throw DiskError(errno: errno, operation: "map", path: path)
    }
    return MappedBytes(bytes: UnsafeRawBufferPointer(start: address, count: length)) { bytes in
      munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress!), bytes.count)
    }
  }
}

/// A held `flock`; closing the descriptor lets go of it.
final class PosixLock: DiskLock {
  private let descriptor: Int32

  init(descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }
}

// The types hide the functions of the same names, so these are reached from outside of them.
private func posixOpen(_ path: String, _ flags: Int32, _ mode: mode_t) -> Int32 { open(path, flags, mode) }
private func posixLink(_ existing: String, _ name: String) -> Int32 { link(existing, name) }
private func posixRename(_ from: String, _ to: String) -> Int32 { rename(from, to) }

private enum Posix {
  /// Repeats a call that a signal interrupted.
  static func retrying(_ call: () -> Int32) -> Int32 {
    while true {
      let result = call()
      if result >= 0 || errno != EINTR { return result }
    }
  }
}

extension DiskError {
  init(errno code: Int32, operation: String, path: String) {
    self.init(kind: DiskError.kind(errno: code), operation: operation, path: path, code: code)
  }

  static func kind(errno code: Int32) -> Kind {
    switch code {
    case ENOENT, ENOTDIR: .notFound
    case EEXIST: .alreadyExists
    case EACCES, EPERM, EROFS: .permissionDenied
    case ENOSPC, EDQUOT, EFBIG: .noSpace
    case EIO: .inputOutput
    case EMFILE, ENFILE: .tooManyOpenFiles
    default: .other
    }
  }
}
