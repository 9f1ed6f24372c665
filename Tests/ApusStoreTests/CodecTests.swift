// Goal: what the codecs wrote comes back bit for bit, the statistics tell the truth, and bytes that no encoder wrote give
// an error and nothing worse. Method: adversarial tables, then seeded random runs of many shapes and lengths.

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Testing

@Suite struct CodecTests {
  // MARK: Integers

  private func roundTrip(_ values: [Int64]) throws -> [Int64] {
    var out = OutputBuffer()
    IntegerEncoder().encode(values, count: values.count, to: &out)
    var reader = ByteReader(out.bytes)
    var result = [Int64](repeating: -7, count: values.count)
    try result.withUnsafeMutableBufferPointer { try reader.readIntegers(into: $0.baseAddress!, count: values.count) }
    #expect(reader.isAtEnd, "\(reader.remaining) bytes are left of \(values.count) integers")
    return result
  }

  @Test func integersOfEveryShape() throws {
    let lengths = [1, 2, 3, 63, 64, 65, 66, 128, 129, 130, 500, 1024]
    for length in lengths {
      let shapes: [[Int64]] = [
        Array(repeating: 0, count: length), Array(repeating: .min, count: length),
        (0..<length).map { Int64($0) * 10_000 }, (0..<length).map { -Int64($0) * Int64($0) },
        (0..<length).map { $0 % 2 == 0 ? .min : .max }, (0..<length).map { $0 % 7 == 0 ? 1 << 40 : 5 },
        (0..<length).map { $0 == length / 2 ? .max : 0 }, (0..<length).map { $0 == length / 2 ? .min : 3 },
        (0..<length).map { 1_767_225_600_000 + Int64($0) * 10_000 + Int64($0 % 3) },
      ]
      for values in shapes { #expect(try roundTrip(values) == values) }
    }
  }

  @Test func integersAtRandom() throws {
    for seed in UInt64(0)..<400 {
      var random = Seed(seed)
      let length = 1 + random.below(300)
      let width = random.below(64)
      var value = Int64(bitPattern: random.next())
      let values = (0..<length).map { _ -> Int64 in
        let step = Int64(bitPattern: random.next() >> UInt64(63 - width))
        switch seed % 3 {
        case 0: value = step
        case 1: value = value &+ step
        default: value = random.oneIn(20) ? Int64(bitPattern: random.next()) : value &+ 1
        }
        return value
      }
      #expect(try roundTrip(values) == values, "seed \(seed)")
    }
  }

  @Test func regularTimestampsAreSmall() {
    var out = OutputBuffer()
    let instants = (0..<720).map { 1_767_225_600_000 + Int64($0) * 10_000 }
    IntegerEncoder().encode(instants, count: instants.count, to: &out)
    #expect(out.bytes.count < 50, "\(out.bytes.count) bytes for 720 regular timestamps")
  }

  // MARK: Values

  private struct Encoded {
    var bytes: [UInt8]
    var kind: ValueChunk.Kind?
  }

  private func encode(_ values: [Double], presence: [UInt8]?) -> Encoded {
    var encoder = ValueEncoder()
    var out = OutputBuffer()
    if let presence {
      encoder.encode(values, presence: presence, rows: values.count, to: &out)
    } else {
      encoder.encode(values, presence: nil, rows: values.count, to: &out)
    }
    let bytes = [UInt8](out.bytes)
    return Encoded(bytes: bytes, kind: bytes.first.flatMap { ValueChunk.Kind(rawValue: $0 & ValueChunk.kindMask) })
  }

  private func decode(_ bytes: [UInt8], rows: Int) throws -> (values: [Double], presence: [UInt8]) {
    var values = [Double](repeating: -1, count: rows)
    var presence = [UInt8](repeating: 9, count: rows)
    let all = try bytes.withUnsafeBytes { raw in
      try values.withUnsafeMutableBufferPointer { values in
        try presence.withUnsafeMutableBufferPointer { presence in
          try ValueDecoder.decode(raw, rows: rows, into: values.baseAddress!, presence: presence.baseAddress!)
        }
      }
    }
    return (values, all ? [UInt8](repeating: 1, count: rows) : presence)
  }

  /// Encodes, decodes, compares bit by bit, and compares the statistics with those of the values.
  private func check(_ values: [Double], presence: [UInt8]? = nil, _ what: String) throws {
    let encoded = encode(values, presence: presence)
    let decoded = try decode(encoded.bytes, rows: values.count)
    let wanted = presence ?? [UInt8](repeating: 1, count: values.count)
    #expect(decoded.presence == wanted, "\(what): presence")
    for (row, value) in values.enumerated() where wanted[row] != 0 {
      guard decoded.values[row].bitPattern == value.bitPattern else {
        Issue.record("\(what): row \(row) is \(decoded.values[row]), not \(value); \(String(describing: encoded.kind))")
        return
      }
    }
    let present = zip(values, wanted).filter { $0.1 != 0 }.map(\.0)
    let found = try encoded.bytes.withUnsafeBytes { try ValueDecoder.statistics($0, rows: values.count) }
    #expect(found.count == present.count, "\(what): count")
    if present.isEmpty { return }
    let truth = ChunkStatistics(of: present, count: present.count)
    #expect(found.first.bitPattern == truth.first.bitPattern, "\(what): first")
    #expect(found.last.bitPattern == truth.last.bitPattern, "\(what): last")
    #expect(found.hasNaN == truth.hasNaN && found.hasStale == truth.hasStale, "\(what): NaN flags")
    #expect(found.minimum == truth.minimum || found.minimum.isNaN && truth.minimum.isNaN, "\(what): minimum")
    #expect(found.maximum == truth.maximum || found.maximum.isNaN && truth.maximum.isNaN, "\(what): maximum")
    let magnitude = present.reduce(0.0) { $0 + ($1.isFinite ? $1.magnitude : 0) }
    if magnitude.isFinite && truth.sum.isFinite {
      #expect((found.sum - truth.sum).magnitude <= magnitude * 1e-15, "\(what): sum \(found.sum), not \(truth.sum)")
    }
  }

  @Test func valuesOfEveryShape() throws {
    let odd: [Double] = [
      .nan, -.nan, StaleMarker.value, .infinity, -.infinity, 0, -0.0, .leastNonzeroMagnitude,
      .greatestFiniteMagnitude, 0.1, 0.3, 1e-14, 1e-15, 1e22, 2_251_799_813_685_247, 2_251_799_813_685_248,
      -2_251_799_813_685_248, -2_251_799_813_685_249, 4_503_599_627_370_497, 9_007_199_254_740_992, .pi,
      Double(bitPattern: 0x7ff8_0000_dead_beef),
    ]
    for value in odd {
      for length in [1, 2, 7, 120, 1024] {
        try check([Double](repeating: value, count: length), "\(length) times \(value)")
        var mixed = (0..<length).map { Double($0 % 10) / 4 }
        mixed[length / 2] = value
        try check(mixed, "\(value) among \(length)")
        mixed[0] = value
        try check(mixed, "\(value) first of \(length)")
      }
    }
    for length in [1, 22, 500] { try check((0..<length).map { odd[$0 % odd.count] }, "all odd values, \(length)") }
    try check((0..<720).map { 400 + Double($0 * 7919 % 1000) / 1000 }, "three decimals")
    try check((0..<720).map { 1e12 + Double($0) * 4_000_123 }, "a counter")
    try check((0..<720).map { Double($0 / 100) }, "long runs")
    try check((0..<720).map { Double($0) * 0.1 }, "products that are no short decimals")
  }

  @Test func kindsAreChosenAsMeant() {
    func kind(_ values: [Double]) -> ValueChunk.Kind? { encode(values, presence: nil).kind }
    #expect(kind([Double](repeating: .pi, count: 100)) == .constant)
    #expect(kind((0..<100).map { $0 < 60 ? 1.5 : 2.5 }) == .runLength)
    #expect(kind((0..<100).map { Double($0 * 37 % 50) / 10 }) == .decimal)
    #expect(kind((0..<100).map { Double($0 % 5) + .pi }) == .xor)
    var random = Seed(1)
    #expect(kind((0..<100).map { _ in Double(bitPattern: random.next()) }) == .raw)
    #expect(Set(ValueChunk.Kind.allCases).count == 5)
  }

  @Test func valuesAtRandom() throws {
    for seed in UInt64(0)..<600 {
      var random = Seed(seed)
      let length = 1 + random.below(seed % 5 == 0 ? 1024 : 200)
      var value = Double(random.below(1000))
      let digits = [1.0, 10, 1000, 1e6][random.below(4)]
      let values = (0..<length).map { _ -> Double in
        switch seed % 6 {
        case 0: value = (Double(random.below(1_000_000)) / digits)
        case 1: value += Double(random.below(5)) - 2
        case 2: value = Double(bitPattern: random.next())
        case 3: value = random.oneIn(30) ? Double(random.below(9)) : value
        case 4: value = random.oneIn(9) ? (random.oneIn(2) ? StaleMarker.value : -0.0) : value + 0.25
        default: value = value * 1.000001
        }
        return value
      }
      var presence: [UInt8]?
      if random.oneIn(2) {
        let often = 1 + random.below(8)
        presence = (0..<length).map { _ in random.oneIn(often) ? 0 : 1 }
        if random.oneIn(4) { presence = (0..<length).map { $0 < length / 2 ? 1 : 0 } }
      }
      try check(values, presence: presence, "seed \(seed)")
    }
  }

  @Test func sumsOfScaledIntegersAreExact() throws {
    let encoded = encode([0.1, 0.2, 0.3, -0.6, 1e6, 0.7], presence: nil)
    #expect(encoded.kind == .decimal)
    let statistics = try encoded.bytes.withUnsafeBytes { try ValueDecoder.statistics($0, rows: 6) }
    #expect(statistics.sum == 1_000_000.7)
  }

  // MARK: Garbage

  @Test func damagedChunksNeverReachOutside() {
    for seed in UInt64(0)..<300 {
      var random = Seed(seed)
      let rows = 1 + random.below(200)
      let values = (0..<rows).map { row -> Double in
        switch seed % 4 {
        case 0: Double(random.below(100_000)) / 100
        case 1: Double(bitPattern: random.next())
        case 2: Double(row / 20)
        default: Double(row) + .pi
        }
      }
      let presence = seed % 3 == 0 ? (0..<rows).map { UInt8($0 % 3 == 0 ? 0 : 1) } : nil
      var bytes = encode(values, presence: presence).bytes
      for _ in 0..<40 {
        var damaged = bytes
        switch random.below(3) {
        case 0: damaged[random.below(damaged.count)] ^= 1 << UInt8(random.below(8))
        case 1: damaged.removeLast(1 + random.below(damaged.count))
        default: damaged[random.below(damaged.count)] = UInt8(truncatingIfNeeded: random.next())
        }
        // Any values may come, or an error; the process must survive, and the statistics as well.
        _ = try? decode(damaged, rows: rows)
        _ = damaged.withUnsafeBytes { try? ValueDecoder.statistics($0, rows: rows) }
      }
      bytes = (0..<random.below(60)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      _ = try? decode(bytes, rows: rows)
      _ = bytes.withUnsafeBytes { raw in
        var target = [Int64](repeating: 0, count: rows)
        var reader = ByteReader(raw)
        return try? target.withUnsafeMutableBufferPointer {
          try reader.readIntegers(into: $0.baseAddress!, count: rows)
        }
      }
    }
  }
}
