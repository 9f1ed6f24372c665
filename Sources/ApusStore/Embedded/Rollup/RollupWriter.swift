import ApusIO
import ApusModel

/// Writes the buckets of one series after another as a roll-up's file.
///
/// Series whose buckets end at the same instants share a group; one with a few other instants is taken along with gaps.
struct RollupWriter: ~Copyable {
  /// Columns of one group, so that the block's writer does not divide a series.
  private static let columnsMax = 1024

  private struct Pending {
    var labels: Labels
    var isCounter: Bool
    var buckets: [Aggregate]
  }

  private var writer: BlockWriter
  private let disk: any Disk
  private let path: String
  private var pending: [Pending] = []
  private var columns = 0
  /// The rows of the pending series together, ascending.
  private var instants: [Int64] = []
  private(set) var buckets = 0

  init(_ disk: any Disk, path: String, options: BlockWriter.Options) throws(StoreError) {
    self.disk = disk
    self.path = path
    do throws(DiskError) { writer = try BlockWriter(disk, path: path, options: options) } catch { throw .disk(error) }
  }

  /// Adds a series' buckets, ascending, none of them empty.
  mutating func add(_ labels: Labels, _ rows: [Aggregate], isCounter: Bool) throws(StoreError) {
    if rows.isEmpty { return }
    buckets += rows.count
    let own = rows.map(\.lastInstant)
    let needed = (isCounter ? RollupColumn.counter : RollupColumn.gauge).count
    var shared = own
    if !pending.isEmpty && own != instants { shared = RollupWriter.union(own, instants) }
    let most = max(own.count, instants.count)
    if !pending.isEmpty && (shared.count > most + most / 4 + 8 || columns + needed > RollupWriter.columnsMax) {
      try flush()
      shared = own
    }
    instants = shared
    columns += needed
    pending.append(Pending(labels: labels, isCounter: isCounter, buckets: rows))
  }

  private static func union(_ left: [Int64], _ right: [Int64]) -> [Int64] {
    var result: [Int64] = []
    result.reserveCapacity(left.count + 8)
    var other = 0
    for instant in left {
      while other < right.count && right[other] < instant {
        result.append(right[other])
        other += 1
      }
      if other < right.count && right[other] == instant { other += 1 }
      result.append(instant)
    }
    result += right[other...]
    return result
  }

  private mutating func flush() throws(StoreError) {
    if pending.isEmpty { return }
    writer.beginGroup(timestamps: instants)
    var values = [Double](repeating: 0, count: instants.count)
    var presence = [UInt8](repeating: 0, count: instants.count)
    for series in pending {
      for column in series.isCounter ? RollupColumn.counter : RollupColumn.gauge {
        var present = 0
        var next = 0
        for (row, instant) in instants.enumerated() {
          var value: Double?
          if next < series.buckets.count && series.buckets[next].lastInstant == instant {
            value = RollupWriter.value(of: column, series.buckets[next])
            next += 1
          }
          values[row] = value ?? 0
          presence[row] = value == nil ? 0 : 1
          if value != nil { present += 1 }
        }
        do throws(DiskError) {
          try writer.addSeries(
            column.labels(of: series.labels), values: values, presence: present == values.count ? nil : presence,
            present: present)
        } catch { throw .disk(error) }
      }
    }
    do throws(DiskError) { try writer.endGroup() } catch { throw .disk(error) }
    pending.removeAll()
    columns = 0
    instants = []
  }

  private static func value(of column: RollupColumn, _ bucket: Aggregate) -> Double? {
    switch column {
    case .last: bucket.last
    case .minimum: bucket.minimum
    case .maximum: bucket.maximum
    case .sum: bucket.sum.value
    case .count: Double(bucket.count)
    case .first: bucket.first.isNaN ? nil : bucket.first
    case .resets: bucket.resets == 0 ? nil : bucket.resets
    case .lastNumber: bucket.last.isNaN && !bucket.lastNumber.isNaN ? bucket.lastNumber : nil
    }
  }

  /// Ends the file. With no series, or when it is not wanted, there is no file and no description of it.
  consuming func finish(
    id: UInt64, sequence: UInt64, tombstonesApplied: UInt64, isWanted: Bool
  ) throws(StoreError) -> BlockMeta? {
    guard isWanted && buckets > 0 else {
      do throws(DiskError) { try disk.remove(path) } catch { throw .disk(error) }
      return nil
    }
    try flush()
    do throws(DiskError) {
      return try writer.finish(id: id, sequence: sequence, tombstonesApplied: tombstonesApplied)
    } catch { throw .disk(error) }
  }
}
