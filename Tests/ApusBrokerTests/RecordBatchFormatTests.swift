// Goal: the bytes are Kafka's, both ways, and no wrong byte of a header passes.
// Method: a fixture written by another implementation (kafka-python 2.0.2), annotated; then a table of single changes,
// each with the field that must be named, with the checksum made right again where it would hide the change.

import ApusBroker
import ApusIO
import Testing

@Suite struct RecordBatchFormatTests {
  static let fixture = hex(
    """
    0000000000000000    base offset 0
    0000007c            batch length 124
    00000000            partition leader epoch 0
    02                  magic
    2f52b177            CRC-32C
    0000                attributes: no compression
    00000002            last offset delta 2
    0000018bcfe56800    base timestamp 1700000000000
    0000018bcfe568fa    max timestamp 1700000000250
    0000000000001234    producer id 4660
    0007                producer epoch 7
    0000002a            base sequence 42
    00000003            record count 3
    62 00 00 00         length 49, attributes, timestamp delta 0, offset delta 0
    0c 686f73742d31     key "host-1"
    0e 7b2276223a317d   value {"v":1}
    02                  1 header
    18 636f6e74656e742d74797065            "content-type"
    20 6170706c69636174696f6e2f6a736f6e    "application/json"
    14 00 f403 02       length 10, attributes, timestamp delta 250, offset delta 1
    01                  key null
    06 74776f           value "two"
    00                  no headers
    1a 00 01 04         length 13, attributes, timestamp delta -1, offset delta 2
    00                  key empty
    01                  value null
    04                  2 headers
    02 61 00            "a", empty
    02 61 02 78         "a", "x"
    """)

  static let records = [
    Record(
      timestamp: 1_700_000_000_000, key: Array("host-1".utf8), value: Array("{\"v\":1}".utf8),
      headers: [RecordHeader(name: "content-type", value: Array("application/json".utf8))]),
    Record(timestamp: 1_700_000_000_250, value: Array("two".utf8)),
    Record(
      timestamp: 1_699_999_999_999, key: [], value: nil,
      headers: [RecordHeader(name: "a", value: []), RecordHeader(name: "a", value: Array("x".utf8))]),
  ]

  /// The bytes before the first two spaces in a row of each line.
  static func hex(_ text: String) -> [UInt8] {
    text.split(separator: "\n").flatMap { line -> [UInt8] in
      var digits: [UInt8] = []
      for character in line.utf8 {
        if character == UInt8(ascii: " ") {
          if digits.last == character { break }
          digits.append(character)
        } else {
          digits.append(character)
        }
      }
      let nibbles = digits.filter { $0 != UInt8(ascii: " ") }.map { UInt8(String(UnicodeScalar($0)), radix: 16)! }
      return stride(from: 0, to: nibbles.count, by: 2).map { nibbles[$0] << 4 | nibbles[$0 + 1] }
    }
  }

  @Test func readsWhatAnotherImplementationWrote() throws {
    #expect(Self.fixture.count == 136)
    let batch = try RecordBatch(validating: Self.fixture)
    #expect(try batch.records() == Self.records)
    #expect(batch.producerID == 4660)
    #expect(batch.producerEpoch == 7)
    #expect(batch.baseSequence == 42)
  }

  @Test func writesWhatAnotherImplementationWrites() throws {
    var builder = RecordBatchBuilder()
    for record in Self.records { builder.append(record) }
    let batch = try builder.finish(producer: ProducerIdentity(id: 4660, epoch: 7), baseSequence: 42)
    #expect(batch.bytes == Self.fixture)
  }

  /// One change of the fixture, and the byte that the refusal must point at.
  struct Change: Sendable, CustomStringConvertible {
    var description: String
    var at: Int
    var bytes: [UInt8]
    var position: Int
    var keepsChecksum = false
  }

  static let changes: [Change] = [
    Change(description: "negative base offset", at: 0, bytes: [0x80], position: 0),
    Change(
      description: "base offset at the very end", at: 0, bytes: [0x7f] + [UInt8](repeating: 0xff, count: 7), position: 0
    ),
    Change(description: "length too long", at: 11, bytes: [0x7d], position: 8),
    Change(description: "length too short", at: 11, bytes: [0x7b], position: 8),
    Change(description: "length negative", at: 8, bytes: [0xff], position: 8),
    Change(description: "magic 1", at: 16, bytes: [1], position: 16),
    Change(description: "wrong checksum", at: 17, bytes: [0], position: 17, keepsChecksum: true),
    Change(description: "a flipped bit in a value", at: 75, bytes: [0x23], position: 17, keepsChecksum: true),
    Change(description: "codec 5", at: 22, bytes: [5], position: 21),
    Change(description: "snappy", at: 22, bytes: [2], position: 61),
    Change(description: "gzip that is none", at: 22, bytes: [1], position: 61),
    Change(description: "lz4 that is none", at: 22, bytes: [3], position: 61),
    Change(description: "zstd that is none", at: 22, bytes: [4], position: 61),
    Change(description: "transactional", at: 22, bytes: [0x10], position: 21),
    Change(description: "control batch", at: 22, bytes: [0x20], position: 21),
    Change(description: "unknown attribute", at: 21, bytes: [0x01], position: 21),
    Change(description: "last offset delta too small", at: 26, bytes: [1], position: 23),
    Change(description: "last offset delta too large", at: 26, bytes: [3], position: 23),
    Change(description: "last offset delta negative", at: 23, bytes: [0xff], position: 23),
    Change(description: "max timestamp too large", at: 42, bytes: [0xfb], position: 35),
    Change(description: "max timestamp too small", at: 42, bytes: [0xf9], position: 35),
    Change(description: "producer id -2", at: 43, bytes: [UInt8](repeating: 0xff, count: 7) + [0xfe], position: 43),
    Change(description: "producer epoch negative", at: 51, bytes: [0xff], position: 43),
    Change(description: "sequence negative", at: 53, bytes: [0xff], position: 43),
    Change(description: "no records", at: 60, bytes: [0], position: 57),
    Change(description: "negative count", at: 57, bytes: [0xff], position: 57),
    Change(description: "record length too long", at: 61, bytes: [0x64], position: 61),
    Change(description: "record length negative", at: 61, bytes: [0x01], position: 61),
    Change(description: "key longer than the record", at: 65, bytes: [0x7e], position: 61),
    Change(description: "key length -2", at: 65, bytes: [0x03], position: 61),
    Change(description: "offset delta out of turn", at: 64, bytes: [0x02], position: 61),
    Change(description: "more headers than there are", at: 80, bytes: [0x04], position: 61),
    Change(description: "header name null", at: 81, bytes: [0x01], position: 61),
  ]

  @Test(arguments: changes) func refusesAChangedField(_ change: Change) {
    var bytes = Self.fixture
    bytes.replaceSubrange(change.at..<change.at + change.bytes.count, with: change.bytes)
    if !change.keepsChecksum { Self.fixChecksum(&bytes) }
    do {
      _ = try RecordBatch(validating: bytes)
      Issue.record("it was accepted")
    } catch LogError.invalidBatch(let problem) {
      // Fields of one group share a check: the epoch and the sequence are named by what belongs to the producer.
      let group = change.position == 43 ? [43, 51, 53] : [change.position]
      #expect(group.contains(problem.position), "\(problem)")
    } catch { Issue.record("unexpected \(error)") }
  }

  @Test func refusesEveryTruncation() {
    for count in 0..<Self.fixture.count {
      #expect(throws: LogError.self) { try RecordBatch(validating: Array(Self.fixture[..<count])) }
      // With the length made to fit, the end of the records must be missed.
      guard count >= 61 else { continue }
      var bytes = Array(Self.fixture[..<count])
      let length = UInt32(count - 12).bigEndian
      withUnsafeBytes(of: length) { bytes.replaceSubrange(8..<12, with: $0) }
      Self.fixChecksum(&bytes)
      #expect(throws: LogError.self) { try RecordBatch(validating: bytes) }
    }
    var longer = Self.fixture + [0]
    longer[11] += 1
    Self.fixChecksum(&longer)
    #expect(throws: LogError.self) { try RecordBatch(validating: longer) }
  }

  @Test func everyFlippedBitIsNoticedOrHarmless() throws {
    for position in Self.fixture.indices {
      for bit in 0..<8 {
        var bytes = Self.fixture
        bytes[position] ^= 1 << UInt8(bit)
        guard let batch = try? RecordBatch(validating: bytes) else { continue }
        // Only the fields that the log itself sets are not covered by the checksum.
        #expect((0..<8).contains(position) || (12..<16).contains(position), "byte \(position), bit \(bit)")
        #expect(try batch.records() == Self.records)
      }
    }
  }

  @Test func appendTimeReplacesEveryTimestamp() throws {
    var bytes = Self.fixture
    bytes[22] = 8
    Self.fixChecksum(&bytes)
    #expect(
      try RecordBatch(validating: bytes).records().map(\.timestamp) == [
        1_700_000_000_250, 1_700_000_000_250, 1_700_000_000_250,
      ])
  }

  @Test(arguments: [Compression.gzip, .lz4, .zstd]) func refusesABomb(_ codec: Compression) throws {
    var builder = RecordBatchBuilder(compression: codec)
    builder.append(Record(timestamp: 0, value: [UInt8](repeating: 0, count: 1 << 20)))
    let bytes = try builder.finish().bytes
    #expect(bytes.count < 20_000)
    #expect(throws: LogError.self) { try RecordBatch(validating: bytes, maxDecompressedBytes: 1 << 18) }
    #expect(throws: LogError.self) { try RecordBatch(validating: bytes, maxDecompressedBytes: 1 << 20) }
    #expect(try RecordBatch(validating: bytes, maxDecompressedBytes: (1 << 20) + 100).recordCount == 1)
  }

  @Test(arguments: [Compression.gzip, .lz4, .zstd]) func refusesBrokenCompression(_ codec: Compression) throws {
    var builder = RecordBatchBuilder(compression: codec)
    for number in 0..<200 { builder.append(Record(timestamp: 0, value: Array("value \(number)".utf8))) }
    let whole = try builder.finish().bytes
    let records = try RecordBatch(validating: whole).records()
    for count in stride(from: 61, to: whole.count, by: 7) {
      var bytes = Array(whole[..<count])
      withUnsafeBytes(of: UInt32(count - 12).bigEndian) { bytes.replaceSubrange(8..<12, with: $0) }
      Self.fixChecksum(&bytes)
      #expect(throws: LogError.self) { try RecordBatch(validating: bytes) }
    }
    for position in stride(from: 61, to: whole.count, by: 3) {
      var bytes = whole
      bytes[position] ^= 0x55
      Self.fixChecksum(&bytes)
      // Not every byte of every format is checked by the codec; what passes must at least be framed rightly.
      if let batch = try? RecordBatch(validating: bytes) { #expect(try batch.records().count == records.count) }
    }
  }

  static func fixChecksum(_ bytes: inout [UInt8]) {
    guard bytes.count >= 61 else { return }
    let crc = CRC32C.checksum(Array(bytes[21...])).bigEndian
    withUnsafeBytes(of: crc) { bytes.replaceSubrange(17..<21, with: $0) }
  }

  @Test func partitionsAsKafkasClientsDo() {
    // Kafka's own vectors for its hash, with the sign bit taken off.
    let hashes: [(String, Int32)] = [
      ("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536),
      ("a-little-bit-longer-string", -1_486_304_829), ("abc", 479_470_107),
      ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ]
    for partitions in [Int32(1), 7, 100, .max] {
      let partitioner = Partitioner(partitions: partitions)
      for (key, hash) in hashes {
        #expect(partitioner.partition(forKey: Array(key.utf8)) == (hash & 0x7fff_ffff) % partitions)
      }
    }
    var partitioner = Partitioner(partitions: 3)
    var chosen: [Int32] = []
    for _ in 0..<4 {
      chosen.append(partitioner.partition(forKey: [UInt8]?.none))
      partitioner.closeKeylessBatch()
    }
    #expect(chosen == [0, 1, 2, 0])
  }
}
