/// The hash that names a series set: two chained multiply-and-fold lanes over little-endian 64-bit words.
///
/// It is part of the log's format (docs/format/records.md, "Set identity"), so its result must never change. It is not
/// cryptographic: whoever may write to a topic may write any set to it, so there is nothing to gain by a collision.
struct ContentHash {
  private var first: UInt64 = 0x9e37_79b9_7f4a_7c15
  private var second: UInt64 = 0xc2b2_ae3d_27d4_eb4f
  private var length: UInt64 = 0

  mutating func add(_ word: UInt64) {
    first = ContentHash.fold(first ^ word, 0xa076_1d64_78bd_642f)
    second = ContentHash.fold(second ^ word, 0xe703_7ed1_a0b4_28db) &+ first
    length &+= 8
  }

  /// Adds bytes, padded with zeros to a whole number of words. The caller adds lengths where they matter.
  mutating func add(_ bytes: UnsafeRawBufferPointer) {
    var position = 0
    while position + 8 <= bytes.count {
      add(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)))
      position += 8
    }
    if position < bytes.count {
      var word: UInt64 = 0
      for index in position..<bytes.count { word |= UInt64(bytes[index]) << UInt64(8 * (index - position)) }
      add(word)
    }
  }

  func finish() -> SeriesSetID {
    SeriesSetID(
      high: ContentHash.fold(first ^ length, 0x8ebc_6af0_9c88_c6e3),
      low: ContentHash.fold(second ^ (length &* 0x5899_65cc_7537_4cc3), 0x1d8e_4e27_c47d_124f)
    )
  }

  /// The two halves of the 128-bit product, one over the other; a zero factor is kept from swallowing the state.
  private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let product = left.multipliedFullWidth(by: right)
    return product.high ^ product.low ^ left
  }
}
