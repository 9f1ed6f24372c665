import ApusIO

extension ByteReader {
  /// Reads what `OutputBuffer.putPacked` wrote.
  ///
  /// Invariant (unsafe memory): the fast loop loads eight bytes only where eight bytes are left in `bytes`; `target` has
  /// room for `count` numbers, which the callers ensure by buffers of `MiniBlock.size` or more.
  mutating func readPacked(
    into target: UnsafeMutablePointer<UInt64>, count: Int, width: Int
  ) throws(ByteReaderError) {
    if width == 0 {
      target.update(repeating: 0, count: count)
      return
    }
    guard width <= 64 else { throw ByteReaderError(kind: .outOfBounds, offset: position) }
    let packed = try readBytes((count * width + 7) / 8)
    guard let start = packed.baseAddress else { return }
    let mask: UInt64 = width == 64 ? .max : (1 << UInt64(width)) - 1
    // Bytes that may be read from the start of the packed run on without leaving the whole buffer.
    let available = bytes.count - (position - packed.count)
    var fast = 0
    if width <= 56 && available >= 8 {
      fast = min(count, ((available - 8) * 8) / width + 1)
      var bit = 0
      for index in 0..<fast {
        let word = UInt64(littleEndian: start.loadUnaligned(fromByteOffset: bit >> 3, as: UInt64.self))
        target[index] = (word >> UInt64(bit & 7)) & mask
        bit += width
      }
    }
    for index in fast..<count { target[index] = ByteReader.bits(of: packed, from: index * width, width: width) }
  }

  /// One number, a byte at a time: for the last few of a buffer and for widths above 56 bits.
  static func bits(of packed: UnsafeRawBufferPointer, from bit: Int, width: Int) -> UInt64 {
    var result: UInt64 = 0
    var done = 0
    var byte = bit >> 3
    var shift = bit & 7
    while done < width {
      let take = min(8 - shift, width - done)
      let part = (UInt64(packed[byte]) >> UInt64(shift)) & ((1 << UInt64(take)) - 1)
      result |= part << UInt64(done)
      done += take
      byte += 1
      shift = 0
    }
    return result
  }
}
