/// Percent-encoding of RFC 3986, and the query's pairs of WHATWG's URL standard.
enum PercentEncoding {
  /// The text behind an encoded one; nil where an escape is broken or the bytes are not UTF-8.
  static func decode(_ text: some StringProtocol, plusIsSpace: Bool) -> String? {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.utf8.count)
    var iterator = text.utf8.makeIterator()
    while let byte = iterator.next() {
      switch byte {
      case UInt8(ascii: "%"):
        guard let high = iterator.next().flatMap(digit), let low = iterator.next().flatMap(digit) else { return nil }
        bytes.append(high << 4 | low)
      case UInt8(ascii: "+") where plusIsSpace: bytes.append(UInt8(ascii: " "))
      default: bytes.append(byte)
      }
    }
    return String(validating: bytes, as: UTF8.self)
  }

  /// The text with everything escaped but the unreserved characters.
  static func encode(_ text: String) -> String {
    var result: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        result.append(byte)
      default:
        let digits = Array("0123456789ABCDEF".utf8)
        result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}

/// The pairs of a query, decoded.
struct QueryString {
  /// The most pairs that a request may have.
  static let pairsMax = 256

  var pairs: [(name: String, value: String)] = []

  /// Reads what stands behind the question mark.
  init(_ text: String) throws(QueryStringError) {
    for part in text.split(separator: "&", omittingEmptySubsequences: true) {
      guard pairs.count < QueryString.pairsMax else { throw .tooMany }
      let halves = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard let name = PercentEncoding.decode(halves[0], plusIsSpace: true) else { throw .malformed("") }
      guard let value = PercentEncoding.decode(halves.count > 1 ? halves[1] : "", plusIsSpace: true) else {
        throw .malformed(name)
      }
      pairs.append((name, value))
    }
  }

  /// The pairs written back, with one of them replaced by `value` or added at the end.
  func setting(_ name: String, to value: String) -> String {
    let kept = pairs.filter { $0.name != name } + [(name, value)]
    return kept.map { "\(PercentEncoding.encode($0.name))=\(PercentEncoding.encode($0.value))" }
      .joined(separator: "&")
  }
}

/// Why a query cannot be read.
enum QueryStringError: Error {
  case tooMany
  /// A broken escape or bytes that are not UTF-8, in the value of the named parameter; empty when in a name.
  case malformed(String)
}
