import ApusModel

/// Series and their labels, answered from the index.
///
/// What an index lists has a sample somewhere in its block or head, so where the range covers that whole and no tombstone
/// concerns it, the index alone is the answer; elsewhere the presence of samples is looked at, of one series after
/// another until one has shown that the name or value is there. Values are never decoded.
extension StoreCore {
  /// What there is to look at, taken out of the store at one moment.
  private struct Sources {
    var blocks: [Block] = []
    var tombstones: [Tombstone] = []
    /// Of the heads that the range does not cover.
    var parts: [HeadPart] = []
  }

  /// Answers from the heads that the range covers by `list`, and hands out the rest.
  private func sources<Found>(
    _ matchers: [CompiledMatcher], _ range: TimeRange, into found: inout Found,
    list: (Head, SeriesNumbers, inout Found) -> Void
  ) throws(StoreError) -> Sources {
    var result = found
    let sources = try state.withLock { state throws(StoreError) in
      if state.isClosed { throw .closed }
      var sources = Sources()
      for head in [state.sealingHead, state.head].compactMap({ $0 }) where head.overlaps(range) {
        if head.isCovered(by: range) {
          var numbers = SeriesNumbers(count: head.index.count)
          numbers.insert(head.index.match(matchers))
          list(head, numbers, &result)
        } else if let part = HeadPart(head, matchers, range) {
          sources.parts.append(part)
        }
      }
      sources.blocks = state.blocks.filter { $0.meta.range.overlaps(range) }
      sources.tombstones = state.tombstones
      return sources
    }
    found = result
    return sources
  }

  func labelValues(
    _ label: String, _ matchers: [Matcher], in range: TimeRange
  ) throws(StoreError) -> [String] {
    guard let range = clipped(range) else { return [] }
    let compiled = [CompiledMatcher](matchers)
    let name = Array(label.utf8)
    var found: Set<ByteKey> = []
    let sources = try sources(compiled, range, into: &found) { head, numbers, found in
      head.index.addValues(of: name, in: numbers, where: head.hasSample, to: &found)
    }
    for block in sources.blocks {
      var check = BlockCheck(block, range, sources.tombstones)
      try block.addValues(of: name, compiled, &check, to: &found)
    }
    var check = PresenceCheck(range)
    for part in sources.parts {
      for (labels, places) in part.series {
        guard let value = labels.value(of: name), !found.contains(ByteKey(value)) else { continue }
        if try check.hasSample(places, part.tracks) { found.insert(ByteKey(value)) }
      }
    }
    return StoreCore.strings(found)
  }

  func labelNames(_ matchers: [Matcher], in range: TimeRange) throws(StoreError) -> [String] {
    guard let range = clipped(range) else { return [] }
    let compiled = [CompiledMatcher](matchers)
    var found: Set<ByteKey> = []
    let sources = try sources(compiled, range, into: &found) { head, numbers, found in
      head.index.addNames(in: numbers, where: head.hasSample, to: &found)
    }
    for block in sources.blocks {
      var check = BlockCheck(block, range, sources.tombstones)
      try block.addNames(compiled, &check, to: &found)
    }
    var check = PresenceCheck(range)
    for part in sources.parts {
      for (labels, places) in part.series {
        var isNew = false
        labels.forEach { name, _ in if !found.contains(ByteKey(name)) { isNew = true } }
        guard isNew, try check.hasSample(places, part.tracks) else { continue }
        labels.forEach { name, _ in found.insert(ByteKey(name)) }
      }
    }
    return StoreCore.strings(found)
  }

  func series(_ matchers: [Matcher], in range: TimeRange) throws(StoreError) -> [Labels] {
    guard let range = clipped(range) else { return [] }
    let compiled = [CompiledMatcher](matchers)
    var found = SeriesUnion()
    let sources = try sources(compiled, range, into: &found) { head, numbers, found in
      found.beginSource()
      for number in numbers.ascending(count: head.index.count) where head.hasSample(number) {
        found.add(head.index.labels[Int(number)])
      }
    }
    for block in sources.blocks {
      var check = BlockCheck(block, range, sources.tombstones)
      found.beginSource()
      try block.forEachMatch(compiled) { (group, _, rows) throws(StoreError) in
        var present = rows
        if !check.isCertain(group) {
          present = []
          for row in rows where try check.hasSample(group, row) { present.append(row) }
        }
        for labels in try block.labels(group: group, rows: present) { found.add(labels) }
      }
    }
    var check = PresenceCheck(range)
    for part in sources.parts {
      found.beginSource()
      for (labels, places) in part.series where try check.hasSample(places, part.tracks) { found.add(labels) }
    }
    return found.ascending()
  }

  private static func strings(_ keys: Set<ByteKey>) -> [String] {
    keys.map(\.bytes).sorted { $0.lexicographicallyPrecedes($1) }.map { String(decoding: $0, as: UTF8.self) }
  }
}

/// Series of several sources, each once.
private struct SeriesUnion {
  private var series: [Labels] = []
  /// Of all sources but the first, where no series comes twice.
  private var known: Set<Labels> = []
  private var sources = 0

  mutating func beginSource() {
    sources += 1
    if sources == 2 { known = Set(series) }
  }

  mutating func add(_ labels: Labels) {
    if sources < 2 || known.insert(labels).inserted { series.append(labels) }
  }

  func ascending() -> [Labels] {
    // Numbers are sorted and not label sets, which would be retained and released at every step.
    series.indices.sorted { series[$0].precedes(series[$1]) }.map { series[$0] }
  }
}

/// Finds out whether a series has a sample in a range.
struct PresenceCheck {
  let range: TimeRange
  private var presence = [UInt8](repeating: 0, count: ValueChunk.rowsMax)

  init(_ range: TimeRange) { self.range = range }

  mutating func hasSample(_ places: [SeriesPlace], _ tracks: [Track]) throws(StoreError) -> Bool {
    for place in places {
      for strip in tracks[Int(place.track)].strips {
        if try hasSample(strip, Int(place.row), hidden: []) { return true }
      }
    }
    return false
  }

  mutating func hasSample(_ strip: Strip, _ series: Int, hidden: [TimeRange]) throws(StoreError) -> Bool {
    guard strip.overlaps(range) else { return false }
    presence.withUnsafeMutableBufferPointer { $0.update(repeating: 1) }
    var failure: StoreError?
    presence.withUnsafeMutableBufferPointer { target in
      do throws(StoreError) {
        _ = try strip.presence(series, into: target.baseAddress!)
      } catch { failure = error }
    }
    if let failure { throw failure }
    if hidden.isEmpty, range.start.milliseconds <= strip.minimum, strip.maximum <= range.end.milliseconds {
      return presence[..<strip.rows].contains(1)
    }
    for (row, timestamp) in try strip.timestamps().enumerated() where presence[row] != 0 {
      let instant = Timestamp(milliseconds: timestamp)
      if range.contains(instant) && !hidden.contains(where: { $0.contains(instant) }) { return true }
    }
    return false
  }
}

/// Finds out which series of a block have a sample in a range that no tombstone hides.
struct BlockCheck {
  private let block: Block
  private let range: TimeRange
  private let tombstones: [Tombstone]
  private var presence: PresenceCheck

  /// - Parameter tombstones: all of the store; those that the block has not been written without are regarded.
  init(_ block: Block, _ range: TimeRange, _ tombstones: [Tombstone]) {
    self.block = block
    self.range = range
    self.tombstones = tombstones.filter { $0.id > block.meta.tombstonesApplied && $0.range.overlaps(block.meta.range) }
    presence = PresenceCheck(range)
  }

  /// Whether every series of a group has such a sample: none is written into a block without one.
  func isCertain(_ group: Int) -> Bool {
    let group = block.groups[group]
    return tombstones.isEmpty && range.start.milliseconds <= group.minimum
      && group.maximum <= range.end.milliseconds
  }

  mutating func hasSample(_ group: Int, _ row: Int) throws(StoreError) -> Bool {
    if isCertain(group) { return true }
    var hidden: [TimeRange] = []
    if !tombstones.isEmpty {
      let labels = try block.labels(group: group, rows: [row])[0]
      hidden = tombstones.filter { $0.matchers.allSatisfy { $0.matches(labels) } }.map(\.range)
    }
    for stripe in block.groups[group].stripes.indices {
      if try presence.hasSample(Strip(block, group: group, stripe: stripe), row, hidden: hidden) { return true }
    }
    return false
  }
}
