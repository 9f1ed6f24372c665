import ApusModel

/// A roll-up as it is open: what the manifest says of it, and its file where it has one.
struct Rollup: Sendable {
  var meta: RollupMeta
  var block: Block?

  /// A series in the file.
  struct Series {
    var labels: Labels
    var group: Int
    /// Of its first column.
    var row: Int
    var isCounter: Bool
  }

  /// The series that meet the matchers.
  func series(_ matchers: [CompiledMatcher]) throws(StoreError) -> [Series] {
    guard let block else { return [] }
    var result: [Series] = []
    var counters: [Int: Set<Int>] = [:]
    for (group, rows) in try block.match(matchers + [RollupColumn.first.matcher]) { counters[group] = Set(rows) }
    for (group, rows) in try block.match(matchers + [RollupColumn.last.matcher]) {
      for (labels, row) in zip(try block.labels(group: group, rows: rows), rows) {
        result.append(
          Series(
            labels: RollupColumn.series(of: labels), group: group, row: row,
            isCounter: counters[group]?.contains(row + RollupColumn.first.place) ?? false))
      }
    }
    return result
  }

  /// Memory for the columns of a stripe that one series after another is read into.
  struct Scratch {
    fileprivate var values: [[Double]]
    fileprivate var presence: [[UInt8]]
    /// The timestamps of the stripe that was read last: the series of a group come one after another.
    fileprivate var stripe: (block: UInt64, group: Int, stripe: Int)?
    fileprivate var timestamps: [Int64] = []

    init() {
      let count = RollupColumn.allCases.count + 1
      values = Array(repeating: [Double](repeating: 0, count: ValueChunk.rowsMax), count: count)
      presence = Array(repeating: [UInt8](repeating: 0, count: ValueChunk.rowsMax), count: count)
    }
  }

  /// Hands out the buckets of a series that begin in a range, ascending. Columns that are not asked for are left as if
  /// there had been no number; `last` and `count` must be asked for.
  func read(
    _ series: Series, beginningIn range: TimeRange, columns: Set<RollupColumn>, scratch: inout Scratch,
    _ body: (_ start: Int64, _ bucket: Aggregate) -> Void
  ) throws(StoreError) {
    guard let block else { return }
    let grid = TimeGrid(step: meta.resolution)
    let stripes = block.groups[series.group].stripes
    let rows = TimeRange(
      start: range.start, end: Timestamp(milliseconds: grid.window(of: range.end.milliseconds).end))
    var wanted = columns
    if !series.isCounter { wanted.formIntersection(RollupColumn.gauge) }
    precondition(wanted.isSuperset(of: [.last, .count]), "without the last sample and the count there is no bucket")
    for stripe in stripes.indices
    where stripes[stripe].minimum <= rows.end.milliseconds && stripes[stripe].maximum >= rows.start.milliseconds {
      let count = stripes[stripe].rows
      if scratch.stripe.map({ $0 != (block.meta.id, series.group, stripe) }) ?? true {
        scratch.timestamps = try block.timestamps(group: series.group, stripe: stripe)
        scratch.stripe = (block.meta.id, series.group, stripe)
      }
      for column in RollupColumn.allCases {
        let index = Int(column.rawValue)
        if !wanted.contains(column) {
          for row in 0..<count { scratch.presence[index][row] = 0 }
          continue
        }
        let isWhole = try Rollup.column(
          block, series.group, stripe, series.row + column.place, &scratch.values[index], &scratch.presence[index])
        if isWhole { for row in 0..<count { scratch.presence[index][row] = 1 } }
      }
      for row in 0..<count where scratch.presence[Int(RollupColumn.last.rawValue)][row] != 0 {
        let start = grid.window(of: scratch.timestamps[row]).start
        guard start >= range.start.milliseconds, start <= range.end.milliseconds else { continue }
        body(start, Rollup.bucket(scratch, row))
      }
    }
  }

  private static func column(
    _ block: Block, _ group: Int, _ stripe: Int, _ row: Int, _ values: inout [Double], _ presence: inout [UInt8]
  ) throws(StoreError) -> Bool {
    var failure: StoreError?
    let isWhole = values.withUnsafeMutableBufferPointer { values in
      presence.withUnsafeMutableBufferPointer { presence -> Bool in
        do throws(StoreError) {
          return try block.column(
            group: group, stripe: stripe, row: row, into: values.baseAddress!, presence: presence.baseAddress!)
        } catch {
          failure = error
          return false
        }
      }
    }
    if let failure { throw failure }
    return isWhole
  }

  private static func bucket(_ scratch: borrowing Scratch, _ row: Int) -> Aggregate {
    func value(_ column: RollupColumn) -> Double? {
      let index = Int(column.rawValue)
      return scratch.presence[index][row] != 0 ? scratch.values[index][row] : nil
    }
    var bucket = Aggregate()
    bucket.isEmpty = false
    bucket.lastInstant = scratch.timestamps[row]
    bucket.last = value(.last) ?? .nan
    bucket.minimum = value(.minimum) ?? .nan
    bucket.maximum = value(.maximum) ?? .nan
    bucket.sum.add(value(.sum) ?? 0)
    // At most the samples of a bucket; a damaged file is found out by its checksums and not by this.
    bucket.count = value(.count).flatMap { Int(exactly: $0) } ?? 0
    bucket.first = value(.first) ?? .nan
    bucket.resets = value(.resets) ?? 0
    bucket.lastNumber = value(.lastNumber) ?? bucket.last
    return bucket
  }
}
