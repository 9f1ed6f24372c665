/// A fast hash of bytes for tables in memory; never stored or sent.
enum KeyHash {
  static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var state = UInt64(bytes.count) ^ 0x9e37_79b9_7f4a_7c15
    var position = 0
    while position + 8 <= bytes.count {
      state = fold(state ^ bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self), 0xa076_1d64_78bd_642f)
      position += 8
    }
    var rest: UInt64 = 0
    while position < bytes.count {
      rest = rest << 8 | UInt64(bytes[position])
      position += 1
    }
    return fold(state ^ rest, 0xe703_7ed1_a0b4_28db)
  }

  private static func fold(_ left: UInt64, _ right: UInt64) -> UInt64 {
    let product = left.multipliedFullWidth(by: right)
    return product.high ^ product.low ^ left
  }
}
