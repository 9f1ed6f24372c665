import ApusIO
import ApusModel

/// One series' values over one run of rows, in the smallest of five forms (docs/format/store.md, "Value chunks").
///
/// Every double comes back bit for bit: NaN with its payload, -0.0, infinities and the stale marker included.
/// A chunk without any sample is no bytes at all.
package enum ValueChunk {
  /// The most rows a chunk may have. Sums of scaled integers stay within 64 bits below this (see `ValueEncoder.sumsFit`).
  package static let rowsMax = 4096

  package enum Kind: UInt8, CaseIterable {
    /// All values have the same bits.
    case constant = 0
    /// Few runs of equal values.
    case runLength = 1
    /// Integers by a power of ten.
    case decimal = 2
    case xor = 3
    /// Eight bytes a value: for noise that XOR would make larger.
    case raw = 4
    /// Integers by a power of ten, near to their entropy: for long chunks of blocks, which are written once. Since
    /// version 2 of the block file.
    case coded = 5
  }

  /// The bits of a chunk's first byte that are its kind.
  package static let kindMask: UInt8 = 0x07
  static let gapsFlag: UInt8 = 0x08
  static let nanFlag: UInt8 = 0x10
  static let staleFlag: UInt8 = 0x20

  /// In a decimal chunk's second byte: some values are no decimals and stand beside the integers.
  static let exceptionsFlag: UInt8 = 0x80

  /// A lone number's first byte: 0 to 14 is a power of ten, then a zigzag integer; or one of these.
  static let staleNumber: UInt8 = 0xfe
  static let rawNumber: UInt8 = 0xff
}

extension OutputBuffer {
  /// One double by itself, in few bytes where it is a decimal.
  mutating func putNumber(_ value: Double) {
    if let exponent = DecimalScaling.exponent(of: value, atLeast: 0),
      let integer = DecimalScaling.integer(value, power: DecimalScaling.powers[exponent])
    {
      put(UInt8(exponent))
      putZigzag(integer)
    } else if StaleMarker.isStale(value) {
      put(ValueChunk.staleNumber)
    } else {
      put(ValueChunk.rawNumber)
      put(word: value.bitPattern)
    }
  }
}

extension ByteReader {
  mutating func readNumber() throws(ByteReaderError) -> Double {
    let tag = try read(UInt8.self)
    switch tag {
    case ValueChunk.staleNumber: return StaleMarker.value
    case ValueChunk.rawNumber: return try readDouble()
    default:
      guard tag <= DecimalScaling.exponentMax else { throw ByteReaderError(kind: .outOfBounds, offset: position - 1) }
      return Double(try readZigzag()) / DecimalScaling.powers[Int(tag)]
    }
  }
}
