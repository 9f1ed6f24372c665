// Goal: the real disk and the simulated one keep the same contract, and the simulated one is as cruel as it says.
// Method: one body run over both; then crashes of the simulated disk, judged by what may and may not survive.
import ApusIO
import ApusTestKit
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

private func withPosixDisk(_ body: (PosixDisk) throws -> Void) throws {
  var template = Array("/tmp/apus-disk-XXXXXX".utf8CString)
  let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
  try #require(made)
  let root = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
  let disk = try PosixDisk(root: root)
  try body(disk)
  try empty(disk, "")
  rmdir(root)
}

private func empty(_ disk: PosixDisk, _ directory: String) throws {
  for name in try disk.list(directory) {
    let path = Disks.join(directory, name)
    if (try? disk.list(path)) != nil {
      try empty(disk, path)
      try disk.removeDirectory(path)
    } else {
      try disk.remove(path)
    }
  }
}

private func kind(_ body: () throws -> Void) -> DiskError.Kind? {
  do {
    try body()
    return nil
  } catch {
    return (error as? DiskError)?.kind
  }
}

private func keepsTheContract(_ disk: any Disk) throws {
  try disk.createDirectory("a/b")
  try disk.createDirectory("a/b")
  #expect(try disk.list("a") == ["b"])
  #expect(try disk.exists("a/b"))
  #expect(kind { _ = try disk.open("a/b/none", .read) } == .notFound)
  #expect(kind { _ = try disk.open("a/b/none", .update) } == .notFound)
  #expect(kind { _ = try disk.open("no/file", .create) } == .notFound)

  let file = try disk.open("a/b/file", .create)
  try file.write([1, 2, 3, 4], at: 0)
  try file.write([9, 9], at: 6)
  #expect(try file.read(100, at: 0) == [1, 2, 3, 4, 0, 0, 9, 9])
  #expect(try file.read(2, at: 2) == [3, 4])
  #expect(try file.read(2, at: 8) == [])
  let many = (0..<3000).map { [UInt8](repeating: UInt8(truncatingIfNeeded: $0), count: 7) }
  var pointers: [UnsafeRawBufferPointer] = []
  let joined = many.flatMap { $0 }
  joined.withUnsafeBytes { all in
    for index in 0..<3000 { pointers.append(UnsafeRawBufferPointer(rebasing: all[index * 7..<index * 7 + 7])) }
    #expect(kind { try file.write(pointers, at: 8) } == nil)
  }
  #expect(try file.size() == 21_008)
  #expect(try file.read(21_000, at: 8) == joined)
  try file.truncate(to: 3)
  try file.sync()
  let again = try disk.open("a/b/file", .read)
  #expect(try again.size() == 3)
  let mapped = try again.map()
  withExtendedLifetime(mapped) { #expect(Array(mapped.bytes) == [1, 2, 3]) }

  try disk.replaceFile("a/small", with: [7])
  try disk.replaceFile("a/small", with: [8, 8])
  #expect(try disk.readFile("a/small") == [8, 8])
  try disk.rename("a/b/file", to: "a/small")
  #expect(try disk.readFile("a/small") == [1, 2, 3])
  #expect(try disk.list("a/b") == [])
  try disk.removeDirectory("a/b")
  #expect(kind { try disk.remove("a/none") } == .notFound)
  try disk.remove("a/small")
  #expect(try disk.list("a") == [])
  let space = try disk.space()
  #expect(space.total > 0 && space.free <= space.total)

  var lock: (any DiskLock)? = try disk.lock("lock")
  #expect(kind { _ = try disk.lock("lock") } == .busy)
  withExtendedLifetime(lock) {}
  lock = nil
  _ = try disk.lock("lock")
}

@Suite struct DiskTests {
  @Test func realDiskKeepsTheContract() throws {
    try withPosixDisk { try keepsTheContract($0) }
  }

  @Test func simulatedDiskKeepsTheContract() throws {
    try keepsTheContract(SimulatedDisk(seed: 1))
  }

  /// A file with two names lives until both are gone; a tree goes as a whole.
  @Test func linksAndTrees() throws {
    func check(_ disk: any Disk) throws {
      try disk.createDirectory("store/blocks")
      try disk.createDirectory("store/snapshots/s/blocks")
      try disk.open("store/blocks/1", .create).write([1, 2, 3], at: 0)
      try disk.link("store/blocks/1", to: "store/snapshots/s/blocks/1")
      #expect(kind { try disk.link("store/blocks/1", to: "store/snapshots/s/blocks/1") } == .alreadyExists)
      #expect(kind { try disk.link("store/blocks/2", to: "store/blocks/3") } == .notFound)
      #expect(kind { try disk.link("store/blocks/1", to: "store/none/1") } == .notFound)
      try disk.remove("store/blocks/1")
      #expect(try disk.readFile("store/snapshots/s/blocks/1") == [1, 2, 3])
      #expect(try disk.isDirectory("store/snapshots/s") && !disk.isDirectory("store/snapshots/s/blocks/1"))
      try disk.removeTree("store/snapshots/s")
      try disk.removeTree("store/snapshots/none")
      #expect(try disk.list("store/snapshots").isEmpty)
    }
    try withPosixDisk(check)
    try check(SimulatedDisk(seed: 1))
  }

  @Test func whatWasSyncedSurvivesAndTheRestMayGo() throws {
    var lost = 0
    var torn = 0
    var kept = 0
    for seed in 0..<300 as Range<UInt64> {
      let disk = SimulatedDisk(seed: seed)
      let file = try disk.open("f", .create)
      try disk.syncDirectory("")
      let first = [UInt8](repeating: 1, count: 2000)
      try file.write(first, at: 0)
      try file.sync()
      try file.write([UInt8](repeating: 2, count: 3000), at: 2000)
      disk.restart()
      #expect(kind { _ = try file.size() } == .other)
      let content = try disk.readFile("f")
      #expect(Array(content.prefix(2000)) == first)
      let rest = content.dropFirst(2000)
      if rest.isEmpty {
        lost += 1
      } else if rest.count == 3000 && rest.allSatisfy({ $0 == 2 }) {
        kept += 1
      } else {
        torn += 1
      }
    }
    #expect(lost > 30 && torn > 30 && kept > 30)
  }

  @Test func directoriesAreDurableOnceSynced() throws {
    var gone = 0
    for seed in 0..<100 as Range<UInt64> {
      let disk = SimulatedDisk(seed: seed)
      try disk.open("kept", .create).sync()
      try disk.syncDirectory("")
      try disk.replaceFile("manifest", with: [1])
      try disk.rename("manifest", to: "other")
      try disk.open("maybe", .create).sync()
      disk.restart()
      #expect(try disk.exists("kept"))
      #expect(try disk.exists("manifest") != disk.exists("other"))
      if try !disk.exists("maybe") { gone += 1 }
    }
    #expect(gone > 10 && gone < 90)
  }

  @Test func powerGoesAtTheToldOperation() throws {
    let disk = SimulatedDisk(seed: 3)
    let file = try disk.open("f", .create)
    disk.crash(afterOperations: 2)
    try file.write([1], at: 0)
    #expect(kind { try file.write([2], at: 1) } == .other)
    #expect(disk.isCrashed)
    #expect(kind { _ = try disk.list("") } == .other)
    disk.restart()
    #expect(kind { _ = try disk.list("") } == nil)
  }

  @Test func aFullDiskTakesWhatFits() throws {
    let disk = SimulatedDisk(seed: 4)
    disk.setCapacity(10)
    let file = try disk.open("f", .create)
    #expect(kind { try file.write([UInt8](repeating: 5, count: 16), at: 0) } == .noSpace)
    #expect(try file.size() == 10)
    disk.setCapacity(100)
    try file.write([UInt8](repeating: 5, count: 16), at: 0)
    #expect(try file.size() == 16)
  }

  @Test func sameSeedSameRun() throws {
    func run(_ seed: UInt64) throws -> [[UInt8]] {
      let disk = SimulatedDisk(seed: seed)
      disk.setFaults {
        $0.writeFails = 4
        $0.syncFails = 4
      }
      var results: [[UInt8]] = []
      for round in 0..<40 {
        if disk.isCrashed || round % 10 == 9 { disk.restart() }
        do {
          let file = try disk.open("f\(round % 3)", .create)
          try file.write([UInt8](repeating: UInt8(round), count: 700), at: Int64(round * 100))
          try file.sync()
          try disk.syncDirectory("")
        } catch {}
        for file in disk.files() { results.append(try disk.readFile(file.path)) }
      }
      return results
    }
    #expect(try run(11) == run(11))
    #expect(try run(11) != run(12))
  }
}
