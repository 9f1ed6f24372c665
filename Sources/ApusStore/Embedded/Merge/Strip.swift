import ApusModel

/// A run of rows with one timestamp column, wherever it lies: rows of the head, encoded rows of the head, or a stripe of
/// a block. Reading, sealing and compaction all merge strips, so there is one place that knows about duplicates.
struct Strip: Sendable {
  enum Content: Sendable {
    case rows(RowBuffer)
    case encoded(HeadChunk)
    case stripe(Block, group: Int, stripe: Int)
  }

  let content: Content
  let rows: Int
  let minimum: Int64
  let maximum: Int64
  /// The timestamps ascend strictly.
  let isAscending: Bool

  /// Of two samples of one series at one instant the one with the higher rank wins; block samples rank by the block's
  /// sequence, all below those of the head, which rank by arrival.
  static let headRank: UInt64 = 1 << 62

  init(_ buffer: RowBuffer, isAscending: Bool) {
    content = .rows(buffer)
    rows = buffer.count
    minimum = buffer.minimum
    maximum = buffer.maximum
    self.isAscending = isAscending || buffer.count == 1
  }

  init(_ chunk: HeadChunk) {
    content = .encoded(chunk)
    rows = chunk.rows
    minimum = chunk.minimum
    maximum = chunk.maximum
    isAscending = chunk.isAscending
  }

  init(_ block: Block, group: Int, stripe: Int) {
    let entry = block.groups[group].stripes[stripe]
    content = .stripe(block, group: group, stripe: stripe)
    rows = entry.rows
    minimum = entry.minimum
    maximum = entry.maximum
    isAscending = true
  }

  func overlaps(_ range: TimeRange) -> Bool {
    minimum <= range.end.milliseconds && range.start.milliseconds <= maximum
  }

  func timestamps() throws(StoreError) -> [Int64] {
    switch content {
    case .rows(let buffer): Array(UnsafeBufferPointer(start: buffer.timestamps, count: rows))
    case .encoded(let chunk): chunk.timestamps()
    case .stripe(let block, let group, let stripe): try block.timestamps(group: group, stripe: stripe)
    }
  }

  /// The rank of each row.
  func ranks() -> [UInt64] {
    switch content {
    case .rows(let buffer): (0..<rows).map { Strip.headRank + buffer.arrivals[$0] }
    case .encoded(let chunk): chunk.arrivals().map { Strip.headRank + $0 }
    case .stripe(let block, _, _): [UInt64](repeating: block.meta.sequence, count: rows)
    }
  }

  /// One series' column. Returns whether every row has a sample; where it has, `presence` is left alone.
  ///
  /// Invariant (unsafe memory): both targets have room for `rows` elements.
  func column(
    _ series: Int, into values: UnsafeMutablePointer<Double>, presence: UnsafeMutablePointer<UInt8>
  ) throws(StoreError) -> Bool {
    switch content {
    case .rows(let buffer): buffer.column(series, rows: rows, into: values, presence: presence)
    case .encoded(let chunk): chunk.column(series, into: values, presence: presence)
    case .stripe(let block, let group, let stripe):
      try block.column(group: group, stripe: stripe, row: series, into: values, presence: presence)
    }
  }

  /// What is known of a series' values without decoding them; nil where that is nothing.
  func statistics(_ series: Int) throws(StoreError) -> ChunkStatistics? {
    switch content {
    case .rows: nil
    case .encoded(let chunk): chunk.statistics(series)
    case .stripe(let block, let group, let stripe):
      try block.statistics(group: group, stripe: stripe, row: series)
    }
  }

  /// The series' value in the last row where that is known without decoding the column; nil where it is not.
  func last(_ series: Int) throws(StoreError) -> Double? {
    guard let statistics = try statistics(series), statistics.count == rows else { return nil }
    return statistics.last
  }

  /// Which rows have a sample of the series, without its values.
  func presence(_ series: Int, into presence: UnsafeMutablePointer<UInt8>) throws(StoreError) -> Bool {
    switch content {
    case .rows(let buffer): buffer.presence(series, rows: rows, into: presence)
    case .encoded(let chunk): chunk.presence(series, into: presence)
    case .stripe(let block, let group, let stripe):
      try block.presence(group: group, stripe: stripe, row: series, into: presence)
    }
  }
}

/// The strips of one lane of the head or one group of a block: all have the same series, in the same rows.
struct Track: Sendable {
  var strips: [Strip]
}

/// Where a series is found: a track, and which of its series it is.
struct SeriesPlace: Hashable, Sendable {
  var track: UInt32
  var row: UInt32

  var key: UInt64 { UInt64(track) << 32 | UInt64(row) }
}
