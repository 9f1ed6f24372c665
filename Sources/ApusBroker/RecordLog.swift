import ApusIO

/// A durable log of topics: what the streamer writes to, the collector reads from and every door serves.
///
/// Three forms: `EmbeddedLog` in this module, the clients of our own doors (`ApusDoors`), and Kafka (`ApusAdapters`).
/// All of them pass `RecordLogConformance`. What crosses this interface is a whole record batch in Kafka's own encoding
/// (magic 2), never a single record. All calls may be made from any task; they do not block the caller's thread.
package protocol RecordLog: Sendable {
  /// Makes a topic. `LogError.topicExists` when it is there already.
  func createTopic(_ name: TopicName, _ configuration: TopicConfiguration) async throws(LogError)

  /// Removes a topic and its records.
  func deleteTopic(_ name: TopicName) async throws(LogError)

  /// Every topic there is, with its partitions and their offsets, in ascending order of the name.
  func topics() async throws(LogError) -> [TopicDescription]

  /// Appends batches and returns once each is durable at the log's durability level, or refused; one result a request,
  /// in order. A topic that does not exist is made where the log's configuration allows that.
  ///
  /// Requests of one call to one partition are appended in order. A batch that repeats what an idempotent producer sent
  /// before is answered with its first offsets and `isDuplicate`.
  func append(_ requests: [AppendRequest]) async -> [Result<AppendReceipt, LogError>]

  /// Reads whole batches from the one that holds `offset` on: at least one if there is one, then as many as fit in
  /// `maxBytes`. Only durable records are seen. With nothing there it waits up to `waiting`, then answers empty.
  ///
  /// The first batch may begin before `offset`: the caller skips those records.
  /// `LogError.offsetOutOfRange` (with the range there is) when `offset` is below the start or above the end.
  func read(
    _ partition: TopicPartition, from offset: Int64, maxBytes: Int, waiting: Duration
  ) async throws(LogError) -> LogSlice

  /// The offset of a position.
  func offset(of position: OffsetPosition, in partition: TopicPartition) async throws(LogError) -> Int64

  /// A fresh identity for an idempotent producer.
  func registerProducer() async throws(LogError) -> ProducerIdentity
}

/// A place in a partition, by meaning.
package enum OffsetPosition: Hashable, Sendable {
  /// The first record that is still there.
  case earliest
  /// Behind the last durable record: what is appended from now on.
  case latest
  /// The first record whose timestamp (milliseconds since 1970) is at or after this one, else `latest`.
  case timestamp(Int64)
}

/// One batch on its way in.
package struct AppendRequest: Sendable {
  package var partition: TopicPartition
  package var batch: RecordBatch

  package init(partition: TopicPartition, batch: RecordBatch) {
    self.partition = partition
    self.batch = batch
  }
}

/// Where a batch went.
package struct AppendReceipt: Hashable, Sendable {
  /// The offset of the batch's first record.
  package var baseOffset: Int64
  package var recordCount: Int
  /// The batch was there already: the producer repeats itself, and these are the offsets of the first time.
  package var isDuplicate: Bool

  package init(baseOffset: Int64, recordCount: Int, isDuplicate: Bool) {
    self.baseOffset = baseOffset
    self.recordCount = recordCount
    self.isDuplicate = isDuplicate
  }

  /// The offset behind the batch.
  package var nextOffset: Int64 { baseOffset + Int64(recordCount) }
}

/// A run of batches as read from one partition.
package struct LogSlice: Sendable {
  package var batches: [RecordBatch]
  /// Behind the last durable record at the time of reading.
  package var highWatermark: Int64
  /// The first offset that is still there.
  package var logStart: Int64

  package init(batches: [RecordBatch], highWatermark: Int64, logStart: Int64) {
    self.batches = batches
    self.highWatermark = highWatermark
    self.logStart = logStart
  }
}

/// Who an idempotent producer is. A new epoch shuts out the old holder of the id.
package struct ProducerIdentity: Hashable, Sendable {
  package var id: Int64
  package var epoch: Int16

  package init(id: Int64, epoch: Int16) {
    self.id = id
    self.epoch = epoch
  }
}

/// A topic's name: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..` (Kafka's rule).
package struct TopicName: Hashable, Comparable, Sendable, CustomStringConvertible {
  package let text: String

  /// Nil when the name breaks the rule.
  package init?(_ text: String) {
    let allowed = text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
      default: false
      }
    }
    guard allowed, (1...249).contains(text.utf8.count), text != ".", text != ".." else { return nil }
    self.text = text
  }

  package var description: String { text }

  package static func < (left: TopicName, right: TopicName) -> Bool { left.text < right.text }
}

/// One partition of a topic.
package struct TopicPartition: Hashable, Sendable, CustomStringConvertible {
  package var topic: TopicName
  package var partition: Int32

  package init(topic: TopicName, partition: Int32) {
    self.topic = topic
    self.partition = partition
  }

  package var description: String { "\(topic)/\(partition)" }
}

/// What may be set for a topic; nil takes the log's default.
package struct TopicConfiguration: Hashable, Sendable {
  package var partitions: Int32
  /// Drop segments whose newest record was appended longer ago than this.
  package var retentionMilliseconds: Int64?
  /// Drop the oldest segments while the partition is larger than this.
  package var retentionBytes: Int64?
  package var segmentBytes: Int64?
  package var maxMessageBytes: Int?

  package init(
    partitions: Int32 = 1, retentionMilliseconds: Int64? = nil, retentionBytes: Int64? = nil,
    segmentBytes: Int64? = nil, maxMessageBytes: Int? = nil
  ) {
    self.partitions = partitions
    self.retentionMilliseconds = retentionMilliseconds
    self.retentionBytes = retentionBytes
    self.segmentBytes = segmentBytes
    self.maxMessageBytes = maxMessageBytes
  }
}

/// A topic as it stands.
package struct TopicDescription: Sendable {
  package struct Partition: Sendable {
    package var index: Int32
    package var logStart: Int64
    package var highWatermark: Int64
    package var bytes: Int64
    package var segments: Int

    package init(index: Int32, logStart: Int64, highWatermark: Int64, bytes: Int64, segments: Int) {
      self.index = index
      self.logStart = logStart
      self.highWatermark = highWatermark
      self.bytes = bytes
      self.segments = segments
    }
  }

  package var name: TopicName
  package var configuration: TopicConfiguration
  package var partitions: [Partition]

  package init(name: TopicName, configuration: TopicConfiguration, partitions: [Partition]) {
    self.name = name
    self.configuration = configuration
    self.partitions = partitions
  }
}
