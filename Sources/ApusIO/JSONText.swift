/// A string of a JSON text, still in place and with its escapes; the scanner has checked it.
///
/// Invariant (unsafe memory): valid for as long as the bytes that were scanned.
package struct JSONText {
  /// What stands between the quotes: valid UTF-8, escapes and all.
  package let bytes: UnsafeRawBufferPointer
  package let hasEscapes: Bool

  /// The text itself.
  package var string: String {
    if !hasEscapes { return String(decoding: bytes, as: UTF8.self) }
    var plain: [UInt8] = []
    append(to: &plain)
    return String(decoding: plain, as: UTF8.self)
  }

  /// Appends the text itself, as UTF-8.
  package func append(to plain: inout [UInt8]) {
    if hasEscapes {
      forEachByte { plain.append($0) }
    } else {
      plain.append(contentsOf: bytes)
    }
  }

  /// Whether the text is `word`, which is ASCII.
  package static func == (text: JSONText, word: StaticString) -> Bool {
    let count = word.utf8CodeUnitCount
    if !text.hasEscapes {
      guard text.bytes.count == count else { return false }
      for index in 0..<count where text.bytes[index] != word.utf8Start[index] { return false }
      return true
    }
    var index = 0
    var isEqual = true
    text.forEachByte { byte in
      if index >= count || word.utf8Start[index] != byte { isEqual = false }
      index += 1
    }
    return isEqual && index == count
  }

  package static func ~= (word: StaticString, text: JSONText) -> Bool { text == word }

  /// Each byte of the text with escapes resolved.
  private func forEachByte(_ body: (UInt8) -> Void) {
    var position = 0
    while position < bytes.count {
      let byte = bytes[position]
      guard byte == UInt8(ascii: "\\") else {
        body(byte)
        position += 1
        continue
      }
      let escape = bytes[position + 1]
      position += 2
      switch escape {
      case UInt8(ascii: "b"): body(0x08)
      case UInt8(ascii: "f"): body(0x0c)
      case UInt8(ascii: "n"): body(0x0a)
      case UInt8(ascii: "r"): body(0x0d)
      case UInt8(ascii: "t"): body(0x09)
      case UInt8(ascii: "u"):
        // The scanner has seen to it that four digits follow, and a low surrogate behind a high one.
        var scalar = UInt32(JSONText.hexUnit(bytes, at: position) ?? 0)
        position += 4
        if scalar & 0xfc00 == 0xd800 {
          let low = UInt32(JSONText.hexUnit(bytes, at: position + 2) ?? 0)
          scalar = 0x10000 + (scalar & 0x3ff) << 10 + low & 0x3ff
          position += 6
        }
        JSONText.encode(scalar, body)
      default: body(escape)
      }
    }
  }

  private static func encode(_ scalar: UInt32, _ body: (UInt8) -> Void) {
    switch scalar {
    case 0..<0x80: body(UInt8(scalar))
    case 0x80..<0x800:
      body(UInt8(0xc0 | scalar >> 6))
      body(UInt8(0x80 | scalar & 0x3f))
    case 0x800..<0x10000:
      body(UInt8(0xe0 | scalar >> 12))
      body(UInt8(0x80 | scalar >> 6 & 0x3f))
      body(UInt8(0x80 | scalar & 0x3f))
    default:
      body(UInt8(0xf0 | scalar >> 18))
      body(UInt8(0x80 | scalar >> 12 & 0x3f))
      body(UInt8(0x80 | scalar >> 6 & 0x3f))
      body(UInt8(0x80 | scalar & 0x3f))
    }
  }

  /// The value of four hexadecimal digits, or nil where there are not four.
  static func hexUnit(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt16? {
    guard offset + 4 <= bytes.count else { return nil }
    var unit: UInt16 = 0
    for index in offset..<offset + 4 {
      let byte = bytes[index]
      let digit: UInt8
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
      default: return nil
      }
      unit = unit << 4 | UInt16(digit)
    }
    return unit
  }
}

/// A number of a JSON text, still in place; the scanner has checked its form.
///
/// Invariant (unsafe memory): valid for as long as the bytes that were scanned.
package struct JSONNumber {
  package let bytes: UnsafeRawBufferPointer
  /// Without fraction and exponent.
  package let isInteger: Bool

  /// The nearest Float64; infinite when the number is beyond its range.
  package var double: Double { DecimalNumber.parse(bytes) ?? .nan }

  /// The number exactly, or nil when it has a fraction or an exponent or does not fit.
  package var integer: Int64? { isInteger ? DecimalNumber.parseInteger(bytes) : nil }
}
