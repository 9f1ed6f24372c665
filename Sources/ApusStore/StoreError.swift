import ApusIO

/// Why a store refused or failed.
package enum StoreError: Error, Sendable {
  case disk(DiskError)
  /// A file does not match its checksum or its format. It is set aside and never served.
  case corrupt(file: String, section: String, reason: String)
  /// A file of a format version that this program does not know.
  case unsupportedVersion(file: String, version: UInt32, supported: UInt32)
  /// The answer would be larger than the request allows.
  case tooManySamples(found: Int, limit: Int)
  case invalidConfiguration(setting: String, reason: String)
  /// A run of records that does not follow what was taken in: the log lost what lies between.
  case gap(partition: String, expected: Int64, got: Int64)
  /// The samples that are not in files yet take as much memory as they may; `cause` is why they cannot be written.
  /// The caller keeps the batch and tries again.
  case headFull(bytes: Int, limit: Int, cause: String?)
  /// There is a snapshot of that name.
  case snapshotExists(String)
  case closed
  /// The store of another process or engine cannot be reached; the sentence says why.
  case unreachable(String)
  /// The engine refused; its own words.
  case refused(String)
}

extension StoreError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .disk(let error): error.description
    case .corrupt(let file, let section, let reason): "\(file) is corrupt in its \(section): \(reason)"
    case .unsupportedVersion(let file, let version, let supported):
      "\(file) has format version \(version); this program reads up to \(supported), so use a newer one"
    case .tooManySamples(let found, let limit):
      "the answer has at least \(found) samples and the limit is \(limit); narrow the range or the matchers"
    case .invalidConfiguration(let setting, let reason): "\(setting) \(reason)"
    case .gap(let partition, let expected, let got):
      "\(partition): records \(expected) to \(got - 1) are missing between what the store has and what it was given"
    case .headFull(let bytes, let limit, let cause):
      "\(bytes) bytes of samples wait to be written to files and the limit is \(limit)"
        + (cause.map { ": \($0)" } ?? "; try again in a moment")
    case .snapshotExists(let name): "there is a snapshot \(name) already; choose another name, or remove it"
    case .closed: "the store is closed"
    case .unreachable(let reason): reason
    case .refused(let reason): "the store refused: \(reason)"
    }
  }
}
