/// What a topic's segments begin with: records that a reader needs to understand the rest, repeated so that any
/// segment can be read without those before it.
///
/// One value a partition, made by `EmbeddedLog.Configuration.prologue`. The log shows it every batch that became part
/// of the partition, in order, those of its own making included; after a restart it is shown those of the newest
/// segment, which begins with a prologue and so has all that matters. The records take offsets like any others.
package protocol SegmentPrologue: Sendable {
  /// Sees a batch that has been appended. Called on the log's writer thread, so it must be quick.
  mutating func observe(_ batch: RecordBatch)

  /// The records for the start of a new segment. `now` is in milliseconds since 1970.
  func records(now: Int64) -> [Record]
}
