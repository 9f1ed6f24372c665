import ApusIO
import Synchronization

/// A disk in memory that behaves as badly as a real one may.
///
/// What was written is seen at once by every reader, but survives a crash only when it was synced: of the rest each
/// write is kept, lost or torn at sector borders, and each change of a directory that was not synced is kept or lost,
/// as the seed decides. It fails with ENOSPC and EIO on command or by chance, and flips bits. With one seed and one
/// sequence of calls every run is the same.
package final class SimulatedDisk: Disk {
  /// How often a call fails by chance: once in so many calls; 0 for never.
  package struct Faults: Sendable {
    package var writeFails = 0
    package var syncFails = 0
    package var openFails = 0
    package var renameFails = 0
    package var readFails = 0
    /// A write is cut in the middle by the power going, once in so many writes.
    package var crashInWrite = 0
    /// The power goes before a sync, once in so many syncs.
    package var crashInSync = 0
    /// It is a file system without hard links.
    package var hasNoLinks = false

    package init() {}
  }

  struct State {
    var random: Seed
    var faults = Faults()
    var capacity: Int64 = .max
    var crashed = false
    /// Handles opened before the last restart are dead.
    var generation = 0
    var inodes: [Int: SimulatedInode] = [:]
    var nextInode = 1
    /// The directory tree as programs see it, and as it is on the platter. Directories have inode 0.
    var entries: [String: Int] = ["": 0]
    var durableEntries: [String: Int] = ["": 0]
    /// Changes of directories that are not durable yet, in order.
    var journal: [SimulatedDirectoryChange] = []
    var locked: Set<String> = []
    var crashAfterOperations: Int?
    var operations = 0
    var syncs = 0

    var usedBytes: Int64 { inodes.values.reduce(0) { $0 + Int64($1.content.count) } }
  }

  let state: Mutex<State>

  package init(seed: UInt64) {
    state = Mutex(State(random: Seed(seed)))
  }

  // MARK: What a test may do to it

  package func setFaults(_ change: (inout Faults) -> Void) { state.withLock { change(&$0.faults) } }

  package func clearFaults() { state.withLock { $0.faults = Faults() } }

  /// The size of the disk; a write beyond it stores what fits and fails with `noSpace`.
  package func setCapacity(_ bytes: Int64) { state.withLock { $0.capacity = bytes } }

  package var usedBytes: Int64 { state.withLock { $0.usedBytes } }

  /// How many changing operations there have been: the range for `crash(afterOperations:)`.
  package var operations: Int { state.withLock { $0.operations } }

  package var syncs: Int { state.withLock { $0.syncs } }

  /// The power goes in the middle of the n-th changing operation from now; every later call fails until `restart`.
  package func crash(afterOperations count: Int) {
    state.withLock { $0.crashAfterOperations = $0.operations + count }
  }

  package var isCrashed: Bool { state.withLock { $0.crashed } }

  /// The power goes now (if it has not gone already) and comes back: what was not synced is kept, lost or torn, all
  /// open files and locks are gone, and chance faults are off.
  package func restart() {
    state.withLock { state in
      state.crashed = false
      state.crashAfterOperations = nil
      state.generation += 1
      state.locked = []
      state.faults = Faults()
      let kept = state.journal.isEmpty ? 0 : Int.random(in: 0...state.journal.count, using: &state.random)
      for change in state.journal[..<kept] { change.apply(to: &state.durableEntries) }
      state.journal = []
      // What lies in a directory whose own entry was lost is lost with it.
      for path in state.durableEntries.keys.sorted() where !path.isEmpty {
        if state.durableEntries[Disks.directory(of: path)] != 0 { state.durableEntries[path] = nil }
      }
      state.entries = state.durableEntries
      let alive = Set(state.entries.values)
      for inode in state.inodes.keys.sorted() {
        if alive.contains(inode) {
          state.inodes[inode]?.losePower(&state.random)
        } else {
          state.inodes[inode] = nil
        }
      }
    }
  }

  /// Flips one bit of a file, in memory and on the platter. Returns false when the file has no such byte.
  @discardableResult
  package func flipBit(_ path: String, byte: Int, bit: Int) -> Bool {
    state.withLock { state in
      guard let inode = state.entries[path], inode != 0, let file = state.inodes[inode], byte < file.content.count
      else { return false }
      state.inodes[inode]?.content[byte] ^= 1 << UInt8(bit)
      if byte < file.durable.count { state.inodes[inode]?.durable[byte] ^= 1 << UInt8(bit) }
      return true
    }
  }

  /// Every file there is, in ascending order, with its length.
  package func files() -> [(path: String, length: Int)] {
    state.withLock { state in
      state.entries.filter { $0.value != 0 }.map { ($0.key, state.inodes[$0.value]?.content.count ?? 0) }
        .sorted { $0.0 < $1.0 }
    }
  }

  // MARK: Disk

  package func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile {
    try run("open", path) { state throws(DiskError) in
      if state.chance(state.faults.openFails) {
        throw DiskError(kind: .inputOutput, operation: "open", path: path)
      }
      if let inode = state.entries[path] {
        guard inode != 0 else { throw DiskError(kind: .other, operation: "open", path: path) }
        return SimulatedFile(disk: self, inode: inode, path: path, generation: state.generation)
      }
      guard case .create = mode else { throw DiskError(kind: .notFound, operation: "open", path: path) }
      guard state.entries[Disks.directory(of: path)] == 0 else {
        throw DiskError(kind: .notFound, operation: "open", path: path)
      }
      try state.beginOperation("open", path)
      let inode = state.nextInode
      state.nextInode += 1
      state.inodes[inode] = SimulatedInode()
      state.change(.link(path: path, inode: inode))
      return SimulatedFile(disk: self, inode: inode, path: path, generation: state.generation)
    }
  }

  package func list(_ directory: String) throws(DiskError) -> [String] {
    try run("list", directory) { state throws(DiskError) in
      guard state.entries[directory] == 0 else {
        throw DiskError(kind: .notFound, operation: "list", path: directory)
      }
      return state.entries.keys.filter { !$0.isEmpty && Disks.directory(of: $0) == directory }
        .map { directory.isEmpty ? $0 : String($0.dropFirst(directory.count + 1)) }.sorted()
    }
  }

  package func exists(_ path: String) throws(DiskError) -> Bool {
    try run("access", path) { state throws(DiskError) in state.entries[path] != nil }
  }

  package func createDirectory(_ path: String) throws(DiskError) {
    try run("mkdir", path) { state throws(DiskError) in
      var made = ""
      for part in path.split(separator: "/") {
        made = Disks.join(made, String(part))
        if let inode = state.entries[made] {
          guard inode == 0 else { throw DiskError(kind: .alreadyExists, operation: "mkdir", path: made) }
        } else {
          try state.beginOperation("mkdir", made)
          state.change(.link(path: made, inode: 0))
          state.storeEntries(of: Disks.directory(of: made))
        }
      }
    }
  }

  package func remove(_ path: String) throws(DiskError) {
    try run("remove", path) { state throws(DiskError) in
      guard let inode = state.entries[path], inode != 0 else {
        throw DiskError(kind: .notFound, operation: "remove", path: path)
      }
      try state.beginOperation("remove", path)
      state.change(.unlink(path: path))
    }
  }

  package func removeDirectory(_ path: String) throws(DiskError) {
    try run("rmdir", path) { state throws(DiskError) in
      guard state.entries[path] == 0 else { throw DiskError(kind: .notFound, operation: "rmdir", path: path) }
      guard !state.entries.keys.contains(where: { !$0.isEmpty && $0 != path && Disks.directory(of: $0) == path })
      else { throw DiskError(kind: .other, operation: "rmdir", path: path) }
      try state.beginOperation("rmdir", path)
      state.change(.unlink(path: path))
    }
  }

  package func rename(_ from: String, to: String) throws(DiskError) {
    try run("rename", from) { state throws(DiskError) in
      if state.chance(state.faults.renameFails) {
        throw DiskError(kind: .inputOutput, operation: "rename", path: from)
      }
      guard let inode = state.entries[from] else {
        throw DiskError(kind: .notFound, operation: "rename", path: from)
      }
      guard state.entries[Disks.directory(of: to)] == 0 else {
        throw DiskError(kind: .notFound, operation: "rename", path: to)
      }
      try state.beginOperation("rename", from)
      state.change(.rename(from: from, to: to, inode: inode))
    }
  }

  package func link(_ existing: String, to name: String) throws(DiskError) {
    try run("link", name) { state throws(DiskError) in
      if state.faults.hasNoLinks { throw DiskError(kind: .other, operation: "link", path: name) }
      guard let inode = state.entries[existing], inode != 0 else {
        throw DiskError(kind: .notFound, operation: "link", path: existing)
      }
      guard state.entries[name] == nil else {
        throw DiskError(kind: .alreadyExists, operation: "link", path: name)
      }
      guard state.entries[Disks.directory(of: name)] == 0 else {
        throw DiskError(kind: .notFound, operation: "link", path: name)
      }
      try state.beginOperation("link", name)
      state.change(.link(path: name, inode: inode))
    }
  }

  package func syncDirectory(_ directory: String) throws(DiskError) {
    try run("sync", directory) { state throws(DiskError) in
      guard state.entries[directory] == 0 else {
        throw DiskError(kind: .notFound, operation: "sync", path: directory)
      }
      try state.beginOperation("sync", directory)
      if state.chance(state.faults.syncFails) {
        throw DiskError(kind: .inputOutput, operation: "sync", path: directory)
      }
      state.storeEntries(of: directory)
    }
  }

  package func space() throws(DiskError) -> (free: Int64, total: Int64) {
    try run("statvfs", "") { state throws(DiskError) in
      let total = state.capacity == .max ? 1 << 40 : state.capacity
      return (max(0, total - state.usedBytes), total)
    }
  }

  package func lock(_ path: String) throws(DiskError) -> any DiskLock {
    try run("lock", path) { state throws(DiskError) in
      guard state.locked.insert(path).inserted else { throw DiskError(kind: .busy, operation: "lock", path: path) }
      // As on a real disk the lock is on a file, which stays.
      if state.entries[path] == nil, state.entries[Disks.directory(of: path)] == 0 {
        state.inodes[state.nextInode] = SimulatedInode()
        state.change(.link(path: path, inode: state.nextInode))
        state.nextInode += 1
      }
      return SimulatedLock(disk: self, path: path, generation: state.generation)
    }
  }

  /// Runs a call under the lock, unless the power is off.
  func run<Value>(
    _ operation: String, _ path: String, _ body: (inout State) throws(DiskError) -> Value
  ) throws(DiskError) -> Value {
    // Not generic over `sending`: the result is boxed so that it may leave the lock.
    var result: Result<Value, DiskError>?
    state.withLock { state in
      if state.crashed {
        result = .failure(SimulatedDisk.powerIsOff(operation, path))
        return
      }
      do throws(DiskError) { result = .success(try body(&state)) } catch { result = .failure(error) }
    }
    return try result!.get()
  }

  static func powerIsOff(_ operation: String, _ path: String) -> DiskError {
    DiskError(kind: .other, operation: operation + " (the simulated power is off)", path: path)
  }
}

extension SimulatedDisk.State {
  mutating func chance(_ once: Int) -> Bool { once > 0 && random.oneIn(once) }

  /// Counts a changing operation; the power goes here if it was told to. Returns normally when it stays on.
  mutating func beginOperation(_ operation: String, _ path: String) throws(DiskError) {
    operations += 1
    if let limit = crashAfterOperations, operations >= limit {
      crashed = true
      throw SimulatedDisk.powerIsOff(operation, path)
    }
  }

  /// Makes a directory's entries durable, and no other's: a journalling file system stores more with them, but nobody
  /// may rely on that.
  mutating func storeEntries(of directory: String) {
    for change in journal where change.touches(directory) { change.apply(to: &durableEntries) }
    journal.removeAll { $0.touches(directory) }
  }

  mutating func change(_ change: SimulatedDirectoryChange) {
    change.apply(to: &entries)
    journal.append(change)
  }
}

/// A change of the directory tree.
enum SimulatedDirectoryChange {
  case link(path: String, inode: Int)
  case unlink(path: String)
  case rename(from: String, to: String, inode: Int)

  func apply(to entries: inout [String: Int]) {
    switch self {
    case .link(let path, let inode): entries[path] = inode
    case .unlink(let path): entries[path] = nil
    case .rename(let from, let to, let inode):
      if inode == 0 {
        for (path, child) in entries where path.hasPrefix(from + "/") {
          entries[path] = nil
          entries[to + path.dropFirst(from.count)] = child
        }
      }
      entries[from] = nil
      entries[to] = inode
    }
  }

  func touches(_ directory: String) -> Bool {
    switch self {
    case .link(let path, _), .unlink(let path): Disks.directory(of: path) == directory
    case .rename(let from, let to, _):
      Disks.directory(of: from) == directory || Disks.directory(of: to) == directory
    }
  }
}

/// Holds a simulated folder's lock until it goes away.
final class SimulatedLock: DiskLock {
  private let disk: SimulatedDisk
  private let path: String
  private let generation: Int

  init(disk: SimulatedDisk, path: String, generation: Int) {
    self.disk = disk
    self.path = path
    self.generation = generation
  }

  deinit {
    disk.state.withLock { state in
      if state.generation == generation { state.locked.remove(path) }
    }
  }
}
