import ApusIO

/// The value of a sample as text: a decimal, or `NaN`, `+Inf`, `-Inf` and their usual other spellings.
package enum SampleValue {
  /// The value that all of `bytes` writes, or nil when it writes none.
  package static func parse(_ bytes: UnsafeRawBufferPointer) -> Double? {
    if let value = DecimalNumber.parse(bytes) { return value }
    return parseWord(bytes)
  }

  package static func parse(_ text: String) -> Double? {
    var text = text
    return text.withUTF8 { parse(UnsafeRawBufferPointer($0)) }
  }

  /// Appends the shortest text that reads back as the value, as the exposition formats write it.
  package static func append(_ value: Double, to bytes: inout [UInt8]) {
    if value.isFinite {
      NumberText.append(value, to: &bytes)
    } else {
      bytes.append(contentsOf: (value.isNaN ? "NaN" : value > 0 ? "+Inf" : "-Inf").utf8)
    }
  }

  /// `nan`, `inf` and `infinity` in any case, the latter two with an optional sign.
  static func parseWord(_ bytes: UnsafeRawBufferPointer) -> Double? {
    var start = 0
    var isNegative = false
    if let sign = bytes.first, sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-") {
      start = 1
      isNegative = sign == UInt8(ascii: "-")
    }
    let word = UnsafeRawBufferPointer(rebasing: bytes[start...])
    if isWord(word, "nan") { return start == 0 ? .nan : nil }
    guard isWord(word, "inf") || isWord(word, "infinity") else { return nil }
    return isNegative ? -.infinity : .infinity
  }

  private static func isWord(_ bytes: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
    guard bytes.count == word.utf8CodeUnitCount else { return false }
    for index in 0..<bytes.count where bytes[index] | 0x20 != word.utf8Start[index] { return false }
    return true
  }
}
