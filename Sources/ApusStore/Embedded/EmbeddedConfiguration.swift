import ApusModel

extension EmbeddedStore {
  /// What may be set of an embedded store.
  package struct Configuration: Sendable {
    /// The head is sealed after this long, in milliseconds of the wall clock.
    package var headSpanMilliseconds: Int64 = 2 * 3600 * 1000
    /// … or when it takes this much memory; more, up to eight times, where the labels of its series alone take half of
    /// that or more.
    package var headBytes = 256 << 20
    /// Above this much memory of unsealed samples `append` fails with `StoreError.headFull` until a seal succeeds.
    package var headBytesMax = 512 << 20
    /// Samples older than this, by their own time against the wall clock, are neither taken nor answered, and blocks
    /// with nothing younger are removed. Nil keeps everything.
    package var retentionMilliseconds: Int64?
    /// The oldest blocks are removed while the files take more than this. Nil for no bound.
    package var retentionBytes: Int64?
    /// The most series of the head and of the heads of the last two windows together; new ones beyond are refused.
    package var seriesLimit = 10_000_000
    /// Blocks are cut at multiples of this span of time.
    package var partitionMilliseconds: Int64 = 24 * 3600 * 1000
    /// Partitions with fewer samples share a block with their neighbours.
    package var blockSamplesMin = 65_536
    /// A compaction takes in no more samples than this at once.
    package var compactionSamplesMax = 1 << 29
    /// How blocks are compressed beyond their own codecs.
    package var compression = Compression.zstd(level: 1)
    /// How much of compressed blocks is kept expanded for the next question.
    package var expandedBytesMax = 16 << 20
    /// The most that merges write a second, in bytes; seals, which make room in memory, are not held up. Nil for as
    /// fast as they can.
    package var compactionBytesPerSecond: Int64?
    /// The lengths of the buckets that samples are rolled up into, ascending, each a multiple of the one before.
    package var rollups: [RollupLevel] = [.fiveMinutes, .oneHour]
    /// Whether new spans are rolled up. What there is is used and kept right in either case.
    package var makesRollups = true
    /// Spans of this length are rolled up at once.
    package var rollupSpanMilliseconds: Int64 = 24 * 3600 * 1000
    /// … this long after their end.
    package var rollupDelayMilliseconds: Int64 = 6 * 3600 * 1000
    /// Spans with fewer samples are not rolled up, unless retention is going to remove the samples.
    package var rollupSamplesMin = 65_536
    /// Nor are they at a resolution at which a bucket has fewer samples on average.
    package var rollupSamplesPerBucketMin = 8
    /// After a failure to write, this long passes before the next attempt.
    package var retryMilliseconds: Int64 = 5000
    /// How often the store looks whether there is something to seal, merge or remove.
    package var tickMilliseconds = 1000
    /// Threads that answer queries.
    package var readerThreads = 2
    /// Without threads of its own the store does its background work only when `maintain` is called, and everything on
    /// the caller's thread: for simulations, which must be the same every time.
    package var hasThreads = true
    /// Called, from the store's thread, each time the durable positions have moved: the log may drop what is below.
    package var onDurable: (@Sendable ([LogPartition: Int64]) -> Void)?

    /// What blocks are compressed with.
    package enum Compression: Hashable, Sendable {
      case none
      /// Level 1 to 19; docs/decisions/0004-block-compression.md has what each saves and costs.
      case zstd(level: Int)

      var level: Int? {
        switch self {
        case .none: nil
        case .zstd(let level): level
        }
      }
    }

    package init() {}

    /// Whether the settings can be; the error names the setting.
    package func validate() throws(StoreError) {
      func check(_ holds: Bool, _ setting: String, _ reason: String) throws(StoreError) {
        if !holds { throw .invalidConfiguration(setting: setting, reason: reason) }
      }
      try check(headSpanMilliseconds > 0, "head span", "must be above 0")
      try check(headBytes >= 1 << 16, "head bytes", "must be at least 64 KiB")
      try check(headBytes <= 1 << 40, "head bytes", "must be at most 1 TiB")
      try check(headBytesMax >= headBytes, "head bytes maximum", "must not be below the head bytes")
      try check(retentionMilliseconds.map { $0 > 0 } ?? true, "retention", "must be above 0")
      try check(retentionBytes.map { $0 > 0 } ?? true, "retention size", "must be above 0")
      try check(seriesLimit > 0, "series limit", "must be above 0")
      try check(partitionMilliseconds >= 60_000, "partition", "must be at least a minute")
      try check(blockSamplesMin > 0, "block samples minimum", "must be above 0")
      try check(compactionSamplesMax >= blockSamplesMin, "compaction samples", "must not be below the block's minimum")
      if let level = compression.level {
        try check((1...19).contains(level), "compression level", "must be from 1 to 19")
      }
      try check(expandedBytesMax >= 0, "expanded bytes", "must not be negative")
      try check(compactionBytesPerSecond.map { $0 > 0 } ?? true, "compaction rate", "must be above 0")
      var finer: Int64 = 1
      for level in rollups {
        try check(
          level.resolutionMilliseconds > 0 && level.resolutionMilliseconds % finer == 0,
          "roll-ups", "must be multiples of one another, ascending")
        try check(
          rollupSpanMilliseconds > 0 && rollupSpanMilliseconds % level.resolutionMilliseconds == 0
            && rollupSpanMilliseconds / level.resolutionMilliseconds <= 4096,
          "roll-up span", "must be made of at most 4096 buckets")
        try check(level.retentionMilliseconds.map { $0 > 0 } ?? true, "roll-up retention", "must be above 0")
        finer = level.resolutionMilliseconds
      }
      try check(rollupDelayMilliseconds >= 0, "roll-up delay", "must not be negative")
      try check(retryMilliseconds >= 0, "retry", "must not be negative")
      try check(tickMilliseconds > 0, "tick", "must be above 0")
      try check(readerThreads > 0, "reader threads", "must be above 0")
    }
  }
}
