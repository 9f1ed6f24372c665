// Goal: Snappy blocks of others are read, ours are read by others' rules, and no input makes it take more than its bound.
// Method: a fixture of another encoder, round trips over shapes of data, tables of broken blocks, seeded mutation.

import ApusIO
import ApusTestKit
import Testing

@Suite struct SnappyTests {
  static func expand(_ block: [UInt8], maxBytes: Int = 1 << 24) throws -> [UInt8] {
    var output: [UInt8] = []
    try block.withUnsafeBytes { try Snappy.decompress($0, maxBytes: maxBytes, appendingTo: &output) }
    return output
  }

  static func compress(_ plain: [UInt8]) -> [UInt8] {
    var output: [UInt8] = []
    plain.withUnsafeBytes { Snappy.compress($0, appendingTo: &output) }
    return output
  }

  @Test func readsAnotherEncodersBlock() throws {
    #expect(try Self.expand(ProtobufFixtures.snappyBlock) == ProtobufFixtures.snappyPlain)
  }

  /// Lengths around the borders of elements and pieces, with data from constant to random.
  @Test func roundTrips() throws {
    var seed = Seed(1)
    for length in [0, 1, 3, 4, 14, 15, 16, 17, 59, 60, 61, 255, 256, 257, 2047, 2048, 65535, 65536, 65537, 200_000] {
      for shape in 0..<4 {
        let plain = (0..<length).map { index -> UInt8 in
          switch shape {
          case 0: 7
          case 1: UInt8(truncatingIfNeeded: seed.next())
          case 2: UInt8(truncatingIfNeeded: index % 13)
          default: UInt8(truncatingIfNeeded: seed.oneIn(9) ? Int(seed.next() & 0xff) : index / 5)
          }
        }
        let block = Self.compress(plain)
        #expect(block.count <= Snappy.compressedBytesMax(length))
        #expect(try Self.expand(block, maxBytes: length) == plain, "length \(length), shape \(shape)")
        if shape == 0, length > 1000 { #expect(block.count < length / 15) }
      }
    }
  }

  @Test func appendsAndLeavesOutputAloneOnErrors() throws {
    var output: [UInt8] = [1, 2]
    try ProtobufFixtures.snappyBlock.withUnsafeBytes {
      try Snappy.decompress($0, maxBytes: 1000, appendingTo: &output)
    }
    #expect(output == [1, 2] + ProtobufFixtures.snappyPlain)
    output = [9]
    #expect(throws: CompressionError.tooLarge(codec: .snappy, limit: 10)) {
      try ProtobufFixtures.snappyBlock.withUnsafeBytes {
        try Snappy.decompress($0, maxBytes: 10, appendingTo: &output)
      }
    }
    #expect(output == [9])
  }

  static let broken: [(why: String, block: [UInt8])] = [
    ("no length", []),
    ("a length without end", [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ("a length beyond 32 bits", [0xff, 0xff, 0xff, 0xff, 0x7f]),
    ("a length that no block of this size has", [0xff, 0xff, 0xff, 0x7f, 0x00, 0x61]),
    ("a literal beyond the input", [0x05, 0x10, 0x61]),
    ("a literal beyond the output", [0x01, 0x04, 0x61, 0x62]),
    ("a literal whose length is missing", [0x05, 0xf4, 0x01]),
    ("a copy from before the beginning", [0x05, 0x00, 0x61, 0x01, 0x02]),
    ("a copy from offset 0", [0x05, 0x00, 0x61, 0x01, 0x00]),
    ("a copy beyond the output", [0x04, 0x00, 0x61, 0x01, 0x01]),
    ("a copy without offset", [0x05, 0x00, 0x61, 0x02, 0x01]),
    ("a long copy without offset", [0x05, 0x00, 0x61, 0x03, 0x01, 0x00, 0x00]),
    ("an output that is not filled", [0x03, 0x00, 0x61]),
  ]

  @Test(arguments: broken) func refusesBrokenBlocks(_ row: (why: String, block: [UInt8])) {
    #expect(throws: CompressionError.self, "\(row.why)") { try Self.expand(row.block) }
  }

  /// Overlapping copies repeat a pattern: offsets 1 to 16 with each length that one element can have.
  @Test func repeatsPatterns() throws {
    for offset in 1...16 {
      for length in 1...64 {
        let head = (0..<offset).map { UInt8(65 + $0) }
        var block: [UInt8] = [UInt8(offset + length), UInt8((offset - 1) << 2)]
        block += head
        block += [UInt8(2 | (length - 1) << 2), UInt8(offset), 0]
        let expected = head + (0..<length).map { head[$0 % offset] }
        #expect(try Self.expand(block) == expected)
      }
    }
  }

  @Test func survivesMutation() {
    var seed = Seed(20)
    let plain = ProtobufFixtures.snappyPlain + (0..<3000).map { _ in UInt8(truncatingIfNeeded: seed.next() % 7) }
    let valid = Self.compress(plain)
    for _ in 0..<5000 {
      var block = valid
      for _ in 0...seed.below(4) { block[seed.below(block.count)] = UInt8(truncatingIfNeeded: seed.next()) }
      if seed.oneIn(3) { block.removeSubrange(seed.below(block.count)...) }
      if let expanded = try? Self.expand(block, maxBytes: 100_000) { #expect(expanded.count <= 100_000) }
    }
  }

  /// Kafka's two forms.
  @Test func kafkaReadsFramedAndPlain() throws {
    let plain = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 / 3) }
    var framed: [UInt8] = []
    plain.withUnsafeBytes { KafkaSnappy.compress($0, appendingTo: &framed) }
    #expect(framed.prefix(8).elementsEqual([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]))
    for block in [framed, Self.compress(plain)] {
      var output: [UInt8] = [5]
      try block.withUnsafeBytes { try KafkaSnappy.decompress($0, maxBytes: plain.count, appendingTo: &output) }
      #expect(output == [5] + plain)
      output = [5]
      #expect(throws: CompressionError.tooLarge(codec: .snappy, limit: plain.count - 1)) {
        try block.withUnsafeBytes { try KafkaSnappy.decompress($0, maxBytes: plain.count - 1, appendingTo: &output) }
      }
      #expect(output == [5])
    }
    for cut in [17, 19, 30, framed.count - 1] {
      var output: [UInt8] = []
      #expect(throws: CompressionError.self) {
        try framed[..<cut].withUnsafeBytes {
          try KafkaSnappy.decompress($0, maxBytes: 1 << 20, appendingTo: &output)
        }
      }
    }
  }
}
