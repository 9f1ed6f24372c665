import ApusIO
import ApusModel

/// Where telemetry is kept and found again. PromQL, the REST API and the alert engine run on this protocol, so they run
/// on every form of it: `EmbeddedStore`, `MemoryStore`, the client of another process's store, and the engines in
/// `ApusAdapters`. Every one passes `StoreConformance`. All calls may be made from any task.
package protocol Store: Sendable {
  /// Takes in the content of a run of log records. On return it is visible to the next query; it survives a crash
  /// because the log does, until the store's own files cover it (`positions().durable`).
  ///
  /// Records below the partition's `appended` position are skipped: a replay does nothing twice. Series beyond the
  /// cardinality limit and samples outside the accepted window are counted in the outcome, the rest is taken.
  /// `StoreError.headFull` means that nothing of the batch was taken: the caller keeps it and tries again.
  func append(_ batch: StoreBatch) async throws(StoreError) -> AppendOutcome

  /// How far each partition of the log has been taken in.
  func positions() async throws(StoreError) -> [LogPartition: StorePosition]

  /// The samples of all series that meet every matcher, within the range. Series come in ascending order of their
  /// labels' bytes, each with its samples ascending by time, one sample an instant; series without any are left out.
  func select(_ request: SelectRequest) async throws(StoreError) -> [SeriesColumn]

  /// Functions of the samples in each window of a grid, for the series that meet every matcher. Stores that keep samples
  /// rolled up answer from those where they can, and say so; the answer is the same as from the samples, sums to a
  /// rounding error. Roll-ups that outlive their samples answer with whole buckets that lie in the range.
  func aggregate(_ request: AggregateRequest) async throws(StoreError) -> AggregateAnswer

  /// The label sets of all series with a sample in the range that meet every matcher, ascending; also of those of which
  /// only roll-ups are left.
  func series(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [Labels]

  /// The names of the labels that those series have, ascending.
  func labelNames(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [String]

  /// The values that a label has in those series, ascending.
  func labelValues(_ label: String, _ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [String]

  /// What is known of the metrics: type, help, unit; ascending by name.
  func descriptors() async throws(StoreError) -> [MetricDescriptor]

  /// Hides the samples of the matching series in the range from every query from now on. Samples that come later, and
  /// replayed ones that were there when the delete was made, are told apart by their log offsets.
  func delete(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError)

  /// Moves everything that is only in memory into durable files, and moves the durable positions along.
  @discardableResult
  func flush() async throws(StoreError) -> StoreWork

  /// Merges what there is to merge; returns when nothing is left.
  @discardableResult
  func compact() async throws(StoreError) -> StoreWork

  /// Flushes, then makes a copy of all files as they are at one moment, while everything else goes on. The store keeps
  /// it under the name until somebody removes it. `StoreError.refused` where the store has no files.
  func snapshot(named name: SnapshotName) async throws(StoreError) -> SnapshotSummary

  func statistics() async throws(StoreError) -> StoreStatistics

  /// Flushes and lets go of the files. No call may follow.
  func close() async throws(StoreError)
}

/// What a flush or a compaction did.
package struct StoreWork: Hashable, Sendable {
  /// Blocks that were merged, and are gone.
  package var blocksMerged = 0
  package var blocksWritten = 0
  /// Samples of the blocks that were written.
  package var samples = 0
  /// Bytes of their files.
  package var bytes: Int64 = 0

  package init() {}

  static func += (left: inout StoreWork, right: StoreWork) {
    left.blocksMerged += right.blocksMerged
    left.blocksWritten += right.blocksWritten
    left.samples += right.samples
    left.bytes += right.bytes
  }
}

/// A snapshot that was made.
package struct SnapshotSummary: Hashable, Sendable {
  package var name: String
  /// Its folder, below the folder of the store.
  package var path: String
  package var blocks = 0
  /// Blocks that are second names of the store's own files; the others were copied.
  package var blocksLinked = 0
  package var samples = 0
  /// What its files come to, shared ones included.
  package var bytes: Int64 = 0

  package init(name: String, path: String) {
    self.name = name
    self.path = path
  }
}

/// The content of consecutive records of one partition.
package struct StoreBatch: Sendable {
  package struct Item: Sendable {
    package enum Content: Sendable {
      case scrape(Scrape)
      /// Series with timestamps of their own: the per-series lane.
      case samples([SeriesSamples])
    }

    /// The offset of the record that this came from. Of two samples of one series at one instant the one with the
    /// higher offset wins; within one offset the later.
    package var offset: Int64
    package var content: Content
    /// What the record tells of metrics, beside what is in the set of a scrape.
    package var descriptors: [MetricDescriptor]

    package init(offset: Int64, content: Content, descriptors: [MetricDescriptor] = []) {
      self.offset = offset
      self.content = content
      self.descriptors = descriptors
    }
  }

  package var partition: LogPartition
  package var items: [Item]
  /// The offset behind the last record, also counting records without samples (set definitions, invalid ones).
  package var nextOffset: Int64

  package init(partition: LogPartition, items: [Item], nextOffset: Int64) {
    self.partition = partition
    self.items = items
    self.nextOffset = nextOffset
  }
}

/// How far a store has come in one partition. Both are the offset of the next record to take in.
package struct StorePosition: Hashable, Sendable {
  /// Visible to queries.
  package var appended: Int64
  /// In durable files: the log may drop what is below, and a restart goes on from here.
  package var durable: Int64

  package init(appended: Int64, durable: Int64) {
    self.appended = appended
    self.durable = durable
  }
}

/// What became of a batch.
package struct AppendOutcome: Hashable, Sendable {
  package var samplesAccepted = 0
  /// Records that had been taken in before.
  package var recordsSkipped = 0
  /// Samples of new series beyond the cardinality limit.
  package var samplesOverSeriesLimit = 0
  /// Samples older than the retention allows.
  package var samplesTooOld = 0
  /// The records of which not all samples were accepted, ascending; at most `refusalsMax`. Not told over the wire.
  package var refusals: [Refusal] = []

  package static let refusalsMax = 1000

  /// What was not accepted of one record.
  package struct Refusal: Hashable, Sendable {
    package var offset: Int64
    package var samplesOverSeriesLimit: Int
    package var samplesTooOld: Int
  }

  package init() {}

  /// Notes what the record at `offset` adds to what `before` counted.
  mutating func noteRefusal(at offset: Int64, since before: (overSeriesLimit: Int, tooOld: Int)) {
    let over = samplesOverSeriesLimit - before.overSeriesLimit
    let old = samplesTooOld - before.tooOld
    guard over > 0 || old > 0, refusals.count < AppendOutcome.refusalsMax else { return }
    refusals.append(Refusal(offset: offset, samplesOverSeriesLimit: over, samplesTooOld: old))
  }
}

/// A question for samples.
package struct SelectRequest: Hashable, Sendable {
  package var matchers: [Matcher]
  package var range: TimeRange
  /// Only the newest so many samples of each series; nil for all.
  package var newest: Int?
  /// The most samples to answer with: above it the request fails with `StoreError.tooManySamples` before it takes the
  /// memory. Nil for no bound.
  package var maxSamples: Int?

  package init(_ matchers: [Matcher], in range: TimeRange = .all, newest: Int? = nil, maxSamples: Int? = nil) {
    self.matchers = matchers
    self.range = range
    self.newest = newest
    self.maxSamples = maxSamples
  }
}

/// One series' samples as two columns. Series of one set share the memory of their timestamps.
package struct SeriesColumn: Sendable {
  package var labels: Labels
  package var timestamps: [Int64]
  package var values: [Double]

  package init(labels: Labels, timestamps: [Int64], values: [Double]) {
    self.labels = labels
    self.timestamps = timestamps
    self.values = values
  }
}

/// The state of a store in numbers.
package struct StoreStatistics: Hashable, Sendable {
  package var seriesInHead = 0
  package var samplesInHead = 0
  package var headBytes = 0
  package var blocks = 0
  package var samplesInBlocks = 0
  /// Bytes on disk by part: `values`, `directory`, `timestamps`, `symbols`, `groups`, `postings`, `frame`, `manifest`,
  /// `tombstones`; `quarantine` and `snapshots`, which lie beside the store.
  package var bytesByPart: [String: Int64] = [:]
  package var oldestSample: Timestamp?
  package var newestSample: Timestamp?
  package var seriesRejected = 0
  package var samplesOutOfOrder = 0
  package var samplesDuplicate = 0
  package var blocksQuarantined = 0
  /// Files of roll-ups, how many have been written and how many answers took part of their content from them since the
  /// store was opened.
  package var rollups = 0
  package var rollupsMade = 0
  package var rollupAnswers = 0
  /// Why the last attempt to write files failed; nil when it succeeded. Nothing is lost, it is tried again.
  package var lastFailure: String?

  package init() {}

  /// The parts that no query reads.
  package static let partsBeside: Set = ["quarantine", "snapshots"]

  /// Bytes of the files that the store works with: all parts but those beside it.
  package var bytesOnDisk: Int64 {
    bytesByPart.reduce(0) { $0 + (StoreStatistics.partsBeside.contains($1.key) ? 0 : $1.value) }
  }
}
