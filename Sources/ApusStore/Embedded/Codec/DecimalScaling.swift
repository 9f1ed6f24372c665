/// Finds the power of ten by which a run of doubles becomes integers, losslessly (after ALP: Afroozeh, Kuffó and Boncz,
/// "ALP: Adaptive Lossless floating-Point Compression", SIGMOD 2023; here decoding divides, which is correctly rounded
/// and so gives back what a decimal text parsed to).
enum DecimalScaling {
  /// Beyond 10^14 a double of 51 bits has no decimals left.
  static let exponentMax = 14
  /// Integers beyond ±2^51 are not taken: the rounding trick below holds within them.
  static let magnitude: Int64 = 1 << 51

  /// 10^0 to 10^14, all exact.
  static let powers: [Double] = [
    1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
  ]

  /// 1.5 · 2^52: adding it to a number within ±2^51 rounds that to the nearest integer, which is then in the low bits.
  @inline(__always) static var rounder: Double { 6_755_399_441_055_744.0 }

  /// `value` as an integer of so many decimals, or nil when it is none, bit for bit (NaN, infinities and -0.0 never are).
  @inline(__always) static func integer(_ value: Double, power: Double) -> Int64? {
    let shifted = value * power + rounder
    let rounded = shifted - rounder
    let integer = Int64(bitPattern: shifted.bitPattern &- rounder.bitPattern)
    guard (rounded / power).bitPattern == value.bitPattern, UInt64(bitPattern: integer &+ magnitude) >> 52 == 0
    else { return nil }
    return integer
  }

  /// The smallest exponent of at least `least` with which `value` is an integer.
  static func exponent(of value: Double, atLeast least: Int) -> Int? {
    guard value.isFinite else { return nil }
    var exponent = least
    while exponent <= exponentMax {
      if integer(value, power: powers[exponent]) != nil { return exponent }
      exponent += 1
    }
    return nil
  }

  /// Scales all values to integers with one exponent, and returns that; nil where more than `exceptionsMax` values are
  /// not decimals. The places of those are collected in `exceptions`; their integers repeat the one before.
  ///
  /// Invariant (unsafe memory): `values` and `integers` have `count` elements, `exceptions` room for `exceptionsMax`.
  static func scale(
    _ values: UnsafePointer<Double>, count: Int, into integers: UnsafeMutablePointer<Int64>,
    exceptions: UnsafeMutablePointer<Int32>, exceptionsMax: Int, exceptionCount: inout Int
  ) -> Int? {
    var exponent = 0
    for index in 0..<min(count, 4) {
      if let found = DecimalScaling.exponent(of: values[index], atLeast: exponent) { exponent = found }
    }
    while true {
      if scaleAll(values, count: count, exponent: exponent, into: integers) {
        exceptionCount = 0
        return exponent
      }
      // Some value did not fit: a longer decimal, or none at all.
      var found = 0
      var longer: Int? = nil
      let power = powers[exponent]
      for index in 0..<count where integer(values[index], power: power) == nil {
        if longer == nil, let next = DecimalScaling.exponent(of: values[index], atLeast: exponent + 1) {
          longer = next
          break
        }
        if found == exceptionsMax { return nil }
        exceptions[found] = Int32(index)
        found += 1
      }
      if let longer {
        exponent = longer
        continue
      }
      exceptionCount = found
      for place in 0..<found {
        let index = Int(exceptions[place])
        integers[index] = index > 0 ? integers[index - 1] : 0
      }
      // A leading exception takes the first real value, so that it costs no jump.
      if found > 0, exceptions[0] == 0 {
        var lead = 0
        while lead < found && Int(exceptions[lead]) == lead { lead += 1 }
        if lead < count { for index in 0..<lead { integers[index] = integers[lead] } }
      }
      return exponent
    }
  }

  /// The branch-free pass: whether every value fits.
  private static func scaleAll(
    _ values: UnsafePointer<Double>, count: Int, exponent: Int, into integers: UnsafeMutablePointer<Int64>
  ) -> Bool {
    let power = powers[exponent]
    var misfit: UInt64 = 0
    if exponent == 0 {
      for index in 0..<count {
        let value = values[index]
        let shifted = value + rounder
        let integer = Int64(bitPattern: shifted.bitPattern &- rounder.bitPattern)
        integers[index] = integer
        misfit |= (shifted - rounder).bitPattern ^ value.bitPattern
        misfit |= UInt64(bitPattern: integer &+ magnitude) >> 52
      }
    } else {
      for index in 0..<count {
        let value = values[index]
        let shifted = value * power + rounder
        let integer = Int64(bitPattern: shifted.bitPattern &- rounder.bitPattern)
        integers[index] = integer
        misfit |= ((shifted - rounder) / power).bitPattern ^ value.bitPattern
        misfit |= UInt64(bitPattern: integer &+ magnitude) >> 52
      }
    }
    return misfit == 0
  }
}
