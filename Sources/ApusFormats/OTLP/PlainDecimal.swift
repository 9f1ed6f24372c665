/// Numbers as the values of labels: the shortest digits that read back as the number, never with an exponent, so that
/// `le` and `quantile` are written as Prometheus' receiver writes them.
enum PlainDecimal {
  static func text(_ value: Double) -> [UInt8] {
    if value.isNaN { return Array("NaN".utf8) }
    if value.isInfinite { return Array((value < 0 ? "-Inf" : "+Inf").utf8) }
    var digits: [UInt8] = []
    // How many digits stand before the point.
    var point: Int?
    var exponent = 0
    let text = Array(value.magnitude.description.utf8)
    var index = 0
    while index < text.count {
      switch text[index] {
      case UInt8(ascii: "."): point = digits.count
      case UInt8(ascii: "e"):
        exponent = Int(String(decoding: text[(index + 1)...], as: UTF8.self)) ?? 0
        index = text.count
      default: digits.append(text[index])
      }
      index += 1
    }
    let before = (point ?? digits.count) + exponent
    var result: [UInt8] = value.sign == .minus ? [UInt8(ascii: "-")] : []
    let zero = UInt8(ascii: "0")
    if before <= 0 {
      result.append(zero)
    } else {
      for place in 0..<before { result.append(place < digits.count ? digits[place] : zero) }
    }
    var fraction: [UInt8] = []
    for place in min(before, digits.count)..<digits.count {
      if place < 0 { fraction.append(zero) } else { fraction.append(digits[place]) }
    }
    while fraction.last == zero { fraction.removeLast() }
    if !fraction.isEmpty {
      result.append(UInt8(ascii: "."))
      result.append(contentsOf: fraction)
    }
    return result
  }
}
