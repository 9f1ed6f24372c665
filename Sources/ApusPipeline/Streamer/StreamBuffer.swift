/// What waits between collecting and publishing: a queue of items with a bound in samples and in bytes. Pure.
///
/// Items leave in the order in which they came. A file source's positions travel with its items, so that one is known to
/// be published when all before it is.
struct StreamBuffer {
  struct Entry {
    /// Nil where a batch had no items and only moves the position.
    var item: TelemetryItem?
    var position: (source: Int, position: SourcePosition)?
    /// When it was collected, on the monotonic clock.
    var collectedNanoseconds: UInt64
    /// It may be dropped or spooled when it cannot be sent.
    var isLive: Bool
  }

  struct Limits: Hashable, Sendable {
    var samplesMax: Int
    var bytesMax: Int
  }

  let limits: Limits
  private var entries: [Entry] = []
  /// Entries before this index have been taken; they are cut off when they are half of all.
  private var first = 0
  private(set) var samples = 0
  private(set) var bytes = 0

  init(limits: Limits) {
    self.limits = limits
  }

  var count: Int { entries.count - first }
  var isEmpty: Bool { first == entries.count }
  /// At or above a bound: the next batch has to wait. One batch may carry the buffer beyond it, by its own size.
  var isFull: Bool { samples >= limits.samplesMax || bytes >= limits.bytesMax }
  /// Half full: time to spill.
  var isHalfFull: Bool { samples >= limits.samplesMax / 2 || bytes >= limits.bytesMax / 2 }

  /// Takes a batch in, whole.
  mutating func push(_ batch: SourceBatch, source: Int, isLive: Bool, at nanoseconds: UInt64) {
    for (index, item) in batch.items.enumerated() {
      var entry = Entry(item: item, position: nil, collectedNanoseconds: nanoseconds, isLive: isLive)
      let isLast = index == batch.items.count - 1
      if let position = (isLast ? batch.position : nil) ?? item.position { entry.position = (source, position) }
      append(entry)
    }
    if batch.items.isEmpty, let position = batch.position {
      append(
        Entry(item: nil, position: (source, position), collectedNanoseconds: nanoseconds, isLive: isLive))
    }
  }

  private mutating func append(_ entry: Entry) {
    samples += entry.item?.sampleCount ?? 0
    bytes += entry.item?.byteCount ?? 64
    entries.append(entry)
  }

  /// Takes the oldest entries out: up to so many bytes, and at least one if there is one.
  mutating func take(maxBytes: Int, maxCount: Int) -> [Entry] {
    var end = first
    var total = 0
    while end < entries.count, end - first < maxCount {
      total += entries[end].item?.byteCount ?? 64
      if total > maxBytes, end > first { break }
      end += 1
    }
    let taken = Array(entries[first..<end])
    for index in first..<end {
      samples -= entries[index].item?.sampleCount ?? 0
      bytes -= entries[index].item?.byteCount ?? 64
      // The memory goes now, not when the front is cut off.
      entries[index].item = nil
    }
    first = end
    if first == entries.count {
      entries.removeAll(keepingCapacity: true)
      first = 0
    } else if first > 1024, first > entries.count / 2 {
      entries.removeFirst(first)
      first = 0
    }
    return taken
  }

  /// Puts entries back that were taken out and could not be moved on; they are the oldest again.
  mutating func putBack(_ taken: [Entry]) {
    for entry in taken {
      samples += entry.item?.sampleCount ?? 0
      bytes += entry.item?.byteCount ?? 64
    }
    entries.replaceSubrange(0..<first, with: taken)
    first = 0
  }

  /// Throws the oldest live entries away until the buffer is below its bounds, and says how many samples went. Those of
  /// a file stay: a file waits.
  mutating func dropOldestLive() -> Int {
    var dropped = 0
    var kept: [Entry] = []
    var index = first
    while isFull, index < entries.count {
      let entry = entries[index]
      if entry.isLive {
        let count = entry.item?.sampleCount ?? 0
        dropped += count
        samples -= count
        bytes -= entry.item?.byteCount ?? 64
      } else {
        kept.append(entry)
      }
      index += 1
    }
    entries.replaceSubrange(first..<index, with: kept)
    return dropped
  }
}
