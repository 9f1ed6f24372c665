/// Eisel and Lemire's way from a decimal to the nearest Float64 (arXiv:2101.11408): the decimal's digits times a 128-bit
/// approximation of the power of five, rounded to even.
enum EiselLemire {
  private static let smallestExponent = -342
  private static let largestExponent = 308

  /// `mantissa` × 10^`exponent`; nil in the rare case that the product cannot decide the rounding.
  static func compute(_ mantissa: UInt64, _ exponent: Int) -> Double? {
    if mantissa == 0 || exponent < smallestExponent { return 0 }
    if exponent > largestExponent { return .infinity }
    let shift = mantissa.leadingZeroBitCount
    let (high, low) = product(mantissa << UInt64(shift), exponent)
    // Within these exponents the power is exact or the error cannot reach the rounded bits.
    if low == .max, exponent < -27 || exponent > 55 { return nil }

    let upperBit = Int(high >> 63)
    var significand = high >> UInt64(upperBit + 9)
    // floor(log2(10^exponent)) by a fixed-point constant that is right over the whole range.
    var power = ((217_706 * exponent) >> 16) + 63 + upperBit - shift + 1023
    if power <= 0 {
      if 1 - power >= 64 { return 0 }
      significand >>= UInt64(1 - power)
      significand += significand & 1
      significand >>= 1
      // Rounding up may have made the smallest normal number.
      power = significand < 1 << 52 ? 0 : 1
      return Double(bitPattern: UInt64(power) << 52 | significand & ((1 << 52) - 1))
    }
    // Exactly half way between two numbers: only possible for small powers; then the even one is taken.
    if low <= 1, exponent >= -4, exponent <= 23, significand & 3 == 1, significand << UInt64(upperBit + 9) == high {
      significand &= ~1
    }
    significand += significand & 1
    significand >>= 1
    if significand >= 1 << 53 {
      significand = 1 << 52
      power += 1
    }
    if power >= 0x7ff { return .infinity }
    return Double(bitPattern: UInt64(power) << 52 | significand & ((1 << 52) - 1))
  }

  /// The top 128 bits of the product; the second half of the power is used only where the first leaves a doubt.
  private static func product(_ mantissa: UInt64, _ exponent: Int) -> (high: UInt64, low: UInt64) {
    let power = table.powers[exponent - smallestExponent]
    var (high, low) = mantissa.multipliedFullWidth(by: UInt64(power >> 64))
    if high & 0x1ff == 0x1ff {
      let second = mantissa.multipliedFullWidth(by: UInt64(truncatingIfNeeded: power)).high
      let (sum, overflow) = low.addingReportingOverflow(second)
      low = sum
      if overflow { high += 1 }
    }
    return (high, low)
  }

  private static let table = PowersOfFive(smallestExponent...largestExponent)
}

/// 5^n for a range of exponents, each scaled by a power of two to fill 128 bits and cut off there; the reciprocals down
/// to 5^-27 are rounded up instead, which makes exact results come out exact. Computed once, in about a millisecond.
struct PowersOfFive {
  private(set) var powers: [UInt128] = []

  init(_ exponents: ClosedRange<Int>) {
    var ascending: [UInt128] = []
    var descending: [UInt128] = []
    // 5^n, 32 bits a word, lowest first.
    var power: [UInt32] = [1]
    for exponent in 0...max(exponents.upperBound, -exponents.lowerBound) {
      if exponent <= exponents.upperBound { ascending.append(PowersOfFive.top128(power)) }
      if exponent > 0, -exponent >= exponents.lowerBound {
        let reciprocal = PowersOfFive.reciprocal(power)
        descending.append(exponent <= 27 ? reciprocal + 1 : reciprocal)
      }
      var carry: UInt64 = 0
      for index in power.indices {
        let product = UInt64(power[index]) * 5 + carry
        power[index] = UInt32(truncatingIfNeeded: product)
        carry = product >> 32
      }
      if carry > 0 { power.append(UInt32(carry)) }
    }
    powers = descending.reversed() + ascending
  }

  private static func top128(_ number: [UInt32]) -> UInt128 {
    var result: UInt128 = 0
    var bits = 0
    for word in number.reversed() {
      let width = bits == 0 ? 32 - word.leadingZeroBitCount : 32
      let kept = min(width, 128 - bits)
      if kept == 0 { break }
      result = result << UInt128(kept) | UInt128(word) >> UInt128(width - kept)
      bits += kept
    }
    return result << UInt128(128 - bits)
  }

  /// 2^k / `number`, rounded down, with the k that fills 128 bits: long division in base two.
  private static func reciprocal(_ number: [UInt32]) -> UInt128 {
    // The remainder starts as the largest power of two below the number, so that the first quotient bit is one.
    var remainder = [UInt32](repeating: 0, count: number.count + 1)
    let top = 32 * (number.count - 1) + 31 - number[number.count - 1].leadingZeroBitCount
    remainder[top / 32] = 1 << UInt32(top % 32)
    var quotient: UInt128 = 0
    for _ in 0..<128 {
      var carry: UInt32 = 0
      for index in remainder.indices {
        let next = remainder[index] >> 31
        remainder[index] = remainder[index] << 1 | carry
        carry = next
      }
      quotient <<= 1
      if isLess(remainder, number) { continue }
      quotient |= 1
      var borrow: Int64 = 0
      for index in remainder.indices {
        let difference = Int64(remainder[index]) - (index < number.count ? Int64(number[index]) : 0) - borrow
        remainder[index] = UInt32(truncatingIfNeeded: difference)
        borrow = difference < 0 ? 1 : 0
      }
    }
    return quotient
  }

  private static func isLess(_ left: [UInt32], _ right: [UInt32]) -> Bool {
    for index in left.indices.reversed() {
      let other = index < right.count ? right[index] : 0
      if left[index] != other { return left[index] < other }
    }
    return false
  }
}
