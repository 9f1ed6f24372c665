import ApusIO
import ApusModel

/// What reading all of a store's files found. Every checksum is compared, every number decoded, and what several places
/// say of one thing is compared with what is there.
package struct StoreVerification: Sendable {
  /// Something that is wrong.
  package struct Finding: Hashable, Sendable {
    package var file: String
    /// Where in the file, as far as that is known.
    package var place: String
    package var reason: String
  }

  /// Findings beyond this are counted and not kept.
  package static let findingsMax = 1000

  package private(set) var findings: [Finding] = []
  /// All findings, also those that were not kept.
  package private(set) var findingCount = 0
  /// What is no damage and worth knowing.
  package private(set) var notes: [String] = []
  package private(set) var blocks = 0
  package private(set) var series = 0
  package private(set) var samples = 0
  package private(set) var bytes: Int64 = 0

  /// Reads everything that the manifest lists. Only what keeps it from looking at all is thrown.
  package init(_ folder: StoreFolder, progress: (StoreFolder.Progress) -> Void = { _ in }) throws(StoreError) {
    let manifest: Manifest
    do throws(StoreError) {
      let found = try folder.manifest()
      manifest = found.manifest
      bytes += Int64(found.bytes)
    } catch {
      guard case .corrupt(let file, let section, let reason) = error else { throw error }
      add(file, section, reason)
      return
    }
    if folder.isLive {
      notes.append("a running process has the store open; this is the state of its files at one moment")
    }
    try noteUnlisted(manifest, folder)
    var count = StoreFolder.Progress(
      totalBytes: manifest.files.reduce(0) { $0 + $1.bytes }, totalBlocks: manifest.files.count)
    let sampled = Set(manifest.blocks.map(\.id))
    for meta in manifest.files {
      progress(count)
      try verify(meta, folder, hasSamples: sampled.contains(meta.id))
      count.blocks += 1
      count.bytes += meta.bytes
    }
    progress(count)
  }

  private mutating func add(_ file: String, _ place: String, _ reason: String) {
    findingCount += 1
    if findings.count < StoreVerification.findingsMax {
      findings.append(Finding(file: file, place: place, reason: reason))
    }
  }

  private mutating func add(_ error: StoreError, _ place: String, in path: String) {
    switch error {
    case .corrupt(_, let section, let reason): add(path, place.isEmpty ? section : place, reason)
    default: add(path, place.isEmpty ? "header" : place, error.description)
    }
  }

  private mutating func noteUnlisted(_ manifest: Manifest, _ folder: StoreFolder) throws(StoreError) {
    let listed = Set(manifest.files.map(\.name))
    do throws(DiskError) {
      guard try folder.disk.exists(folder.blocksDirectory) else { return }
      let others = try folder.disk.list(folder.blocksDirectory).filter { !listed.contains($0) }
      if !others.isEmpty, !folder.isLive {
        notes.append(
          "\(others.count) files in blocks/ are not listed: a crash left them, and opening the store removes them")
      }
      let quarantine = Disks.join(folder.directory, "quarantine")
      if try folder.disk.exists(quarantine), case let aside = try folder.disk.list(quarantine).count, aside > 0 {
        notes.append("\(aside) damaged blocks lie in quarantine/, and no query sees them")
      }
    } catch { throw .disk(error) }
  }

  private mutating func verify(_ meta: BlockMeta, _ folder: StoreFolder, hasSamples: Bool) throws(StoreError) {
    let path = Disks.join(folder.blocksDirectory, meta.name)
    let block: Block
    do throws(StoreError) {
      block = try folder.open(meta, cache: ExpandedCache(limit: 4 << 20))
    } catch {
      if case .disk(let cause) = error, cause.kind == .notFound {
        // A merge of the running process has replaced it since the manifest was read.
        if folder.isLive, try !folder.manifest().manifest.files.contains(where: { $0.id == meta.id }) { return }
        add(path, "file", "the manifest lists it and it is not there")
        return
      }
      add(error, "", in: path)
      return
    }
    blocks += 1
    bytes += meta.bytes
    var walk = BlockWalk(block)
    walk.run()
    if hasSamples {
      series += walk.series
      samples += walk.samples
    }
    for (place, reason) in walk.findings { add(path, place, reason) }
  }
}

/// Reads all of one block and notes what does not fit.
private struct BlockWalk {
  let block: Block
  var series = 0
  var samples = 0
  var findings: [(place: String, reason: String)] = []
  private var minimum = Int64.max
  private var maximum = Int64.min
  private var seen: Set<Labels> = []
  private var values = [Double](repeating: 0, count: ValueChunk.rowsMax)
  private var presence = [UInt8](repeating: 0, count: ValueChunk.rowsMax)

  init(_ block: Block) { self.block = block }

  private mutating func note(_ place: String, _ reason: String) { findings.append((place, reason)) }

  private mutating func note(_ place: String, _ error: StoreError) {
    guard case .corrupt(_, _, let reason) = error else { return note(place, error.description) }
    note(place, reason)
  }

  mutating func run() {
    do throws(StoreError) { try verifyIndex() } catch { note("index", error) }
    var isWhole = true
    for group in block.groups.indices {
      series += block.groups[group].series
      var previous: Int64?
      for stripe in block.groups[group].stripes.indices {
        let place = "group \(group), stripe \(stripe)"
        do throws(StoreError) {
          try verifyTimestamps(group, stripe, place, &previous)
          try verifyValues(group, stripe, place)
        } catch {
          isWhole = false
          note(place, error)
        }
      }
    }
    let meta = block.meta
    if series != meta.series { note("footer", "it counts \(meta.series) series and there are \(series)") }
    guard isWhole else { return }
    if samples != meta.samples { note("footer", "it counts \(meta.samples) samples and there are \(samples)") }
    if minimum < meta.minimum || maximum > meta.maximum {
      note("footer", "its range is \(meta.minimum) to \(meta.maximum) and samples reach from \(minimum) to \(maximum)")
    }
  }

  private mutating func verifyIndex() throws(StoreError) {
    let index = try block.index()
    do throws(ByteReaderError) {
      var previous: [UInt8] = []
      for number in 0..<index.symbols.count {
        let symbol = try index.symbols.symbol(number)
        if number == 0 ? !symbol.isEmpty : !previous.lexicographicallyPrecedes(symbol) {
          note("symbols", "number \(number) is out of order")
        }
        previous = symbol
      }
      var expected: [Int: [Int: [Int]]] = [:]
      for group in block.groups.indices {
        for column in try block.labelColumns(group, index).columns {
          for value in column.dictionary where value != 0 {
            expected[column.name, default: [:]][value, default: []].append(group)
          }
        }
      }
      if Set(expected.keys) != Set(index.postings.labelNames) {
        note("postings", "they are of other labels than the groups have")
      }
      for (name, values) in expected.sorted(by: { $0.key < $1.key }) {
        var found: [Int: [Int]] = [:]
        for list in try index.postings.lists(name: name) { found[list.value] = list.groups }
        if found != values {
          let label = String(decoding: try index.symbols.symbol(name), as: UTF8.self)
          note("postings", "the lists of label \(label) are not what the groups have")
        }
      }
    } catch { throw .corrupt(file: block.path, section: "index", reason: error.description) }
    for group in block.groups.indices {
      let rows = Array(0..<block.groups[group].series)
      for labels in try block.labels(group: group, rows: rows) where !seen.insert(labels).inserted {
        note("groups", "group \(group) has a series that another has too: \(labels)")
      }
    }
  }

  private mutating func verifyTimestamps(
    _ group: Int, _ stripe: Int, _ place: String, _ previous: inout Int64?
  ) throws(StoreError) {
    let entry = block.groups[group].stripes[stripe]
    let timestamps = try block.timestamps(group: group, stripe: stripe)
    for timestamp in timestamps {
      if let before = previous, timestamp <= before {
        note(place, "its timestamps do not ascend: \(timestamp) after \(before)")
        break
      }
      previous = timestamp
    }
    if timestamps.first != entry.minimum || timestamps.last != entry.maximum {
      note(place, "its timestamps are not of the range that the list of stripes says")
    }
    previous = timestamps.last ?? previous
    minimum = min(minimum, entry.minimum)
    maximum = max(maximum, entry.maximum)
  }

  private mutating func verifyValues(_ group: Int, _ stripe: Int, _ place: String) throws(StoreError) {
    let rows = block.groups[group].stripes[stripe].rows
    for series in 0..<block.groups[group].series {
      let count: Int
      do throws(StoreError) {
        count = try decode(group, stripe, series, rows)
      } catch {
        // A stripe that does not match its checksum has nothing to tell series by series.
        if case .corrupt(_, _, let reason) = error, reason.contains("checksum") { throw error }
        note("\(place), series \(series)", error)
        continue
      }
      samples += count
      let known = try block.statistics(group: group, stripe: stripe, row: series)
      let actual = values.withUnsafeBufferPointer { present in
        count == 0 ? ChunkStatistics() : ChunkStatistics(of: present.baseAddress!, count: count)
      }
      if known.count != count || count > 0 && !StoreVerification.agree(known, actual) {
        note("\(place), series \(series)", "its statistics are not those of its values")
      }
    }
  }

  /// Decodes one chunk; what is present stands at the beginning of `values`. Returns how many samples there are.
  private mutating func decode(_ group: Int, _ stripe: Int, _ series: Int, _ rows: Int) throws(StoreError) -> Int {
    let isFull = try values.withUnsafeMutableBufferPointer { values throws(StoreError) in
      try presence.withUnsafeMutableBufferPointer { presence throws(StoreError) in
        try block.column(
          group: group, stripe: stripe, row: series, into: values.baseAddress!, presence: presence.baseAddress!)
      }
    }
    if isFull { return rows }
    var count = 0
    for row in 0..<rows where presence[row] != 0 {
      values[count] = values[row]
      count += 1
    }
    return count
  }
}

extension StoreVerification {
  /// Sums of decimals are exact in a chunk and rounded when they are added up, so they are not compared.
  fileprivate static func agree(_ known: ChunkStatistics, _ actual: ChunkStatistics) -> Bool {
    func same(_ left: Double, _ right: Double) -> Bool { left == right || left.isNaN && right.isNaN }
    return known.first.bitPattern == actual.first.bitPattern && known.last.bitPattern == actual.last.bitPattern
      && same(known.minimum, actual.minimum) && same(known.maximum, actual.maximum)
  }
}
