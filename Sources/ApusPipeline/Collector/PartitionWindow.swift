import ApusModel
import ApusStore

/// The records of a partition between the log and the store, in order: those that can be handed on, and behind them
/// those that wait because one before them needs a series set that is not known yet. Pure.
///
/// The store must take records in order and be told one position, so a parked record holds up what follows it. That is
/// bounded: by records, by bytes, and by the age of the parked record. At a bound the oldest parked record is given up.
struct PartitionWindow {
  struct Limits: Hashable, Sendable {
    var recordsMax = 100_000
    var bytesMax = 64 << 20
    /// A streamer repeats its sets every 5 minutes; who waits for twice as long waits in vain.
    var parkedAgeMaxMilliseconds: Int64 = 600_000
  }

  /// A record that waits for a set.
  struct Parked {
    var offset: Int64
    var needs: SeriesSetID
    /// Where a copy of the set was, -1 when not told; tried once.
    var hint: Int64
    var isHintTried = false
    var value: [UInt8]
    var key: [UInt8]?
    var since: Int64
  }

  private enum Entry {
    case ready(StoreBatch.Item)
    case parked(Parked)

    var byteCount: Int {
      switch self {
      case .ready(let item):
        switch item.content {
        case .scrape(let scrape): 128 + 8 * scrape.values.count
        case .samples(let series): series.reduce(128) { $0 + $1.labels.bytes.count + 16 * $1.values.count }
        }
      case .parked(let parked): 128 + parked.value.count
      }
    }
  }

  let limits: Limits
  private var entries: [Entry] = []
  private var bytes = 0
  private(set) var parkedCount = 0
  /// Behind the last record seen.
  private(set) var nextOffset: Int64

  init(nextOffset: Int64, limits: Limits = Limits()) {
    self.nextOffset = nextOffset
    self.limits = limits
  }

  var isEmpty: Bool { entries.isEmpty }

  /// A record with content.
  mutating func add(_ content: StoreBatch.Item.Content, offset: Int64) {
    append(.ready(StoreBatch.Item(offset: offset, content: content)))
  }

  /// What a record tells of metrics: with its samples, or alone.
  mutating func add(_ descriptors: [MetricDescriptor], offset: Int64) {
    if case .ready(var item) = entries.last, item.offset == offset {
      item.descriptors = descriptors
      entries[entries.count - 1] = .ready(item)
    } else {
      append(.ready(StoreBatch.Item(offset: offset, content: .samples([]), descriptors: descriptors)))
    }
  }

  /// A record that needs a set.
  mutating func park(_ parked: Parked) {
    parkedCount += 1
    append(.parked(parked))
  }

  /// Everything before this offset has been seen.
  mutating func advance(to offset: Int64) { nextOffset = max(nextOffset, offset) }

  private mutating func append(_ entry: Entry) {
    bytes += entry.byteCount
    entries.append(entry)
  }

  /// The first parked record whose hint has not been tried; it counts as tried from now on.
  mutating func nextHint() -> (id: SeriesSetID, offset: Int64)? {
    guard parkedCount > 0 else { return nil }
    for index in entries.indices {
      guard case .parked(var parked) = entries[index], !parked.isHintTried, parked.hint >= 0 else { continue }
      parked.isHintTried = true
      entries[index] = .parked(parked)
      return (parked.needs, parked.hint)
    }
    return nil
  }

  /// Tries every parked record again; `decode` answers with its content, with the set that it needs, or with nil when it
  /// turned out invalid. Returns the records that are invalid.
  mutating func retry(_ decode: (Parked) -> Retry) -> [Parked] {
    guard parkedCount > 0 else { return [] }
    var invalid: [Parked] = []
    var kept: [Entry] = []
    kept.reserveCapacity(entries.count)
    for entry in entries {
      guard case .parked(var parked) = entry else {
        kept.append(entry)
        continue
      }
      bytes -= entry.byteCount
      switch decode(parked) {
      case .content(let content):
        parkedCount -= 1
        let ready = Entry.ready(StoreBatch.Item(offset: parked.offset, content: content))
        bytes += ready.byteCount
        kept.append(ready)
      case .nothing: parkedCount -= 1
      case .needs(let id, let hint):
        if id != parked.needs { (parked.needs, parked.hint, parked.isHintTried) = (id, hint, false) }
        let again = Entry.parked(parked)
        bytes += again.byteCount
        kept.append(again)
      case .invalid:
        parkedCount -= 1
        invalid.append(parked)
      }
    }
    entries = kept
    return invalid
  }

  enum Retry {
    case content(StoreBatch.Item.Content)
    /// It was a set's definition.
    case nothing
    case needs(SeriesSetID, hint: Int64)
    case invalid
  }

  /// Gives up the oldest parked records while a bound is passed.
  mutating func giveUp(now: Int64) -> [Parked] {
    var given: [Parked] = []
    while parkedCount > 0 {
      guard let index = entries.firstIndex(where: { if case .parked = $0 { true } else { false } }),
        case .parked(let parked) = entries[index]
      else { break }
      let isOver = entries.count > limits.recordsMax || bytes > limits.bytesMax
      guard isOver || now - parked.since > limits.parkedAgeMaxMilliseconds else { break }
      bytes -= entries[index].byteCount
      parkedCount -= 1
      entries.remove(at: index)
      given.append(parked)
    }
    return given
  }

  /// What can be handed on: everything before the first parked record. Nil when that is nothing new.
  /// The position is that of the first parked record, or behind the last record seen.
  mutating func takeReady(behind position: Int64) -> (items: [StoreBatch.Item], nextOffset: Int64)? {
    var items: [StoreBatch.Item] = []
    items.reserveCapacity(entries.count)
    var end = nextOffset
    var taken = 0
    loop: for entry in entries {
      switch entry {
      case .ready(let item):
        items.append(item)
        bytes -= entry.byteCount
        taken += 1
      case .parked(let parked):
        end = parked.offset
        break loop
      }
    }
    if taken == entries.count { entries.removeAll(keepingCapacity: true) } else { entries.removeFirst(taken) }
    return items.isEmpty && end <= position ? nil : (items, end)
  }
}
