import ApusIO
import Synchronization

/// Keeps what was expanded last, so that a question that touches a compressed piece for one series after another
/// expands it once. Bounded by bytes; what was used longest ago goes first.
final class ExpandedCache: Sendable {
  /// A part of a block. Numbers of blocks are never used twice.
  struct Key: Hashable, Sendable {
    var block: UInt64
    var part: UInt64

    /// The block's index sections.
    static func index(of block: UInt64) -> Key { Key(block: block, part: .max) }

    static func piece(of block: UInt64, stripe: Int, piece: Int) -> Key {
      Key(block: block, part: UInt64(stripe) << 16 | UInt64(piece))
    }
  }

  enum Content: Sendable {
    case bytes(MappedBytes)
    case index(BlockIndex)
  }

  private struct Entry {
    var content: Content
    var bytes: Int
    var used: UInt64
  }

  private struct State {
    var entries: [Key: Entry] = [:]
    var bytes = 0
    var turn: UInt64 = 0
    var misses: UInt64 = 0
  }

  private let limit: Int
  private let state = Mutex(State())

  /// - Parameter limit: the most bytes to keep; what is larger alone is not kept.
  init(limit: Int) { self.limit = limit }

  /// What is kept, or else what `make` makes, with its size; it is kept from then on. Two who ask at once may both make it.
  func get(
    _ key: Key, _ make: () throws(StoreError) -> (content: Content, bytes: Int)
  ) throws(StoreError) -> Content {
    let known = state.withLock { state -> Content? in
      state.turn += 1
      guard let index = state.entries.index(forKey: key) else {
        state.misses += 1
        return nil
      }
      state.entries.values[index].used = state.turn
      return state.entries.values[index].content
    }
    if let known { return known }
    let made = try make()
    if made.bytes > limit { return made.content }
    state.withLock { state in
      if let old = state.entries.updateValue(
        Entry(content: made.content, bytes: made.bytes, used: state.turn), forKey: key)
      {
        state.bytes -= old.bytes
      }
      state.bytes += made.bytes
      if state.bytes > limit { ExpandedCache.evict(&state, to: limit / 4 * 3) }
    }
    return made.content
  }

  /// Many at once, so that a full cache does not look for its oldest entry at every miss.
  private static func evict(_ state: inout State, to bound: Int) {
    for (key, entry) in state.entries.sorted(by: { $0.value.used < $1.value.used }) {
      if state.bytes <= bound { return }
      state.entries[key] = nil
      state.bytes -= entry.bytes
    }
  }

  /// What is kept, in bytes, and how often something had to be made.
  var usage: (bytes: Int, misses: UInt64) { state.withLock { ($0.bytes, $0.misses) } }
}
