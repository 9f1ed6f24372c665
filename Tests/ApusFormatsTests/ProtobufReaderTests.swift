// Goal: the wire format's reader takes every wire type, passes over what it does not know, and refuses what is broken.
// Method: tables of bytes; what the writer writes is read back.

import ApusFormats
import Testing

@Suite struct ProtobufReaderTests {
  /// All fields as text: number and value by wire type.
  static func dump(_ bytes: [UInt8]) throws -> [String] {
    try bytes.withUnsafeBytes { raw in
      var reader = ProtobufReader(raw)
      var result: [String] = []
      while let field = try reader.next() {
        switch field.type {
        case .varint: result.append("\(field.number): \(try reader.varint(field))")
        case .fixed64: result.append("\(field.number): \(try reader.double(field))")
        case .bytes: result.append("\(field.number): \(Array(try reader.data(field)))")
        case .fixed32:
          try reader.skip(field)
          result.append("\(field.number): skipped")
        }
      }
      return result
    }
  }

  @Test func readsEveryWireType() throws {
    var writer = ProtobufWriter()
    writer.varint(300, field: 1)
    writer.int64(-1, field: 2)
    writer.double(-0.5, field: 3)
    writer.string("ab", field: 536_870_911)
    #expect(
      try Self.dump(writer.bytes + [0x2d, 1, 2, 3, 4]) == [
        "1: 300", "2: \(UInt64.max)", "3: -0.5", "536870911: [97, 98]", "5: skipped",
      ])
  }

  @Test func writesNestedMessagesOfAnyLength() throws {
    for length in [0, 1, 120, 127, 128, 20_000] {
      var writer = ProtobufWriter()
      writer.message(field: 4) { $0.data([UInt8](repeating: 7, count: length), field: 1) }
      writer.varint(1, field: 1)
      try writer.bytes.withUnsafeBytes { raw in
        var reader = ProtobufReader(raw)
        let field = try #require(try reader.next())
        var inner = try reader.message(field)
        let part = try #require(try inner.next())
        #expect(try inner.data(part).count == length)
        #expect(inner.isAtEnd)
        #expect(try reader.next()?.number == 1)
      }
    }
  }

  @Test func readsRepeatedNumbersPackedAndNot() throws {
    for bytes: [UInt8] in [[0x0a, 3, 1, 0xac, 2], [0x08, 1, 0x08, 0xac, 2]] {
      var numbers: [UInt64] = []
      try bytes.withUnsafeBytes { raw in
        var reader = ProtobufReader(raw)
        while let field = try reader.next() {
          try reader.varints(field) { (number) throws(FormatError) in numbers.append(number) }
        }
      }
      #expect(numbers == [1, 300])
    }
  }

  static let broken: [(bytes: [UInt8], problem: ProtobufProblem, offset: Int)] = [
    ([0x80], .truncated, 0),
    ([0x08], .truncated, 1),
    ([0x08, 0xff], .truncated, 1),
    ([0x08, 1, 0x09, 1, 2], .truncated, 3),
    ([0x0d, 1, 2, 3], .truncated, 1),
    ([0x0a, 2, 1], .truncated, 1),
    ([0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], .truncated, 1),
    ([0x08] + [UInt8](repeating: 0xff, count: 11), .varintTooLong, 1),
    ([0x00], .invalidFieldNumber, 0),
    ([0x0b, 0x0c], .unsupportedWireType(3), 0),
    ([0x0c], .unsupportedWireType(4), 0),
    ([0x0e], .unsupportedWireType(6), 0),
    ([0x80, 0x80, 0x80, 0x80, 0x10], .invalidFieldNumber, 0),
  ]

  @Test(arguments: broken) func refuses(_ row: (bytes: [UInt8], problem: ProtobufProblem, offset: Int)) {
    #expect(throws: FormatError.protobuf(row.problem, offset: row.offset)) { try Self.dump(row.bytes) }
  }

  @Test func refusesWrongTypesAndOddPackedLengths() throws {
    let bytes: [UInt8] = [0x0a, 3, 1, 2, 3]
    try bytes.withUnsafeBytes { raw in
      var reader = ProtobufReader(raw)
      let field = try #require(try reader.next())
      let start = reader
      #expect(throws: FormatError.protobuf(.packedLength(field: 1), offset: 2)) {
        try reader.fixed64s(field) { (_) throws(FormatError) in }
      }
      reader = start
      #expect(throws: FormatError.protobuf(.wrongWireType(field: 1), offset: 1)) { try reader.varint(field) }
    }
  }

  @Test func boundsDepth() throws {
    var bytes: [UInt8] = []
    for _ in 0..<40 {
      var writer = ProtobufWriter()
      writer.data(bytes, field: 1)
      bytes = writer.bytes
    }
    bytes.withUnsafeBytes { raw in
      var reader = ProtobufReader(raw)
      var depth = 0
      #expect(throws: FormatError.self) {
        while let field = try reader.next() {
          reader = try reader.message(field)
          depth += 1
        }
      }
      #expect(depth == ProtobufReader.depthMax)
    }
  }
}
