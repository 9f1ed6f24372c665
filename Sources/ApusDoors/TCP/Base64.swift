/// Base64 with the standard alphabet and padding (RFC 4648, section 4).
enum Base64 {
  private static let alphabet = [UInt8]("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  /// The value of each character; 255 for those outside the alphabet.
  private static let values: [UInt8] = {
    var table = [UInt8](repeating: 255, count: 256)
    for (value, character) in alphabet.enumerated() { table[Int(character)] = UInt8(value) }
    return table
  }()

  /// Appends the decoded bytes; false when `text` is not base64, down to the unused bits, which must be zero.
  static func decode(_ text: UnsafeRawBufferPointer, appendingTo output: inout [UInt8]) -> Bool {
    guard text.count % 4 == 0 else { return false }
    if text.isEmpty { return true }
    var padding = 0
    if text[text.count - 1] == UInt8(ascii: "=") { padding = text[text.count - 2] == UInt8(ascii: "=") ? 2 : 1 }
    output.reserveCapacity(output.count + text.count / 4 * 3)
    let start = output.count
    return values.withUnsafeBufferPointer { values in
      var position = 0
      while position < text.count {
        let isLast = position + 4 == text.count
        var word: UInt32 = 0
        for index in 0..<4 {
          let character = text[position + index]
          var value = values[Int(character)]
          if isLast, index >= 4 - padding { value = 0 }
          guard value < 64 else {
            output.removeSubrange(start...)
            return false
          }
          word = word << 6 | UInt32(value)
        }
        let kept = isLast ? 3 - padding : 3
        if kept < 3, word & (kept == 2 ? 0xff : 0xffff) != 0 {
          output.removeSubrange(start...)
          return false
        }
        output.append(UInt8(truncatingIfNeeded: word >> 16))
        if kept > 1 { output.append(UInt8(truncatingIfNeeded: word >> 8)) }
        if kept > 2 { output.append(UInt8(truncatingIfNeeded: word)) }
        position += 4
      }
      return true
    }
  }

  static func encode(_ bytes: UnsafeRawBufferPointer, appendingTo output: inout [UInt8]) {
    output.reserveCapacity(output.count + (bytes.count + 2) / 3 * 4)
    var position = 0
    while position < bytes.count {
      let left = min(3, bytes.count - position)
      var word = UInt32(bytes[position]) << 16
      if left > 1 { word |= UInt32(bytes[position + 1]) << 8 }
      if left > 2 { word |= UInt32(bytes[position + 2]) }
      output.append(alphabet[Int(word >> 18 & 63)])
      output.append(alphabet[Int(word >> 12 & 63)])
      output.append(left > 1 ? alphabet[Int(word >> 6 & 63)] : UInt8(ascii: "="))
      output.append(left > 2 ? alphabet[Int(word & 63)] : UInt8(ascii: "="))
      position += 3
    }
  }
}
