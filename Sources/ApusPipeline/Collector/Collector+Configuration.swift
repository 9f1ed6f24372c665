import ApusBroker

extension Collector {
  /// Where a collector begins in a partition that its store has no position of.
  package enum Start: Hashable, Sendable {
    case earliest
    case latest
    /// This offset in every partition.
    case offset(Int64)
  }

  /// How a collector works; the defaults are those of `apus collect`.
  package struct Configuration: Sendable {
    package var topic: TopicName
    package var start: Start = .earliest
    /// What one read of a partition asks for. Two reads of each partition are in memory at most.
    package var readBytesMax = 4 << 20
    /// How long a read waits for new records.
    package var readWait: Duration = .seconds(1)
    /// How often to look for new partitions of the topic, and how long to wait for the topic to appear.
    package var refreshInterval: Duration = .seconds(10)
    /// How often the store is asked how far its files cover the log.
    package var coverageInterval: Duration = .seconds(1)
    package var backoffInitial: Duration = .milliseconds(100)
    package var backoffMaximum: Duration = .seconds(5)
    /// Records that may be held up by one that waits for its series set.
    package var heldRecordsMax = 100_000
    package var heldBytesMax = 64 << 20
    package var parkedAgeMaxMilliseconds: Int64 = 600_000
    package var writesDeadLetters = true
    /// Tells collectors apart in messages and dead letters.
    package var instanceID = "collector"
    package var seed: UInt64 = 0

    package init(topic: TopicName) { self.topic = topic }

    package func validate() throws(PipelineError) {
      func check(_ isRight: Bool, _ setting: String, _ reason: String) throws(PipelineError) {
        if !isRight { throw .invalidConfiguration(setting: setting, reason: reason) }
      }
      if case .offset(let offset) = start { try check(offset >= 0, "--from", "must not be below 0") }
      try check(readBytesMax >= 1024, "the bytes of a read", "must be at least 1KiB")
      try check(readWait >= .zero, "the wait of a read", "must not be negative")
      try check(heldRecordsMax > 0 && heldBytesMax > 0, "the bound of held records", "must be at least 1")
      try check(backoffInitial > .zero && backoffInitial <= backoffMaximum, "the backoff", "must grow from above zero")
    }
  }
}
