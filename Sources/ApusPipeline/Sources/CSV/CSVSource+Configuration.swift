extension CSVSource {
  /// What to replay and how.
  package struct Configuration: Sendable {
    package enum Timestamps: Hashable, Sendable {
      /// Samples keep the time that their rows state.
      case original
      /// Samples take the time at which they are sent. Rows of one stated time share one new time, and later stated
      /// times get later ones.
      case now
    }

    /// Paths, replayed one after another.
    package var files: [String]
    package var timestamps = Timestamps.original
    /// Rows a second; nil for as fast as they are taken.
    package var rate: Double?
    /// Begin again at the end.
    package var loops = false
    package var shard: CSVShard?
    /// Stop at the first row that cannot be used. A row without a GPU is skipped still.
    package var isStrict = false
    /// Bytes of a file that are taken in at once; a host's rows of one time within them make one scrape.
    package var chunkBytes = 8 << 20

    package init(files: [String]) { self.files = files }

    package func validate() throws(PipelineError) {
      func check(_ isRight: Bool, _ setting: String, _ reason: String) throws(PipelineError) {
        if !isRight { throw .invalidConfiguration(setting: setting, reason: reason) }
      }
      try check(!files.isEmpty, "--csv", "needs a file")
      try check(files.count <= 10_000, "--csv", "takes at most 10000 files")
      if let rate { try check(rate > 0 && rate.isFinite, "--rate", "must be a number above 0") }
      // A row may have 64 KiB, and each chunk must hold one at least.
      try check(chunkBytes >= 256 << 10, "the bytes of a chunk", "must be at least 256KiB")
    }
  }

  /// How far a replay has come.
  package struct Progress: Hashable, Sendable {
    /// Rows handed on or skipped, in this run of the program and all passes together.
    package var rows = 0
    package var rowsInvalid = 0
    package var rowsWithoutGPU = 0
    /// Of this pass over the files.
    package var bytes: Int64 = 0
    package var totalBytes: Int64 = 0
    /// Passes completed.
    package var passes = 0
  }
}

/// The share of a file that one of several streamers takes.
package struct CSVShard: Hashable, Sendable, CustomStringConvertible {
  package enum Key: String, Hashable, Sendable {
    /// By the host's name: a host's rows stay together, and its scrapes whole.
    case host
    /// By the GPU's UUID.
    case uuid
    /// Each n-th row.
    case row
  }

  /// From 0.
  package let index: Int
  package let count: Int
  package let key: Key

  /// Nil unless the index is one of `count`.
  package init?(index: Int, count: Int, key: Key = .host) {
    guard count > 0, index >= 0, index < count else { return nil }
    self.index = index
    self.count = count
    self.key = key
  }

  package var description: String { "\(index + 1)/\(count) by \(key.rawValue)" }

  /// Whether the text, a host's name or a UUID, belongs to this shard. FNV-1a: equal in every process.
  func takes(_ text: String) -> Bool {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
    return Int((hash ^ (hash >> 32)) % UInt64(count)) == index
  }

  func takes(row: Int64) -> Bool { Int(row % Int64(count)) == index }
}
