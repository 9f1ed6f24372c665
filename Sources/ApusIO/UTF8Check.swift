/// Checks UTF-8 as Unicode (table 3-7) has it: no overlong forms, no surrogates, nothing above U+10FFFF.
package enum UTF8Check {
  /// How long the sequence at `offset` is, 1 to 4; 0 when it is not a valid one.
  package static func sequenceLength(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Int {
    let lead = bytes[offset]
    let length: Int
    var low: UInt8 = 0x80
    var high: UInt8 = 0xbf
    switch lead {
    case 0..<0x80: return 1
    case 0xc2...0xdf: length = 2
    case 0xe0:
      length = 3
      low = 0xa0
    case 0xed:
      length = 3
      high = 0x9f
    case 0xe1...0xef: length = 3
    case 0xf0:
      length = 4
      low = 0x90
    case 0xf1...0xf3: length = 4
    case 0xf4:
      length = 4
      high = 0x8f
    default: return 0
    }
    guard offset + length <= bytes.count, bytes[offset + 1] >= low, bytes[offset + 1] <= high else { return 0 }
    for index in offset + 2..<max(offset + length, offset + 2) where bytes[index] & 0xc0 != 0x80 { return 0 }
    return length
  }

  /// Whether all of `bytes` is UTF-8. ASCII is passed over eight bytes at a time.
  package static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var position = 0
    while position < bytes.count {
      if position + 8 <= bytes.count,
        bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self) & 0x8080_8080_8080_8080 == 0
      {
        position += 8
        continue
      }
      let length = sequenceLength(bytes, at: position)
      if length == 0 { return false }
      position += length
    }
    return true
  }
}
