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

  private func encode(_ values: [Double], presence: [UInt8]?, isCoding: Bool = false) -> Encoded {
    var encoder = ValueEncoder(isCoding: isCoding)
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
    try check(values, presence, encode(values, presence: presence), what)
    try check(values, presence, encode(values, presence: presence, isCoding: true), "\(what), coded")
  }

  private func check(_ values: [Double], _ presence: [UInt8]?, _ encoded: Encoded, _ what: String) throws {
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
      for length in [1, 2, 7, 120, 1024, 2400] {
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
    try check((0..<4096).map { Double($0 % 2 * 4_503_599_627_370_494) - 2_251_799_813_685_247 }, "sums of 64 bits")
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
    #expect(encode((0..<200).map { Double($0 * 37 % 50) / 10 }, presence: nil, isCoding: true).kind == .coded)
    #expect(encode((0..<100).map { Double($0 * 37 % 50) / 10 }, presence: nil, isCoding: true).kind == .decimal)
    #expect(Set(ValueChunk.Kind.allCases).count == 6)
  }

  /// Goal: an entropy-coded chunk of noise takes what its entropy is, and little more. Method: sums of uniform numbers,
  /// which are nearly Gaussian with a known deviation, beside the formula for the entropy of a Gaussian.
  @Test func codedNoiseIsNearItsEntropy() {
    // Deviations of 2 (entropy 3.05 bits), of 250 (10.01) and of 12,000 (15.60).
    for (deviation, bits) in [(2.0, 3.05), (250, 10.01), (12_000, 15.6)] {
      var random = Seed(7)
      let values = (0..<960).map { _ -> Double in
        let sum = (0..<12).reduce(0.0) { part, _ in part + Double(random.below(1 << 20)) / Double(1 << 20) }
        return 500_000 + ((sum - 6) * deviation).rounded()
      }
      let coded = encode(values, presence: nil, isCoding: true)
      let packed = encode(values, presence: nil)
      #expect(coded.kind == .coded)
      #expect(Double(coded.bytes.count * 8) / 960 < bits + 0.45, "deviation \(deviation)")
      #expect(coded.bytes.count * 100 < packed.bytes.count * 96, "deviation \(deviation)")
    }
  }

  @Test func codedCountersAndStillness() {
    var random = Seed(9)
    var counter = 4e12
    let counters = (0..<720).map { _ -> Double in
      counter += Double(4_000_000 + random.below(1000))
      return counter
    }
    let coded = encode(counters, presence: nil, isCoding: true)
    #expect(coded.kind == .coded && coded.bytes.count < 720 * 11 / 8 + 40)
    // Nearly always the same, but not in long runs: below a bit a value.
    let still = (0..<960).map { $0 % 5 == 4 ? 51.0 : 50 }
    #expect(encode(still, presence: nil, isCoding: true).bytes.count < 960 / 6)
  }

  /// Goal: where the noise changes, the chunk is cut. Method: rest, work and rest again, each with the noise it has,
  /// must take little more than each part by itself.
  @Test func codedChunksAreCutWhereTheNoiseChanges() {
    var random = Seed(11)
    func noise(_ level: Double, _ width: Int, _ count: Int) -> [Double] {
      (0..<count).map { _ in level + Double(random.below(width) + random.below(width)) }
    }
    let parts = [noise(70_000, 200, 480), noise(550_000, 20_000, 480), noise(71_000, 200, 480)]
    let whole = encode(Array(parts.joined()), presence: nil, isCoding: true).bytes.count
    let apart = parts.reduce(0) { $0 + encode($1, presence: nil, isCoding: true).bytes.count }
    #expect(whole < apart + 20, "\(whole) bytes, and \(apart) apart")
  }

  /// What moves in steps, and what mostly stays where it is: neither may pay for the distance between the steps.
  @Test func codedStepsAndRests() throws {
    var random = Seed(12)
    let clocks = (0..<960).map { _ in 1980 - 15 * Double(random.oneIn(3) ? random.below(8) : 0) }
    #expect(encode(clocks, presence: nil, isCoding: true).bytes.count < 960 * 9 / 32)
    try check(clocks, "clocks")
    var total = 5e10
    let violations = (0..<960).map { _ -> Double in
      if random.oneIn(3) { total += Double(random.below(2_000_000)) }
      return total
    }
    #expect(encode(violations, presence: nil, isCoding: true).bytes.count < 960 * 19 / 16)
    try check(violations, "a counter that rests")
  }

  @Test func tokensAndStates() {
    for leading in 0...2 {
      var end = 0
      for token in 0..<TokenTable.tokenEnd(leading: leading) {
        let (least, rest) = TokenTable.join(token, leading: leading)
        #expect(token == 0 || least == TokenTable.join(token - 1, leading: leading).least &+ (1 << UInt64(end)))
        end = rest
        for folded in [least, least &+ ((1 << UInt64(rest)) &- 1)] {
          #expect(TokenTable.split(folded, leading: leading) == (token, rest), "\(folded), \(leading)")
        }
      }
    }
    for value in [0, -1, 1, .min, .max] as [Int64] { #expect(TokenTable.unfold(TokenTable.fold(value)) == value) }
    var random = Seed(3)
    for _ in 0..<300 {
      let count = 1 + random.below(TokenTable.tokensMax)
      let weights = (0..<count).map { _ in UInt8(random.oneIn(3) ? 0 : random.below(16)) }
      var states = [Int32](repeating: -1, count: count)
      let bits = TokenTable.stateBits(tokens: count)
      let isNormal = TokenTable.normalise(weights, count: count, stateBits: bits, into: &states)
      #expect(isNormal == weights.contains { $0 > 0 })
      guard isNormal else { continue }
      #expect(states.reduce(0, +) == 1 << bits)
      for (weight, number) in zip(weights, states) { #expect((weight > 0) == (number > 0)) }
    }
  }

  @Test func valuesAtRandom() throws {
    for seed in UInt64(0)..<600 {
      var random = Seed(seed)
      let length = 1 + random.below(seed % 5 == 0 ? (seed % 4 == 0 ? ValueChunk.rowsMax : 1024) : 200)
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
    for seed in UInt64(0)..<400 {
      var random = Seed(seed)
      let isCoding = seed % 2 == 1
      let rows = isCoding ? 128 + random.below(300) : 1 + random.below(200)
      let values = (0..<rows).map { row -> Double in
        switch seed / 2 % 4 {
        case 0: Double(random.below(100_000)) / 100
        case 1: isCoding ? Double(random.below(7)) : Double(bitPattern: random.next())
        case 2: Double(row / 20)
        default: isCoding ? Double(random.next() >> UInt64(14 + random.below(50))) : Double(row) + .pi
        }
      }
      let presence = seed % 3 == 0 ? (0..<rows).map { UInt8($0 % 3 == 0 ? 0 : 1) } : nil
      var bytes = encode(values, presence: presence, isCoding: isCoding).bytes
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
      // A coded chunk's head, and then anything.
      bytes.replaceSubrange(..<min(8, bytes.count), with: [5, 3, 0, 0, 0, 0, 0, UInt8(random.below(12)), 0])
      _ = try? decode(bytes, rows: rows)
    }
  }
}
