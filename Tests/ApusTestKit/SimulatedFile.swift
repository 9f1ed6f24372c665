import ApusIO

/// The content of a simulated file: as programs see it, as it is on the platter, and what lies between.
struct SimulatedInode {
  enum Change {
    case write(offset: Int, bytes: [UInt8])
    case truncate(length: Int)
  }

  /// The unit in which a write is torn.
  static let sector = 512

  var content: [UInt8] = []
  var durable: [UInt8] = []
  var pending: [Change] = []

  mutating func write(_ bytes: [UInt8], at offset: Int) {
    SimulatedInode.apply(.write(offset: offset, bytes: bytes), to: &content)
    pending.append(.write(offset: offset, bytes: bytes))
  }

  mutating func truncate(to length: Int) {
    SimulatedInode.apply(.truncate(length: length), to: &content)
    pending.append(.truncate(length: length))
  }

  mutating func sync() {
    for change in pending { SimulatedInode.apply(change, to: &durable) }
    pending = []
  }

  /// Each change since the last sync is kept, lost or, for a write, kept in some of its sectors only. The length may
  /// have grown although the bytes did not come: then they read as zeros, as on a real file system.
  mutating func losePower(_ random: inout Seed) {
    for change in pending {
      switch random.below(3) {
      case 0: SimulatedInode.apply(change, to: &durable)
      case 1: break
      default:
        guard case .write(let offset, let bytes) = change else { break }
        var position = 0
        while position < bytes.count {
          let end = min(
            bytes.count,
            (offset + position) / SimulatedInode.sector * SimulatedInode.sector
              + SimulatedInode.sector - offset)
          if random.oneIn(2) {
            SimulatedInode.apply(.write(offset: offset + position, bytes: Array(bytes[position..<end])), to: &durable)
          }
          position = end
        }
      }
    }
    pending = []
    content = durable
  }

  static func apply(_ change: Change, to bytes: inout [UInt8]) {
    switch change {
    case .truncate(let length):
      if length <= bytes.count {
        bytes.removeSubrange(length...)
      } else {
        bytes += [UInt8](repeating: 0, count: length - bytes.count)
      }
    case .write(let offset, let source):
      if offset > bytes.count { bytes += [UInt8](repeating: 0, count: offset - bytes.count) }
      let overlap = min(source.count, bytes.count - offset)
      bytes.replaceSubrange(offset..<offset + overlap, with: source[..<overlap])
      bytes += source[overlap...]
    }
  }
}

/// An open file of a `SimulatedDisk`.
final class SimulatedFile: DiskFile {
  private let disk: SimulatedDisk
  private let inode: Int
  private let path: String
  private let generation: Int

  init(disk: SimulatedDisk, inode: Int, path: String, generation: Int) {
    self.disk = disk
    self.inode = inode
    self.path = path
    self.generation = generation
  }

  private func run<Value>(
    _ operation: String, _ body: (inout SimulatedDisk.State) throws(DiskError) -> Value
  ) throws(DiskError) -> Value {
    try disk.run(operation, path) { state throws(DiskError) in
      guard state.generation == generation, state.inodes[inode] != nil else {
        throw SimulatedDisk.powerIsOff(operation, path)
      }
      return try body(&state)
    }
  }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int64) throws(DiskError) -> Int {
    try run("read") { state throws(DiskError) in
      if state.chance(state.faults.readFails) {
        throw DiskError(kind: .inputOutput, operation: "read", path: path)
      }
      let content = state.inodes[inode]!.content
      guard Int(offset) < content.count else { return 0 }
      let count = min(buffer.count, content.count - Int(offset))
      content.withUnsafeBytes { source in
        buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[Int(offset)..<Int(offset) + count]))
      }
      return count
    }
  }

  func write(_ buffers: [UnsafeRawBufferPointer], at offset: Int64) throws(DiskError) {
    var bytes: [UInt8] = []
    for buffer in buffers { bytes += buffer }
    try run("write") { state throws(DiskError) in
      let lengthBefore = state.inodes[inode]!.content.count
      let keep = { (state: inout SimulatedDisk.State) in
        state.inodes[self.inode]!.write(Array(bytes.prefix(state.random.below(bytes.count + 1))), at: Int(offset))
      }
      do throws(DiskError) {
        try state.beginOperation("write", path)
      } catch {
        keep(&state)
        throw error
      }
      if state.chance(state.faults.crashInWrite) {
        keep(&state)
        state.crashed = true
        throw SimulatedDisk.powerIsOff("write", path)
      }
      if state.chance(state.faults.writeFails) {
        keep(&state)
        throw DiskError(kind: .inputOutput, operation: "write", path: path)
      }
      let growth = max(0, Int(offset) + bytes.count - lengthBefore)
      let room = state.capacity == .max ? Int.max : Int(state.capacity - state.usedBytes)
      if growth > room {
        let fitting = max(0, bytes.count - (growth - max(0, room)))
        state.inodes[inode]!.write(Array(bytes.prefix(fitting)), at: Int(offset))
        throw DiskError(kind: .noSpace, operation: "write", path: path)
      }
      state.inodes[inode]!.write(bytes, at: Int(offset))
    }
  }

  func sync() throws(DiskError) {
    try run("sync") { state throws(DiskError) in
      try state.beginOperation("sync", path)
      if state.chance(state.faults.crashInSync) {
        state.crashed = true
        throw SimulatedDisk.powerIsOff("sync", path)
      }
      if state.chance(state.faults.syncFails) {
        // As on Linux: the pages are marked clean although they never reached the disk, so a later sync succeeds and
        // says nothing of them. They are still there to be read until the power goes.
        let content = state.inodes[inode]!.content
        state.inodes[inode]!.losePower(&state.random)
        state.inodes[inode]!.content = content
        throw DiskError(kind: .inputOutput, operation: "sync", path: path)
      }
      state.inodes[inode]!.sync()
      state.syncs += 1
    }
  }

  func truncate(to length: Int64) throws(DiskError) {
    try run("truncate") { state throws(DiskError) in
      try state.beginOperation("truncate", path)
      state.inodes[inode]!.truncate(to: Int(length))
    }
  }

  func size() throws(DiskError) -> Int64 {
    try run("stat") { state throws(DiskError) in Int64(state.inodes[inode]!.content.count) }
  }

  func map() throws(DiskError) -> MappedBytes {
    let content = try run("map") { state throws(DiskError) in state.inodes[inode]!.content }
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: content.count, alignment: 16)
    copy.copyBytes(from: content)
    return MappedBytes(bytes: UnsafeRawBufferPointer(copy)) { $0.deallocate() }
  }
}
