import CKernels

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Decimal text to numbers, exactly rounded and without an allocation.
///
/// Most telemetry has at most 15 digits and a small exponent and takes Clinger's way: an exact integer times or over an
/// exact power of ten is rounded once. Longer ones take Eisel and Lemire's (a 128-bit product, arXiv:2101.11408); the
/// few that neither can decide go to the C library.
package enum DecimalNumber {
  /// The number that all of `bytes` writes: a sign, digits with an optional point, an exponent. Nil when they do not;
  /// infinite when it is beyond the range.
  package static func parse(_ bytes: UnsafeRawBufferPointer) -> Double? {
    var position = 0
    guard let value = scan(bytes, &position), position == bytes.count else { return nil }
    return value
  }

  /// The number at `position`, which moves behind it; nil, and `position` as it was, when there is none.
  @inline(__always)
  package static func scan(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> Double? {
    let count = bytes.count
    var index = position
    var isNegative = false
    if index < count, bytes[index] == UInt8(ascii: "-") || bytes[index] == UInt8(ascii: "+") {
      isNegative = bytes[index] == UInt8(ascii: "-")
      index += 1
    }
    // Up to 19 digits fit in 64 bits; with more the product wraps and is not used.
    let first = index
    var mantissa: UInt64 = 0
    while index < count {
      let digit = bytes[index] &- 0x30
      if digit > 9 { break }
      mantissa = mantissa &* 10 &+ UInt64(digit)
      index += 1
    }
    var digits = index - first
    var exponent = 0
    if index < count, bytes[index] == UInt8(ascii: ".") {
      index += 1
      let fraction = index
      while index < count {
        let digit = bytes[index] &- 0x30
        if digit > 9 { break }
        mantissa = mantissa &* 10 &+ UInt64(digit)
        index += 1
      }
      exponent = fraction - index
      digits += index - fraction
    }
    guard digits > 0 else { return nil }
    let end = index
    if index < count, bytes[index] | 0x20 == UInt8(ascii: "e") {
      if let written = scanExponent(bytes, &index) { exponent += written }
    }
    defer { position = index }
    if digits <= 19, let value = combine(mantissa, exponent) { return isNegative ? -value : value }
    let value = slow(bytes, first, end, index, exponent)
    return isNegative ? -value : value
  }

  /// An integer with an optional sign, or nil when all of `bytes` is not one or it does not fit.
  package static func parseInteger(_ bytes: UnsafeRawBufferPointer) -> Int64? {
    var index = 0
    let isNegative = bytes.first == UInt8(ascii: "-")
    if isNegative { index = 1 }
    guard index < bytes.count else { return nil }
    var value: Int64 = 0
    while index < bytes.count {
      let digit = bytes[index] &- 0x30
      guard digit < 10 else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      // Counted downwards, because there is one negative number more than there are positive ones.
      let (next, overflowToo) = product.subtractingReportingOverflow(Int64(digit))
      if overflow || overflowToo { return nil }
      value = next
      index += 1
    }
    if isNegative { return value }
    return value == .min ? nil : -value
  }

  /// An exponent at `index` (the `e`); nil, and `index` as it was, when no digits follow. Bounded, not wrapped.
  private static func scanExponent(_ bytes: UnsafeRawBufferPointer, _ index: inout Int) -> Int? {
    var position = index + 1
    var isNegative = false
    if position < bytes.count, bytes[position] == UInt8(ascii: "-") || bytes[position] == UInt8(ascii: "+") {
      isNegative = bytes[position] == UInt8(ascii: "-")
      position += 1
    }
    let first = position
    var value = 0
    while position < bytes.count {
      let digit = bytes[position] &- 0x30
      if digit > 9 { break }
      value = min(value * 10 + Int(digit), 1_000_000_000)
      position += 1
    }
    guard position > first else { return nil }
    index = position
    return isNegative ? -value : value
  }

  /// `mantissa` × 10^`exponent`, or nil where neither fast way can decide.
  @inline(__always)
  private static func combine(_ mantissa: UInt64, _ exponent: Int) -> Double? {
    if exponent == 0 { return Double(mantissa) }
    if mantissa <= 1 << 53, exponent >= -22, exponent <= 22 {
      let value = Double(mantissa)
      return exponent < 0 ? value / exactPower(-exponent) : value * exactPower(exponent)
    }
    return EiselLemire.compute(mantissa, exponent)
  }

  /// 10^n for n in 0...22: these are exact.
  @inline(__always)
  private static func exactPower(_ exponent: Int) -> Double { apus_power_of_ten(Int32(truncatingIfNeeded: exponent)) }

  /// More than 19 digits (leading zeros counted), or a product too close to the middle of two numbers.
  private static func slow(
    _ bytes: UnsafeRawBufferPointer, _ first: Int, _ end: Int, _ whole: Int, _ exponent: Int
  ) -> Double {
    // The first 19 significant digits bound the number from below, and that plus one from above.
    var mantissa: UInt64 = 0
    var significant = 0
    var dropped = 0
    for index in first..<end where bytes[index] != UInt8(ascii: ".") {
      let digit = UInt64(bytes[index] &- 0x30)
      if significant == 0 && digit == 0 { continue }
      significant += 1
      if significant <= 19 { mantissa = mantissa * 10 + digit } else { dropped += 1 }
    }
    if mantissa == 0 { return 0 }
    let lower = combine(mantissa, exponent + dropped)
    if dropped == 0, let lower { return lower }
    if let lower, let upper = combine(mantissa + 1, exponent + dropped), lower == upper { return lower }
    let count = whole - first
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: count + 1) { text in
      for index in 0..<count { text[index] = CChar(bitPattern: bytes[first + index]) }
      text[count] = 0
      guard let start = text.baseAddress else { return 0 }
      return strtod(start, nil)
    }
  }
}
