// Goal: decimal text becomes the nearest Float64 whichever way it takes, and numbers are written as the shortest text
// that reads back. Method: tables of known hard cases, and seeded random numbers compared with the standard library.

import ApusIO
import ApusTestKit
import Testing

struct DecimalNumberTests {
  @Test(arguments: [
    "0", "-0", "0.0", "1", "-1", "12.5", "30.982000", "1e3", "1E+3", "1e-3", ".5", "5.", "+7", "1980", "612.448000",
    "9007199254740993", "9007199254740992.5", "18446744073709551615", "0.1", "0.30000000000000004", "1e22", "1e23",
    "8.5e-323", "4.9e-324", "2.4703282292062327e-324", "2.4703282292062328e-324", "2.2250738585072014e-308",
    "2.2250738585072011e-308", "2.225073858507201136057409796709131975934819546351645648023426109724822222e-308",
    "1.7976931348623157e308", "1.7976931348623159e308", "1e309", "-1e309", "1e-400", "1e999999999999999999999",
    "0e999999999", "7.2057594037927933e16", "9.223372036854776e18", "9223372036854775792",
    "1.00000000000000011102230246251565404236316680908203125", "0.000000000000000000000000000000000000000000001",
    "1.00000000000000011102230246251565404236316680908203124",
    "1.00000000000000011102230246251565404236316680908203126",
    "123456789012345678901234567890", "100000000000000000000000000000000000000000000000000000000",
    "3.518437208883201171875e13", "179769313486231580793e289", "6.02214076e23", "1752871354.123",
  ])
  func readsAsTheStandardLibraryDoes(_ text: String) throws {
    let expected = try #require(strictly(text))
    let actual = try #require(withBytes(text) { DecimalNumber.parse($0) })
    #expect(actual.bitPattern == expected.bitPattern, "\(text)")
  }

  @Test(arguments: [
    "", "-", "+", ".", "e5", "-.", "1e", "1e+", "0x10", "inf", "nan", "1 ", " 1", "1,5", "--1", "1.2.3",
  ])
  func refusesWhatIsNotADecimal(_ text: String) {
    #expect(withBytes(text) { DecimalNumber.parse($0) } == nil)
  }

  @Test func randomBitsReadBackFromTheirShortestText() throws {
    var generator = Seed(1)
    var bytes: [UInt8] = []
    for _ in 0..<200_000 {
      let value = Double(bitPattern: generator.next())
      guard value.isFinite else { continue }
      let text = value.description
      #expect(withBytes(text) { DecimalNumber.parse($0) }?.bitPattern == value.bitPattern, "\(text)")
      bytes.removeAll(keepingCapacity: true)
      NumberText.append(value, to: &bytes)
      #expect(bytes.withUnsafeBytes { DecimalNumber.parse($0) }?.bitPattern == value.bitPattern, "\(text)")
      #expect(bytes.count <= text.utf8.count, "\(text)")
    }
  }

  @Test func randomDecimalsReadAsTheStandardLibraryDoes() throws {
    var generator = Seed(2)
    for _ in 0..<200_000 {
      var text = ""
      for _ in 0..<Int.random(in: 1...25, using: &generator) {
        text += String(Int.random(in: 0...9, using: &generator))
      }
      if Bool.random(using: &generator) { text += "." + String(generator.next() % 100_000_000) }
      if Bool.random(using: &generator) { text += "e" + String(Int.random(in: -340...320, using: &generator)) }
      let expected = try #require(strictly(text))
      #expect(withBytes(text) { DecimalNumber.parse($0) }?.bitPattern == expected.bitPattern, "\(text)")
    }
  }

  @Test func halfwayCasesRoundToEven() throws {
    var generator = Seed(3)
    for _ in 0..<20_000 {
      // The middle between two neighbours below 2^62 is a whole number, written exactly.
      let exponent = UInt64.random(in: 1...9, using: &generator)
      let significand = (1 << 52 | generator.next() >> 12) << 1 | 1
      for text in ["\(significand << (exponent - 1))", "\(significand << (exponent - 1)).0000000000000000000000001"] {
        let expected = try #require(strictly(text))
        #expect(withBytes(text) { DecimalNumber.parse($0) }?.bitPattern == expected.bitPattern, "\(text)")
      }
    }
  }

  @Test(arguments: [
    (0.0, "0"), (-0.0, "-0"), (1, "1"), (-42, "-42"), (0.5, "0.5"), (30.982, "30.982"), (612.448, "612.448"),
    (100, "100"), (0.000001, "0.000001"), (0.1 + 0.2, "0.30000000000000004"), (1e15, "1000000000000000"),
    (999_999_999_999_999, "999999999999999"), (1e21, "1e+21"), (1e22, "1e+22"),
    (Double.leastNonzeroMagnitude, "5e-324"),
    (9.223372036854776e18, "9.223372036854776e+18"), (1.5e-7, "1.5e-07"), (123_456_789.125, "123456789.125"),
  ])
  func writesTheShortestText(_ value: Double, _ expected: String) {
    var bytes: [UInt8] = []
    NumberText.append(value, to: &bytes)
    #expect(String(decoding: bytes, as: UTF8.self) == expected)
  }

  @Test(arguments: [
    ("0", 0), ("-0", 0), ("9223372036854775807", Int64.max), ("-9223372036854775808", Int64.min), ("007", 7),
  ])
  func readsIntegers(_ text: String, _ expected: Int64) {
    #expect(withBytes(text) { DecimalNumber.parseInteger($0) } == expected)
  }

  @Test(arguments: ["", "-", "9223372036854775808", "-9223372036854775809", "1.0", "+1", "1e2", "99999999999999999999"])
  func refusesOtherIntegers(_ text: String) {
    #expect(withBytes(text) { DecimalNumber.parseInteger($0) } == nil)
  }

  @Test func writesIntegers() {
    for value in [0, 7, -7, 10, Int64.max, Int64.min] {
      var bytes: [UInt8] = []
      NumberText.append(value, to: &bytes)
      #expect(String(decoding: bytes, as: UTF8.self) == String(value))
    }
  }

  /// What the standard library says, which takes neither `.5` nor an overflow as we do.
  private func strictly(_ text: String) -> Double? {
    var text = text
    if text.hasPrefix("+") { text.removeFirst() }
    if text.hasPrefix(".") { text = "0" + text }
    return Double(text)
  }
}
