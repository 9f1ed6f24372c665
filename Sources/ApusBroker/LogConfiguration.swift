import ApusIO

/// When an append counts as durable.
package enum Durability: Hashable, Sendable {
  /// It is on stable storage: one sync for all that waits (group commit).
  case every
  /// It is with the operating system, which is told to store it at least this often: a power cut loses at most what
  /// came since. A crash of the process alone loses nothing.
  case interval(Duration)
  /// It is with the operating system, which stores it when it likes. A full segment is synced still.
  case none
}

extension EmbeddedLog {
  /// What an embedded log is told at its start. Every bound has its name here.
  package struct Configuration: Sendable {
    /// The folder below the disk's root.
    package var directory = "log"
    package var durability = Durability.every
    /// Whether an append to a topic that is not there makes it.
    package var createsTopics = true
    /// How many partitions such a topic has.
    package var defaultPartitions: Int32 = 1
    /// Drop segments whose newest record was appended longer ago than this; nil for never.
    package var retentionMilliseconds: Int64? = 3_600_000
    /// Drop the oldest segments while a partition is larger than this; nil for no bound.
    package var retentionBytes: Int64? = 1 << 30
    /// A segment is closed before it would grow beyond this.
    package var segmentBytes: Int64 = 64 << 20
    /// The largest batch that a producer may send, and what its records may expand to is 4 times as much.
    package var maxMessageBytes = 8 << 20
    package var topicsMax = 512
    /// Of all topics together. Each keeps one file open.
    package var partitionsMax = 512
    /// Files of closed segments that are kept open for readers.
    package var openFilesMax = 128
    /// The bytes accepted and not yet durable. Beyond it appends wait.
    package var queueBytesMax = 64 << 20
    /// How many appends may wait for room in the queue; the next is refused at once.
    package var waitingAppendsMax = 10_000
    /// How long an append waits for room before it is refused with `LogError.backpressure`.
    package var backpressureWait = Duration.seconds(30)
    /// The most bytes that one turn of the writer takes from the queue, unless a single append is larger.
    package var turnBytesMax = 16 << 20
    /// The newest batches of a partition that are kept in memory for those who read at its end.
    package var tailBytes = 8 << 20
    /// All partitions' tails together.
    package var tailBytesTotal = 128 << 20
    /// Threads that read segments.
    package var readThreads = 4
    /// Reads that may wait for such a thread; the next is refused with `LogError.backpressure`.
    package var readsQueuedMax = 4096
    /// Reads that may wait for new records at once; the next answers empty at once.
    package var longPollsMax = 10_000
    /// The most bytes of one answer, unless its first batch is larger.
    package var readBytesMax = 16 << 20
    /// Idempotent producers remembered for each partition; the one silent for longest goes first.
    package var producersMax = 10_000
    /// A producer silent for longer is forgotten.
    package var producerExpirationMilliseconds: Int64 = 7 * 86_400_000
    /// How often what is synced is noted down, so that recovery knows a torn tail from corruption.
    package var checkpointIntervalMilliseconds: Int64 = 5000
    package var retentionCheckIntervalMilliseconds: Int64 = 10_000
    /// Topics of which nothing is dropped that `setCoveredOffset` has not released.
    package var coverageTopics: Set<TopicName> = []
    /// What each new segment of a topic begins with; nil for nothing.
    package var prologue: @Sendable (TopicName) -> (any SegmentPrologue)? = { _ in nil }

    package init() {}

    /// Throws `LogError.invalidConfiguration` with the first setting that cannot be.
    package func validate() throws(LogError) {
      try Configuration.check("defaultPartitions", Int64(defaultPartitions), 1...Int64(partitionsMax))
      try Configuration.check("segmentBytes", segmentBytes, 4096...1 << 30)
      try Configuration.check("maxMessageBytes", Int64(maxMessageBytes), 1024...Int64(RecordBatch.bytesMax))
      try Configuration.check("retentionBytes", retentionBytes ?? 1, 1...Int64.max)
      try Configuration.check("retentionMilliseconds", retentionMilliseconds ?? 1, 1...Int64.max)
      try Configuration.check("topicsMax", Int64(topicsMax), 1...1_000_000)
      try Configuration.check("partitionsMax", Int64(partitionsMax), 1...1_000_000)
      try Configuration.check("openFilesMax", Int64(openFilesMax), 1...1_000_000)
      try Configuration.check("queueBytesMax", Int64(queueBytesMax), 1...1 << 40)
      try Configuration.check("waitingAppendsMax", Int64(waitingAppendsMax), 0...1 << 30)
      try Configuration.check("turnBytesMax", Int64(turnBytesMax), 1...1 << 30)
      try Configuration.check("tailBytes", Int64(tailBytes), 0...1 << 40)
      try Configuration.check("tailBytesTotal", Int64(tailBytesTotal), 0...1 << 40)
      try Configuration.check("readThreads", Int64(readThreads), 1...256)
      try Configuration.check("readsQueuedMax", Int64(readsQueuedMax), 1...1 << 30)
      try Configuration.check("longPollsMax", Int64(longPollsMax), 0...1 << 30)
      try Configuration.check("readBytesMax", Int64(readBytesMax), 1...1 << 30)
      try Configuration.check("producersMax", Int64(producersMax), 1...10_000_000)
      try Configuration.check("producerExpirationMilliseconds", producerExpirationMilliseconds, 1...Int64.max)
      try Configuration.check("checkpointIntervalMilliseconds", checkpointIntervalMilliseconds, 1...Int64.max)
      try Configuration.check("retentionCheckIntervalMilliseconds", retentionCheckIntervalMilliseconds, 1...Int64.max)
      if case .interval(let interval) = durability, interval <= .zero {
        throw .invalidConfiguration(setting: "durability", reason: "must have an interval above zero")
      }
    }

    /// Throws unless a topic with these settings can be kept.
    func validate(_ topic: TopicConfiguration) throws(LogError) {
      try Configuration.check("partitions", Int64(topic.partitions), 1...Int64(partitionsMax))
      try Configuration.check("segmentBytes", topic.segmentBytes ?? segmentBytes, 4096...1 << 30)
      try Configuration.check("retentionBytes", topic.retentionBytes ?? 1, 1...Int64.max)
      try Configuration.check("retentionMilliseconds", topic.retentionMilliseconds ?? 1, 1...Int64.max)
      try Configuration.check(
        "maxMessageBytes", Int64(topic.maxMessageBytes ?? maxMessageBytes), 1024...Int64(RecordBatch.bytesMax))
    }

    private static func check(_ setting: String, _ value: Int64, _ allowed: ClosedRange<Int64>) throws(LogError) {
      guard allowed.contains(value) else {
        throw .invalidConfiguration(
          setting: setting, reason: "is \(value); it must be \(allowed.lowerBound) to \(allowed.upperBound)")
      }
    }
  }
}
