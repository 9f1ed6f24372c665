import ApusIO

/// The 61 bytes before the records of a batch, Kafka's record batch version 2 (docs/format/log.md, "Record batch").
/// All fields are big-endian.
package struct RecordBatchHeader: Hashable, Sendable {
  /// Where the fields are, in bytes from the start of the batch.
  enum Position {
    static let baseOffset = 0
    static let batchLength = 8
    static let leaderEpoch = 12
    static let magic = 16
    static let crc = 17
    static let attributes = 21
    static let lastOffsetDelta = 23
    static let baseTimestamp = 27
    static let maxTimestamp = 35
    static let producerID = 43
    static let producerEpoch = 51
    static let baseSequence = 53
    static let recordCount = 57
  }

  /// The bits of `attributes`.
  enum Attributes {
    static let codecMask: Int16 = 0b111
    static let isAppendTime: Int16 = 0b1000
    static let isTransactional: Int16 = 0b1_0000
    static let isControl: Int16 = 0b10_0000
  }

  /// The size of the header, and so of the smallest batch.
  package static let byteCount = 61
  /// The bytes before what `batchLength` counts.
  package static let lengthPrefixBytes = 12

  package var baseOffset: Int64
  /// The bytes of the whole batch, header included: `batchLength` + 12.
  package var totalBytes: Int
  package var leaderEpoch: Int32
  package var magic: Int8
  package var crc: UInt32
  package var attributes: Int16
  package var lastOffsetDelta: Int32
  package var baseTimestamp: Int64
  package var maxTimestamp: Int64
  package var producerID: Int64
  package var producerEpoch: Int16
  package var baseSequence: Int32
  package var recordCount: Int32

  /// Reads the fields, whatever they hold.
  /// - Precondition: there are at least 61 bytes.
  package init(_ bytes: UnsafeRawBufferPointer) {
    precondition(bytes.count >= RecordBatchHeader.byteCount, "a header from \(bytes.count) bytes")
    func field<Integer: FixedWidthInteger>(_ position: Int, _ type: Integer.Type) -> Integer {
      Integer(bigEndian: bytes.loadUnaligned(fromByteOffset: position, as: Integer.self))
    }
    baseOffset = field(Position.baseOffset, Int64.self)
    totalBytes = Int(field(Position.batchLength, Int32.self)) + RecordBatchHeader.lengthPrefixBytes
    leaderEpoch = field(Position.leaderEpoch, Int32.self)
    magic = field(Position.magic, Int8.self)
    crc = field(Position.crc, UInt32.self)
    attributes = field(Position.attributes, Int16.self)
    lastOffsetDelta = field(Position.lastOffsetDelta, Int32.self)
    baseTimestamp = field(Position.baseTimestamp, Int64.self)
    maxTimestamp = field(Position.maxTimestamp, Int64.self)
    producerID = field(Position.producerID, Int64.self)
    producerEpoch = field(Position.producerEpoch, Int16.self)
    baseSequence = field(Position.baseSequence, Int32.self)
    recordCount = field(Position.recordCount, Int32.self)
  }

  /// Nil for a number that no codec has.
  package var compression: Compression? { Compression(rawValue: UInt8(attributes & Attributes.codecMask)) }

  /// The offset behind the batch's last record.
  package var nextOffset: Int64 { baseOffset + Int64(lastOffsetDelta) + 1 }

  /// Checks what can be told from the header alone, the same for a batch from a client and one from a file: nil when
  /// all is well. `limit` bounds the whole batch in bytes.
  package func problem(limit: Int) -> InvalidBatch? {
    func invalid(_ reason: String, _ position: Int) -> InvalidBatch { InvalidBatch(reason: reason, position: position) }
    if magic != 2 { return invalid("magic is \(magic) and only 2 is known", Position.magic) }
    if totalBytes < RecordBatchHeader.byteCount || totalBytes > limit {
      return invalid("the length of \(totalBytes) bytes is outside 61 to \(limit)", Position.batchLength)
    }
    if baseOffset < 0 { return invalid("the base offset \(baseOffset) is negative", Position.baseOffset) }
    if attributes & ~(Attributes.codecMask | Attributes.isAppendTime) != 0 {
      return invalid("the attributes \(attributes) say something this log does not know", Position.attributes)
    }
    if compression == nil { return invalid("there is no codec \(attributes & 7)", Position.attributes) }
    if recordCount < 1 { return invalid("there are \(recordCount) records", Position.recordCount) }
    if lastOffsetDelta < recordCount - 1 {
      return invalid(
        "the last offset delta \(lastOffsetDelta) is too small for \(recordCount) records", Position.lastOffsetDelta)
    }
    if baseOffset > Int64.max - Int64(lastOffsetDelta) - 1 {
      return invalid("the base offset \(baseOffset) is beyond the last there is", Position.baseOffset)
    }
    if producerID < -1 { return invalid("the producer id \(producerID) is negative", Position.producerID) }
    if producerID >= 0 {
      if producerEpoch < 0 {
        return invalid("the producer epoch \(producerEpoch) is negative", Position.producerEpoch)
      }
      if baseSequence < 0 { return invalid("the sequence \(baseSequence) is negative", Position.baseSequence) }
    }
    return nil
  }
}
