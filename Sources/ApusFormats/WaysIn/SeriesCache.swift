import ApusModel

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Remembers, for the bytes by which a sender writes a series, the label set that they mean, so that repeated requests
/// neither parse nor build nor validate labels again.
///
/// A key is two runs of bytes, a prefix that several keys may share (the measurement and tags of a line) and a suffix (the
/// field); it is always compared in full. Senders repeat their order, so each entry also knows which one followed it last:
/// that guess costs one comparison and no hashing. When the bounds are reached the cache is emptied and fills again:
/// it is only ever a matter of speed.
///
/// One cache belongs to one decoder and is used by one task at a time.
struct SeriesCache: ~Copyable {
  struct Bounds: Sendable {
    var series = 250_000
    var keyBytes = 64 * 1024 * 1024
  }

  private struct Entry {
    var hash: UInt64
    var prefixHash: UInt64
    var prefixStart: Int
    var suffixStart: Int
    var prefixCount: Int32
    var suffixCount: Int32
    /// The entry that was used after this one.
    var next: Int32
    /// The series' number in a batch, and in which batch.
    var series: Int32
    var batch: UInt64
  }

  /// The bytes of a series as they stand in a request.
  ///
  /// Invariant (unsafe memory): used only within the call of the decoder that borrowed the body.
  struct Key {
    var prefix: UnsafeRawBufferPointer
    var suffix: UnsafeRawBufferPointer
    /// An entry whose prefix is known to equal `prefix`, or -1: spares comparing and hashing it for every field.
    var prefixEntry: Int = -1
  }

  /// Chains longer than this are not followed; a key beyond is decoded anew each time. Bounds the cost of keys that were
  /// made to collide.
  private static let probesMax = 32

  private let bounds: Bounds
  private let seed: UInt64
  private var entries: [Entry] = []
  private var labels: [Labels] = []
  private var bytes: [UInt8] = []
  /// Open addressing with linear probing: an entry's number plus one, 0 where free. A power of two, at most half full.
  private var table: [Int32]
  private var last = -1
  private var batch: UInt64 = 0

  init(bounds: Bounds = Bounds(), seed: UInt64) {
    self.bounds = bounds
    self.seed = seed
    table = [Int32](repeating: 0, count: 1024)
  }

  var count: Int { entries.count }

  /// Begins a batch: no series has a number in it yet.
  mutating func beginBatch() { batch += 1 }

  /// The entry that followed the last one used, or -1.
  @inline(__always)
  var guess: Int { last >= 0 ? Int(entries[last].next) : -1 }

  /// Whether `source`, at `position`, goes on with the entry's prefix; where that ends, or -1.
  @inline(__always)
  func prefixEnd(_ entry: Int, in source: UnsafeRawBufferPointer, at position: Int) -> Int {
    let count = Int(entries[entry].prefixCount)
    guard count <= source.count - position else { return -1 }
    return isEqual(entries[entry].prefixStart, source, position, count) ? position + count : -1
  }

  /// Whether `source`, at `position`, goes on with the entry's suffix; where that ends, or -1.
  @inline(__always)
  func suffixEnd(_ entry: Int, in source: UnsafeRawBufferPointer, at position: Int) -> Int {
    let count = Int(entries[entry].suffixCount)
    guard count <= source.count - position else { return -1 }
    return isEqual(entries[entry].suffixStart, source, position, count) ? position + count : -1
  }

  /// Whether two entries have the same prefix in the same memory.
  @inline(__always)
  func sharePrefix(_ left: Int, _ right: Int) -> Bool {
    entries[left].prefixStart == entries[right].prefixStart && entries[left].prefixCount == entries[right].prefixCount
  }

  func labels(of entry: Int) -> Labels { labels[entry] }

  /// The number that the entry's series has in this batch, or -1.
  @inline(__always)
  func series(of entry: Int) -> Int32 { entries[entry].batch == batch ? entries[entry].series : -1 }

  mutating func setSeries(_ series: Int32, of entry: Int) {
    entries[entry].series = series
    entries[entry].batch = batch
  }

  /// Notes that this entry was used after the last one.
  @inline(__always)
  mutating func use(_ entry: Int) {
    if last >= 0 { entries[last].next = Int32(entry) }
    last = entry
  }

  /// The entry with this key, or -1.
  func find(_ key: Key) -> Int {
    let guessed = guess
    if guessed >= 0, matches(guessed, key) { return guessed }
    let hash = self.hash(key).whole
    let mask = table.count - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    for _ in 0..<SeriesCache.probesMax {
      let entry = Int(table[slot]) - 1
      if entry < 0 { return -1 }
      if entries[entry].hash == hash, matches(entry, key) { return entry }
      slot = (slot + 1) & mask
    }
    return -1
  }

  /// Remembers a key that is not there; its entry, or -1 where it cannot be remembered.
  mutating func insert(_ key: Key, _ series: Labels) -> Int {
    let size = key.prefix.count + key.suffix.count
    guard size <= bounds.keyBytes else { return -1 }
    var key = key
    if entries.count >= bounds.series || bytes.count + size > bounds.keyBytes {
      removeAll()
      key.prefixEntry = -1
    }
    if (entries.count + 1) * 2 > table.count { grow() }
    let (hash, prefixHash) = self.hash(key)
    guard let slot = freeSlot(hash) else { return -1 }
    let prefixStart: Int
    if key.prefixEntry >= 0 {
      prefixStart = entries[key.prefixEntry].prefixStart
    } else {
      prefixStart = bytes.count
      bytes.append(contentsOf: key.prefix)
    }
    let suffixStart = bytes.count
    bytes.append(contentsOf: key.suffix)
    entries.append(
      Entry(
        hash: hash, prefixHash: prefixHash, prefixStart: prefixStart, suffixStart: suffixStart,
        prefixCount: Int32(key.prefix.count), suffixCount: Int32(key.suffix.count), next: -1, series: -1, batch: 0))
    labels.append(series)
    table[slot] = Int32(entries.count)
    return entries.count - 1
  }

  /// Forgets everything.
  mutating func removeAll() {
    entries.removeAll(keepingCapacity: true)
    labels.removeAll(keepingCapacity: true)
    bytes.removeAll(keepingCapacity: true)
    for slot in table.indices { table[slot] = 0 }
    last = -1
  }

  private func freeSlot(_ hash: UInt64) -> Int? {
    let mask = table.count - 1
    var slot = Int(truncatingIfNeeded: hash) & mask
    for _ in 0..<SeriesCache.probesMax {
      if table[slot] == 0 { return slot }
      slot = (slot + 1) & mask
    }
    return nil
  }

  /// Doubles the table. Entries that find no place in a short chain are no longer found by hash, only by guess.
  private mutating func grow() {
    table = [Int32](repeating: 0, count: table.count * 2)
    for index in entries.indices {
      if let slot = freeSlot(entries[index].hash) { table[slot] = Int32(index + 1) }
    }
  }

  private func matches(_ entry: Int, _ key: Key) -> Bool {
    guard Int(entries[entry].prefixCount) == key.prefix.count, Int(entries[entry].suffixCount) == key.suffix.count,
      isEqual(entries[entry].suffixStart, key.suffix, 0, key.suffix.count)
    else { return false }
    if key.prefixEntry >= 0, sharePrefix(entry, key.prefixEntry) { return true }
    return isEqual(entries[entry].prefixStart, key.prefix, 0, key.prefix.count)
  }

  @inline(__always)
  private func isEqual(_ start: Int, _ source: UnsafeRawBufferPointer, _ position: Int, _ count: Int) -> Bool {
    if count == 0 { return true }
    // Invariant: `count` is not 0 and both ranges were checked, so neither buffer is empty.
    return bytes.withUnsafeBytes { own in
      memcmp(own.baseAddress.unsafelyUnwrapped + start, source.baseAddress.unsafelyUnwrapped + position, count) == 0
    }
  }

  private func hash(_ key: Key) -> (whole: UInt64, prefix: UInt64) {
    let prefix = key.prefixEntry >= 0 ? entries[key.prefixEntry].prefixHash : hash(key.prefix, seed)
    return (hash(key.suffix, prefix), prefix)
  }

  /// Multiply and fold, 16 bytes a step, in the manner of wyhash.
  private func hash(_ source: UnsafeRawBufferPointer, _ start: UInt64) -> UInt64 {
    var state = start ^ 0xa076_1d64_78bd_642f
    var position = 0
    let count = source.count
    while position + 16 <= count {
      let first = source.loadUnaligned(fromByteOffset: position, as: UInt64.self)
      let second = source.loadUnaligned(fromByteOffset: position + 8, as: UInt64.self)
      state = SeriesCache.fold(first ^ 0xe703_7ed1_a0b4_28db, second ^ state)
      position += 16
    }
    var tail: (UInt64, UInt64) = (0, 0)
    if position < count {
      withUnsafeMutableBytes(of: &tail) {
        $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[position...]))
      }
    }
    state = SeriesCache.fold(tail.0 ^ 0x8ebc_6af0_9c88_c6e3, tail.1 ^ state)
    return SeriesCache.fold(state ^ UInt64(count), 0x5899_65cc_7537_4cc3)
  }

  @inline(__always)
  private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let product = left.multipliedFullWidth(by: right)
    return product.high ^ product.low ^ left
  }
}
