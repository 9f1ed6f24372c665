/// Numbers as decimal text, appended without a string in between where that is possible.
package enum NumberText {
  package static func append(_ value: Int64, to bytes: inout [UInt8]) {
    if value < 0 { bytes.append(UInt8(ascii: "-")) }
    append(unsigned: value.magnitude, to: &bytes)
  }

  package static func append(unsigned value: UInt64, to bytes: inout [UInt8]) {
    var buffer: (UInt64, UInt64, UInt32) = (0, 0, 0)
    withUnsafeMutableBytes(of: &buffer) { digits in
      var index = 20
      var rest = value
      repeat {
        index -= 1
        digits[index] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
        rest /= 10
      } while rest > 0
      bytes.append(contentsOf: UnsafeRawBufferPointer(rebasing: digits[index..<20]))
    }
  }

  /// The shortest decimal that reads back as the same Float64. Whole numbers have no point.
  /// - Precondition: `value` is finite; each format has its own words for the others.
  package static func append(_ value: Double, to bytes: inout [UInt8]) {
    precondition(value.isFinite, "\(value) has no decimal form")
    if value.sign == .minus { bytes.append(UInt8(ascii: "-")) }
    let magnitude = value.magnitude
    if magnitude < 1e15 {
      // With at most 15 digits a decimal that reads back as the value is the only one, so the first that is found
      // with ascending places is the shortest.
      var scale: UInt64 = 1
      for places in 0...6 {
        let scaled = (magnitude * Double(scale)).rounded()
        if scaled >= 1e15 { break }
        if scaled / Double(scale) == magnitude {
          append(UInt64(scaled), scale: scale, places: places, to: &bytes)
          return
        }
        scale *= 10
      }
    }
    var text = magnitude.description
    text.withUTF8 { digits in
      // Swift writes whole numbers below 2^54 as `1.0`.
      let count = digits.count > 2 && digits[digits.count - 2] == UInt8(ascii: ".") ? digits.count - 2 : digits.count
      let isWhole = count < digits.count && digits[digits.count - 1] == UInt8(ascii: "0")
      bytes.append(contentsOf: isWhole ? digits[..<count] : digits[...])
    }
  }

  private static func append(_ scaled: UInt64, scale: UInt64, places: Int, to bytes: inout [UInt8]) {
    append(unsigned: scaled / scale, to: &bytes)
    if places == 0 { return }
    bytes.append(UInt8(ascii: "."))
    var divisor = scale / 10
    var fraction = scaled % scale
    while divisor > 0 {
      bytes.append(UInt8(ascii: "0") + UInt8(fraction / divisor))
      fraction %= divisor
      divisor /= 10
    }
  }
}
