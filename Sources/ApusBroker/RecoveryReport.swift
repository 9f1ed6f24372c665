/// What the log found wrong and what it did about it, at its start and since.
package struct RecoveryReport: Sendable {
  package enum Finding: Hashable, Sendable {
    /// The last segment ended in something that was not whole, behind what was known to be synced: cut.
    case tornTail(partition: TopicPartition, file: String, position: Int64, bytesCut: Int64, reason: String)
    /// Stored bytes were wrong. The file was set aside under the name `keptAs`, its good batches are served on.
    case corruption(partition: TopicPartition, file: String, position: Int64, reason: String, keptAs: String)
    /// Offsets that had been given out and that are not there: lost to corruption, or to a power cut at a durability
    /// below `every`. They are not given out again.
    case missing(partition: TopicPartition, from: Int64, to: Int64)
    /// An index did not fit its segment and was made anew.
    case indexRebuilt(partition: TopicPartition, file: String)
    /// A small file could not be read and was replaced by what could be told otherwise.
    case metadataLost(file: String, reason: String)
  }

  /// At most `findingsMax`, the first ones.
  package private(set) var findings: [Finding] = []
  package private(set) var findingsNotKept = 0
  package private(set) var tornTails = 0
  package private(set) var corruptions = 0

  static let findingsMax = 1000

  package init() {}

  package mutating func add(_ finding: Finding) {
    switch finding {
    case .tornTail: tornTails += 1
    case .corruption: corruptions += 1
    case .missing, .indexRebuilt, .metadataLost: break
    }
    if findings.count < RecoveryReport.findingsMax { findings.append(finding) } else { findingsNotKept += 1 }
  }
}

extension RecoveryReport.Finding: CustomStringConvertible {
  package var description: String {
    switch self {
    case .tornTail(let partition, let file, let position, let bytesCut, let reason):
      "\(partition): cut \(bytesCut) bytes of an unfinished write from \(file) at byte \(position): \(reason)"
    case .corruption(let partition, let file, let position, let reason, let keptAs):
      "\(partition): \(file) is corrupt at byte \(position): \(reason); it was set aside as \(keptAs) and its good"
        + " records are served on"
    case .missing(let partition, let from, let to):
      "\(partition): the records with the offsets \(from) to \(to - 1) are not there"
    case .indexRebuilt(let partition, let file): "\(partition): the index \(file) was made anew"
    case .metadataLost(let file, let reason): "\(file) could not be read: \(reason)"
    }
  }
}
