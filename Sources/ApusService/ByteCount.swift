/// A size in bytes, as configuration writes it: a whole number with a unit (`64MiB`, `500MB`, `10B`).
///
/// A bare number is refused, because nobody can tell whether it was meant as bytes, kilobytes or mebibytes.
package struct ByteCount: Hashable, Comparable, Sendable {
  package var bytes: Int

  package init(_ bytes: Int) { self.bytes = bytes }

  package static func kibibytes(_ number: Int) -> ByteCount { ByteCount(number << 10) }
  package static func mebibytes(_ number: Int) -> ByteCount { ByteCount(number << 20) }
  package static func gibibytes(_ number: Int) -> ByteCount { ByteCount(number << 30) }

  /// Units, the largest first of those that `format` may choose: binary before decimal, because defaults are binary.
  private static let units: [(name: String, bytes: Int)] = [
    ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000), ("B", 1),
  ]

  /// Reads a size; the unit's letters may be of either case, `K`, `M`, `G` alone are refused as ambiguous.
  package static func parse(_ text: String) throws(ServiceError) -> ByteCount {
    func fail(_ reason: String) -> ServiceError { .invalidByteCount(text: text, reason: reason) }
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard !digits.isEmpty else { throw fail(text.isEmpty ? "it is empty" : "it does not begin with a whole number") }
    var unitText = text.dropFirst(digits.count)
    if unitText.first == " " { unitText = unitText.dropFirst() }
    guard !unitText.isEmpty else { throw fail("it has no unit") }
    if unitText.first == "." || unitText.first == "," { throw fail("use a whole number of a smaller unit") }
    let wanted = unitText.lowercased()
    guard let unit = units.first(where: { $0.name.lowercased() == wanted }) else {
      throw fail("\"\(unitText)\" is not one of B, kB, MB, GB, TB, KiB, MiB, GiB, TiB")
    }
    guard let number = Int(digits) else { throw fail("the number is too large") }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: unit.bytes)
    guard !overflow else { throw fail("the number is too large") }
    return ByteCount(bytes)
  }

  package static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }
}

extension ByteCount: CustomStringConvertible {
  /// In the unit that gives the smallest whole number, so that `parse` gives the same size again.
  package var description: String {
    var best = (number: bytes, name: "B")
    for unit in ByteCount.units
    where bytes != 0 && bytes % unit.bytes == 0 && abs(bytes / unit.bytes) < abs(best.number) {
      best = (bytes / unit.bytes, unit.name)
    }
    return "\(best.number)\(best.name)"
  }
}
