/// Names in the characters that Prometheus had from the beginning: letters, digits, `_`, and `:` in metric names.
enum ClassicNames {
  /// The name with `_` for every other character (one for a character of several bytes), and before a leading digit.
  static func clean(_ name: [UInt8], isMetricName: Bool) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(name.count + 1)
    if let first = name.first, isDigit(first) { result.append(UInt8(ascii: "_")) }
    for byte in name {
      if isPlain(byte) || (isMetricName && byte == UInt8(ascii: ":")) {
        result.append(byte)
      } else if byte & 0xc0 != 0x80 {
        result.append(UInt8(ascii: "_"))
      }
    }
    return result
  }

  static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

  /// A letter, a digit or `_`.
  static func isPlain(_ byte: UInt8) -> Bool { isAlphanumeric(byte) || byte == UInt8(ascii: "_") }

  static func isAlphanumeric(_ byte: UInt8) -> Bool {
    isDigit(byte) || (byte | 0x20 >= UInt8(ascii: "a") && byte | 0x20 <= UInt8(ascii: "z"))
  }
}
