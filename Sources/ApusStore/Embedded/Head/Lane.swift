import ApusModel

/// The recent rows of one series set, or of one series that has timestamps of its own.
///
/// Rows with ascending timestamps go one after another; a row at or before the last one goes to a lane of late rows
/// beside them and is put in its place by whoever reads or seals.
///
/// Invariant (`@unchecked Sendable`): all mutable fields are read and written under the store's state lock only; what
/// `snapshot` hands out is immutable.
final class Lane: @unchecked Sendable {
  /// Rows of a chunk: the shape in which the head is encoded.
  static let rowsPerChunk = 120

  private enum Part {
    case frozen(RowBuffer, isAscending: Bool)
    case encoded(HeadChunk)
  }

  /// One bit for each series that was refused by the cardinality limit; empty when none was.
  let rejected: [UInt64]
  let width: Int
  private var parts: [Part] = []
  private var current: RowBuffer?
  private var late: RowBuffer?
  private var last = Int64.min
  private var hasRows = false
  /// One bit for each series that had no sample in any row; empty once all had one.
  private var unseen: [UInt64]

  init(width: Int, rejected: [UInt64]) {
    self.width = width
    self.rejected = rejected
    unseen = [UInt64](repeating: .max, count: (width + 63) / 64)
    if width % 64 != 0 { unseen[unseen.count - 1] = (1 << UInt64(width % 64)) - 1 }
  }

  /// Takes note of the series that a row has samples of.
  @inline(__always) func noteSeen(_ absent: Bitmap?) {
    if unseen.isEmpty { return }
    guard let absent else {
      unseen = []
      return
    }
    var rest: UInt64 = 0
    for word in unseen.indices {
      unseen[word] &= absent.words[word]
      rest |= unseen[word]
    }
    if rest == 0 { unseen = [] }
  }

  /// Whether a series of the lane has a sample in any of its rows.
  func isSeen(_ series: Int) -> Bool { unseen.isEmpty || unseen[series >> 6] >> UInt64(series & 63) & 1 == 0 }

  /// Whether a row at this instant would be late.
  func isLate(_ timestamp: Int64) -> Bool { hasRows && timestamp <= last }

  var lastTimestamp: Int64? { hasRows ? last : nil }

  /// Makes room for a row at this instant and returns the buffer it goes to. `growth` is what that takes in memory;
  /// `frozen` says that a buffer has been filled and waits to be encoded.
  func buffer(for timestamp: Int64, growth: inout Int, frozen: inout Bool) -> RowBuffer {
    if isLate(timestamp) {
      return Lane.room(&late, width, firstCapacity: 4, growth: &growth) { buffer in
        parts.append(.frozen(buffer, isAscending: false))
        frozen = true
      }
    }
    last = timestamp
    hasRows = true
    // A lane that has filled a buffer once will fill the next.
    let first = parts.isEmpty ? 4 : Lane.rowsPerChunk
    return Lane.room(&current, width, firstCapacity: first, growth: &growth) { buffer in
      parts.append(.frozen(buffer, isAscending: true))
      frozen = true
    }
  }

  private static func room(
    _ buffer: inout RowBuffer?, _ width: Int, firstCapacity: Int, growth: inout Int, freeze: (RowBuffer) -> Void
  ) -> RowBuffer {
    if let held = buffer {
      if !held.isFull { return held }
      if held.capacity < rowsPerChunk {
        let larger = held.copy(capacity: min(rowsPerChunk, held.capacity * 2))
        growth += larger.bytes - held.bytes
        buffer = larger
        return larger
      }
      freeze(held)
    }
    let fresh = RowBuffer(width: width, capacity: buffer == nil ? firstCapacity : rowsPerChunk)
    growth += fresh.bytes
    buffer = fresh
    return fresh
  }

  /// A frozen buffer and its place, for encoding outside of the lock.
  func firstFrozen(from start: Int) -> (index: Int, buffer: RowBuffer, isAscending: Bool)? {
    for index in parts.indices.dropFirst(start) {
      if case .frozen(let buffer, let isAscending) = parts[index] { return (index, buffer, isAscending) }
    }
    return nil
  }

  /// Puts an encoded chunk in its buffer's place; returns by how much that changes the memory taken.
  func install(_ chunk: HeadChunk, at index: Int) -> Int {
    guard case .frozen(let buffer, _) = parts[index] else { preconditionFailure("part \(index) is encoded already") }
    parts[index] = .encoded(chunk)
    return chunk.memoryBytes - buffer.bytes
  }

  /// The strips that overlap a range, as they are now.
  func snapshot(_ range: TimeRange) -> [Strip] {
    var result: [Strip] = []
    func add(_ strip: Strip) {
      if strip.rows > 0 && strip.overlaps(range) { result.append(strip) }
    }
    for part in parts {
      switch part {
      case .frozen(let buffer, let isAscending): add(Strip(buffer, isAscending: isAscending))
      case .encoded(let chunk): add(Strip(chunk))
      }
    }
    if let current { add(Strip(current, isAscending: true)) }
    if let late { add(Strip(late, isAscending: false)) }
    return result
  }
}
