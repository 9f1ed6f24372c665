import ApusBroker
import ApusIO

extension Streamer {
  /// How a streamer works; the defaults are those of `apus stream`.
  package struct Configuration: Sendable {
    package var topic: TopicName
    /// Of the topic, where it has to be made.
    package var partitions: Int32 = 1
    package var encoding: Encoding = .frame
    package var compression: Compression = .none
    /// How long to collect before publishing; zero publishes each batch of a source at once.
    package var flushInterval: Duration = .seconds(5)
    /// A batch is closed at this size, before compression.
    package var batchBytesMax = 1 << 20
    package var batchRecordsMax = 10_000
    /// What may wait between collecting and publishing.
    package var bufferSamplesMax = 8_000_000
    package var bufferBytesMax = 64 << 20
    /// How long to go on publishing after the order to stop.
    package var gracePeriod: Duration = .seconds(10)
    package var backoffInitial: Duration = .milliseconds(100)
    package var backoffMaximum: Duration = .seconds(15)
    /// Tells streamers apart in messages.
    package var instanceID = "streamer"
    /// Of the backoff's jitter.
    package var seed: UInt64 = 0

    package init(topic: TopicName) { self.topic = topic }

    package func validate() throws(PipelineError) {
      func check(_ isRight: Bool, _ setting: String, _ reason: String) throws(PipelineError) {
        if !isRight { throw .invalidConfiguration(setting: setting, reason: reason) }
      }
      try check(partitions > 0, "partitions", "must be at least 1")
      try check(flushInterval >= .zero, "--flush-interval", "must not be negative")
      try check(batchBytesMax >= 4096 && batchBytesMax <= 64 << 20, "the batch size", "must be 4KiB to 64MiB")
      try check(batchRecordsMax > 0, "the records of a batch", "must be at least 1")
      try check(bufferBytesMax >= batchBytesMax, "the buffer size", "must be at least the batch size")
      try check(bufferSamplesMax > 0, "the samples of the buffer", "must be at least 1")
      try check(gracePeriod >= .zero, "the grace period", "must not be negative")
      try check(backoffInitial > .zero && backoffInitial <= backoffMaximum, "the backoff", "must grow from above zero")
    }
  }
}
