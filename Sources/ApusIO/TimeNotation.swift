/// Times as people and programs hand them in: RFC 3339, or Unix time as a decimal.
package enum TimeNotation {
  /// Milliseconds since 1970, or nil when `bytes` is neither. A decimal counts seconds, with a fraction to the
  /// millisecond; one of 1e11 and more (which in seconds would be after the year 5000) counts milliseconds.
  package static func parse(_ bytes: UnsafeRawBufferPointer) -> Int64? {
    if bytes.count >= 20, bytes[4] == UInt8(ascii: "-") { return RFC3339.parse(bytes) }
    guard let number = DecimalNumber.parse(bytes) else { return nil }
    return milliseconds(unix: number)
  }

  package static func parse(_ text: String) -> Int64? {
    var text = text
    return text.withUTF8 { parse(UnsafeRawBufferPointer($0)) }
  }

  /// As `parse`, for a number that has been read already; nil for what no clock shows.
  package static func milliseconds(unix number: Double) -> Int64? {
    if number.magnitude < 1e11 { return Int64((number * 1000).rounded()) }
    // Beyond 2^53 a Float64 cannot tell one millisecond from the next.
    return number.magnitude <= 0x1p53 ? Int64(number.rounded()) : nil
  }
}
