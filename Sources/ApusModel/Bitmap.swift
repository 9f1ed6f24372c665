/// A fixed number of bits, 64 a word, bit 0 in the lowest bit of word 0.
package struct Bitmap: Hashable, Sendable {
  package let count: Int
  /// `(count + 63) / 64` words; bits beyond `count` are zero.
  package private(set) var words: [UInt64]

  /// All bits clear.
  package init(count: Int) {
    self.count = count
    words = [UInt64](repeating: 0, count: (count + 63) / 64)
  }

  /// Takes words from outside; nil when their number is wrong or a bit beyond `count` is set.
  package init?(count: Int, words: [UInt64]) {
    guard count >= 0, words.count == (count + 63) / 64 else { return nil }
    if count % 64 != 0, let last = words.last, last >> UInt64(count % 64) != 0 { return nil }
    self.count = count
    self.words = words
  }

  package subscript(index: Int) -> Bool {
    get {
      precondition(index >= 0 && index < count, "bit \(index) of \(count)")
      return words[index >> 6] & (1 << UInt64(index & 63)) != 0
    }
    set {
      precondition(index >= 0 && index < count, "bit \(index) of \(count)")
      if newValue {
        words[index >> 6] |= 1 << UInt64(index & 63)
      } else {
        words[index >> 6] &= ~(1 << UInt64(index & 63))
      }
    }
  }

  /// How many bits are set.
  package var setCount: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }
}
