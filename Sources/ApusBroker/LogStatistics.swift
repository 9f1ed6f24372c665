/// The state of an embedded log in numbers, as `/metrics` and `/stats` show it.
package struct LogStatistics: Sendable {
  /// What the writer counts, from the log's start on.
  package struct Totals: Hashable, Sendable {
    package var messagesAppended: Int64 = 0
    package var batchesAppended: Int64 = 0
    package var bytesAppended: Int64 = 0
    /// Messages of batches that had been appended before.
    package var duplicateMessages: Int64 = 0
    package var turns: Int64 = 0
    package var syncs: Int64 = 0
    package var checkpoints: Int64 = 0
    package var segmentsRolled: Int64 = 0
    package var segmentsDropped: Int64 = 0
    package var writeFailures: Int64 = 0
    package var syncFailures: Int64 = 0
    /// Writes that failed because the disk was full.
    package var diskFullEvents: Int64 = 0
    /// Appends refused because nothing may be dropped that the store has not covered.
    package var logFullEvents: Int64 = 0
    /// Background work (checkpoint, retention, index files) that failed and will be tried again.
    package var maintenanceFailures: Int64 = 0

    package init() {}
  }

  package var topics: [TopicDescription] = []
  package var totals = Totals()
  package var recovery = RecoveryReport()
  /// Messages handed to readers.
  package var messagesRead: Int64 = 0
  package var bytesRead: Int64 = 0
  /// Reads that met bytes that do not match their checksum.
  package var corruptReads: Int64 = 0
  /// Appends that had to wait for room in the queue, or were refused for want of it.
  package var backpressureEvents: Int64 = 0
  /// Bytes accepted and not yet durable.
  package var queuedBytes = 0
  package var queueBytesMax = 0
  /// Reads that wait for new records at this moment.
  package var longPolls = 0
  /// Files of closed segments that are open for readers.
  package var openFiles = 0
  /// The last error of the disk, as a sentence; nil when there was none or writing has succeeded since.
  package var writeProblem: String?

  package init() {}
}
