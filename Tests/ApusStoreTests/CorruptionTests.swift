// Goal: damaged files are reported and set aside; no query ever sees a wrong value, and nothing crashes. Method: a small
// store is written once; for every byte of its block and of its manifest one bit is flipped in a copy, and for every
// length the block is cut, then the copy is opened and read.

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Testing

@Suite struct CorruptionTests {
  private static let directory = "store"

  private static func open(
    _ disk: SimulatedDisk, _ compression: Compression = .zstd(level: 1)
  ) throws -> EmbeddedStore {
    var configuration = EmbeddedStore.Configuration()
    configuration.compression = compression
    configuration.hasThreads = false
    return try EmbeddedStore(disk: disk, directory: directory, clock: ManualClock(), configuration: configuration)
  }

  private struct Original {
    var files: [(path: String, bytes: [UInt8])]
    var answer: [SeriesColumn]

    var block: (path: String, bytes: [UInt8]) { files.first { $0.path.hasSuffix(".block") }! }
    var manifest: (path: String, bytes: [UInt8]) { files.first { $0.path.hasSuffix("MANIFEST") }! }

    func copy(changing path: String, _ change: (inout [UInt8]) -> Void) throws -> SimulatedDisk {
      let disk = SimulatedDisk(seed: 9)
      try disk.createDirectory("store/blocks")
      for file in files {
        var bytes = file.bytes
        if file.path == path { change(&bytes) }
        try disk.open(file.path, .create).write(bytes, at: 0)
      }
      return disk
    }
  }

  typealias Compression = EmbeddedStore.Configuration.Compression
  static let compressions: [Compression] = [.none, .zstd(level: 1)]

  /// With compression something of the block is a frame: what repeats, and the labels.
  private func original(_ compression: Compression = .zstd(level: 1)) async throws -> Original {
    let disk = SimulatedDisk(seed: 4)
    let store = try CorruptionTests.open(disk, compression)
    var random = Seed(5)
    var offset: Int64 = 0
    for _ in 0..<3 {
      let batch = StoreConformance.randomBatch(
        &random, partition: LogPartition(topic: "t", partition: 0), offset: &offset)
      _ = try await store.append(batch)
    }
    let set = StoreConformance.set(host: "repeating", gpus: 1)
    var items: [StoreBatch.Item] = []
    for row in 0..<100 {
      let noise = row % 7 * 7919 % 1000
      let values: [Double] = (0..<set.count).map { Double(noise + $0) / 1000 }
      let scrape = Scrape(set: set, timestamp: Timestamp(milliseconds: Int64(row) * 1000), values: values)
      items.append(StoreBatch.Item(offset: offset + 1, content: .scrape(scrape)))
    }
    _ = try await store.append(
      StoreBatch(partition: LogPartition(topic: "t", partition: 0), items: items, nextOffset: offset + 2))
    try await store.delete([.equal("gpu", "9")], in: .all)
    let answer = try await store.select(SelectRequest([]))
    try await store.close()
    let files = try disk.files().map { ($0.path, try disk.readFile($0.path)) }
    return Original(files: files, answer: answer)
  }

  /// Opens the copy and reads it twice; returns whether the damage was noticed. Whatever is answered must be right.
  private func read(_ disk: SimulatedDisk, _ original: Original, _ what: String) async throws -> Bool {
    let store: EmbeddedStore
    do { store = try CorruptionTests.open(disk) } catch let error as StoreError {
      switch error {
      case .corrupt, .unsupportedVersion: return true
      default: throw error
      }
    }
    var noticed = false
    for _ in 0..<2 {
      do {
        let answer = try await store.select(SelectRequest([]))
        if !answer.isEmpty {
          let difference = StoreModel.difference(answer, original.answer)
          #expect(difference == nil, "\(what): a wrong answer: \(difference ?? "")")
          if noticed { Issue.record("\(what): a block that was set aside is still served") }
        }
        _ = try await store.labelNames([], in: .all)
      } catch {
        guard case .corrupt = error else { throw error }
        noticed = true
      }
    }
    let statistics = try await store.statistics()
    if statistics.blocksQuarantined > 0 {
      noticed = true
      #expect(statistics.blocks == 0 && disk.files().contains { $0.path.contains("quarantine/") }, "\(what)")
      // The store goes on, and what comes next is kept.
      let labels = Labels([("__name__", "next")])
      let item = StoreBatch.Item(
        offset: 1000, content: .samples([SeriesSamples(labels: labels, timestamps: [1], values: [1])]))
      _ = try await store.append(
        StoreBatch(partition: LogPartition(topic: "t", partition: 0), items: [item], nextOffset: 1001))
      try await store.flush()
      #expect(try await store.select(SelectRequest([])).map(\.labels) == [labels], "\(what)")
    }
    try await store.close()
    return noticed
  }

  @Test(arguments: compressions) func everyByteOfABlock(_ compression: Compression) async throws {
    let original = try await original(compression)
    let block = original.block
    #expect(block.bytes[8] == (compression == .none ? 1 : 2))
    #expect(original.answer.count > 5 && block.bytes.count < 20_000)
    for byte in block.bytes.indices {
      let disk = try original.copy(changing: block.path) { $0[byte] ^= 1 << UInt8(byte % 8) }
      // The values' section as a whole has a checksum of no use to a reader: stripes have their own.
      let noticed = try await read(disk, original, "block byte \(byte)")
      #expect(noticed, "a flipped bit in byte \(byte) of \(block.bytes.count) went unnoticed")
    }
  }

  @Test(arguments: compressions) func everyLengthOfABlock(_ compression: Compression) async throws {
    let original = try await original(compression)
    for length in stride(from: 0, to: original.block.bytes.count, by: 7) {
      let disk = try original.copy(changing: original.block.path) { $0.removeSubrange(length...) }
      #expect(try await read(disk, original, "block of \(length) bytes"))
    }
    let longer = try original.copy(changing: original.block.path) { $0.append(0) }
    #expect(try await read(longer, original, "block with a byte more"))
  }

  @Test func everyByteOfTheManifest() async throws {
    let original = try await original()
    let manifest = original.manifest
    for byte in manifest.bytes.indices {
      let disk = try original.copy(changing: manifest.path) { $0[byte] ^= 1 << UInt8(byte % 8) }
      #expect(throws: StoreError.self, "manifest byte \(byte)") { try CorruptionTests.open(disk) }
    }
    for length in manifest.bytes.indices {
      let disk = try original.copy(changing: manifest.path) { $0.removeSubrange(length...) }
      #expect(throws: StoreError.self, "manifest of \(length) bytes") { try CorruptionTests.open(disk) }
    }
  }

  @Test func aLostManifestIsNoEmptyStore() async throws {
    let original = try await original()
    let disk = try original.copy(changing: "") { _ in }
    try disk.remove(original.manifest.path)
    #expect(throws: StoreError.self) { try CorruptionTests.open(disk) }
  }

  @Test func aBlockThatIsGoneIsCounted() async throws {
    let original = try await original()
    let disk = try original.copy(changing: "") { _ in }
    try disk.remove(original.block.path)
    let store = try CorruptionTests.open(disk)
    #expect(try await store.statistics().blocksQuarantined == 1)
    #expect(try await store.select(SelectRequest([])).isEmpty)
  }

  @Test func newerVersionsAreRefusedByName() async throws {
    let original = try await original()
    for (path, name) in [(original.block.path, "block"), (original.manifest.path, "manifest")] {
      let disk = try original.copy(changing: path) { $0[8] = 77 }
      do {
        _ = try CorruptionTests.open(disk)
        Issue.record("a \(name) of version 77 was opened")
      } catch let error as StoreError {
        guard case .unsupportedVersion(_, 77, let supported) = error, supported >= 1 else {
          Issue.record("\(name): \(error)")
          continue
        }
      }
    }
  }
}
