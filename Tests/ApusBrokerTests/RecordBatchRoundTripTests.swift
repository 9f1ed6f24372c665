// Goal: what the builder takes, a validated batch gives back, in every codec.
// Method: a table of record lists; build, validate the bytes as if from outside, compare.

import ApusBroker
import ApusIO
import Testing

@Suite struct RecordBatchRoundTripTests {
  static let lists: [[Record]] = [
    [Record(timestamp: 0, value: nil)],
    [Record(timestamp: -5, key: [], value: [])],
    [
      Record(timestamp: 1_700_000_000_000, key: [1, 2], value: [UInt8](repeating: 7, count: 300)),
      Record(
        timestamp: 1_700_000_000_001, value: [9], headers: [RecordHeader(name: "content-type", value: [1, 2, 3])]),
      Record(
        timestamp: 1_600_000_000_000, value: nil,
        headers: [
          RecordHeader(name: "", value: nil), RecordHeader(name: "ä", value: []), RecordHeader(name: "", value: [1]),
        ]),
    ],
    (0..<5000).map { index in
      Record(timestamp: Int64(index) * 1000, key: Array("host-\(index % 7)".utf8), value: Array("value \(index)".utf8))
    },
  ]
  static let codecs: [Compression] = [.none, .gzip, .snappy, .lz4, .zstd]

  @Test(arguments: lists, codecs) func roundTrip(_ records: [Record], _ codec: Compression) throws {
    var builder = RecordBatchBuilder(compression: codec)
    // The second batch shows that the builder begins anew.
    for round in 0..<2 {
      for record in records { builder.append(record) }
      #expect(builder.recordCount == records.count)
      let producer = ProducerIdentity(id: 77, epoch: 3)
      let built = try builder.finish(producer: round == 0 ? nil : producer, baseSequence: 12)
      var batch = try RecordBatch(validating: built.bytes)
      #expect(batch.recordCount == records.count)
      #expect(batch.compression == codec)
      #expect(batch.baseTimestamp == records[0].timestamp)
      #expect(batch.maxTimestamp == records.map(\.timestamp).max())
      #expect(batch.producerID == (round == 0 ? -1 : 77))
      #expect(batch.producerEpoch == (round == 0 ? -1 : 3))
      #expect(batch.baseSequence == (round == 0 ? -1 : 12))
      #expect(try batch.records() == records)
      batch.baseOffset = 1_000_000_000_000
      #expect(batch.nextOffset == 1_000_000_000_000 + Int64(records.count))
      // The checksum covers neither the offset nor the epoch of the leader.
      var offsets: [Int64] = []
      try RecordBatch(validating: batch.bytes).forEachRecord { offsets.append($0.offset) }
      #expect(offsets == (0..<records.count).map { 1_000_000_000_000 + Int64($0) })
    }
  }

  @Test func borrowedAppendWritesTheSameBytes() throws {
    let headers = [RecordHeader(name: "a", value: [1]), RecordHeader(name: "b", value: nil)]
    let encoded = EncodedRecordHeaders(headers)
    var owned = RecordBatchBuilder()
    var borrowed = RecordBatchBuilder()
    for index in 0..<100 {
      let key = Array("key \(index)".utf8)
      let value = [UInt8](repeating: UInt8(index), count: index * 3)
      owned.append(Record(timestamp: Int64(index), key: key, value: value, headers: headers))
      key.withUnsafeBytes { key in
        value.withUnsafeBytes { value in
          borrowed.append(timestamp: Int64(index), key: key, value: value, headers: encoded)
        }
      }
    }
    #expect(owned.byteCount == borrowed.byteCount)
    let batch = try owned.finish()
    #expect(try borrowed.finish().bytes == batch.bytes)
    try batch.forEachRecord { record in
      #expect(record.headerCount == 2)
      #expect(record.header("a").map { Array($0) } == [1])
      #expect(record.header("b") == nil)
      #expect(record.header(String("none")) == nil)
    }
  }

  @Test func builderRefusesWhatItCannotSay() throws {
    var builder = RecordBatchBuilder()
    #expect(throws: LogError.self) { try builder.finish() }
    builder.append(Record(timestamp: .min, value: nil))
    builder.append(Record(timestamp: .max, value: nil))
    #expect(throws: LogError.self) { try builder.finish() }
    builder.removeAll()
    builder.append(Record(timestamp: .max, value: nil))
    builder.append(Record(timestamp: 0, value: nil))
    #expect(try builder.finish().maxTimestamp == .max)
  }
}
