import ApusIO

/// The fallback for values that are no decimals: each is stored as the bits in which it differs from the one before
/// (after Pelkonen et al., "Gorilla", VLDB 2015, section 4.1.2).
///
/// The first value is whole. Then, bit by bit: `0` for no difference; `10` and the middle bits, where these fit in the
/// last window; `11`, five bits of leading zeros, six bits of the middle's length less one, and the middle bits.
package enum XORCodec {
  /// Invariant (unsafe memory): `values` has `count` elements, at least one.
  package static func encode(_ values: UnsafePointer<Double>, count: Int, to out: inout OutputBuffer) {
    var bits = BitSink()
    var previous = values[0].bitPattern
    out.put(word: previous)
    var leading = 65
    var trailing = 0
    for index in 1..<max(1, count) {
      let current = values[index].bitPattern
      let difference = current ^ previous
      previous = current
      if difference == 0 {
        bits.put(0, width: 1, to: &out)
        continue
      }
      let newLeading = min(31, difference.leadingZeroBitCount)
      let newTrailing = difference.trailingZeroBitCount
      if newLeading >= leading && newTrailing >= trailing {
        bits.put(0b01, width: 2, to: &out)
        bits.put(difference >> UInt64(trailing), width: 64 - leading - trailing, to: &out)
      } else {
        leading = newLeading
        trailing = newTrailing
        let middle = 64 - leading - trailing
        bits.put(0b11 | UInt64(leading) << 2 | UInt64(middle - 1) << 7, width: 13, to: &out)
        bits.put(difference >> UInt64(trailing), width: middle, to: &out)
      }
    }
    bits.finish(to: &out)
  }

  /// Invariant (unsafe memory): `target` has room for `count` values, at least one.
  package static func decode(
    _ reader: inout ByteReader, count: Int, into target: UnsafeMutablePointer<Double>
  ) throws(ByteReaderError) {
    var previous = try reader.read(UInt64.self)
    target[0] = Double(bitPattern: previous)
    var bits = BitSource(reader)
    var leading = 65
    var trailing = 0
    for index in 1..<max(1, count) {
      if try bits.take(1) != 0 {
        if try bits.take(1) != 0 {
          leading = Int(try bits.take(5))
          let middle = Int(try bits.take(6)) + 1
          trailing = 64 - leading - middle
          guard trailing >= 0 else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
        }
        guard leading <= 64 else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
        previous ^= try bits.take(64 - leading - trailing) << UInt64(trailing)
      }
      target[index] = Double(bitPattern: previous)
    }
  }
}

/// Collects bits, lowest first, and hands whole words on.
private struct BitSink {
  var word: UInt64 = 0
  var used = 0

  /// - Precondition: 1 to 64 bits, none set above `width`.
  @inline(__always) mutating func put(_ value: UInt64, width: Int, to out: inout OutputBuffer) {
    word |= value << UInt64(used)
    used += width
    if used >= 64 {
      out.put(word: word)
      used -= 64
      word = value >> UInt64(width - used)
    }
  }

  mutating func finish(to out: inout OutputBuffer) {
    while used > 0 {
      out.put(UInt8(truncatingIfNeeded: word))
      word >>= 8
      used -= 8
    }
  }
}

/// Reads bits, lowest first.
private struct BitSource {
  let bytes: UnsafeRawBufferPointer
  var bit: Int

  init(_ reader: ByteReader) {
    bytes = reader.bytes
    bit = reader.position * 8
  }

  @inline(__always) mutating func take(_ width: Int) throws(ByteReaderError) -> UInt64 {
    guard bit + width <= bytes.count * 8 else { throw ByteReaderError(kind: .truncated, offset: bit >> 3) }
    let byte = bit >> 3
    let shift = bit & 7
    defer { bit += width }
    if width + shift <= 64 && byte + 8 <= bytes.count {
      let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: byte, as: UInt64.self)) >> UInt64(shift)
      return width == 64 ? word : word & ((1 << UInt64(width)) - 1)
    }
    return ByteReader.bits(of: bytes, from: bit, width: width)
  }
}
