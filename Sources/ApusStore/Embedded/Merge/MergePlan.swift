import ApusModel

/// How the strips of one or more tracks become one ascending timestamp column.
///
/// It is made once for all series that lie in the same tracks, and applied to each. Series of one set therefore share
/// one timestamp array.
struct MergePlan: Sendable {
  /// Rows of a strip that go to consecutive slots.
  struct Piece: Sendable {
    /// Which of the cohort's tracks.
    var member: Int
    var strip: Strip
    var firstRow: Int
    var rows: Int
    var firstSlot: Int
  }

  /// One row on its way to a slot. Entries are in ascending order of slot, then of rank: the last one present wins.
  struct Entry: Sendable {
    var piece: Int32
    var row: Int32
    var slot: Int32
  }

  private(set) var timestamps: [Int64] = []
  private(set) var pieces: [Piece] = []
  /// Empty when the pieces follow one another without a common instant, which is the usual case.
  private(set) var entries: [Entry] = []

  /// Plans for the strips of `members` (indices into `tracks`) within the range.
  init(_ tracks: [Track], members: [UInt32], range: TimeRange) throws(StoreError) {
    var found: [Piece] = []
    for (member, track) in members.enumerated() {
      for strip in tracks[Int(track)].strips where strip.rows > 0 && strip.overlaps(range) {
        found.append(Piece(member: member, strip: strip, firstRow: 0, rows: strip.rows, firstSlot: 0))
      }
    }
    found.sort { $0.strip.minimum < $1.strip.minimum }
    var isSimple = found.allSatisfy { $0.strip.isAscending }
    for index in found.indices.dropFirst() where found[index].strip.minimum <= found[index - 1].strip.maximum {
      isSimple = false
    }
    if isSimple { try planSimple(found, range) } else { try planGeneral(found, range) }
  }

  private mutating func planSimple(_ found: [Piece], _ range: TimeRange) throws(StoreError) {
    timestamps.reserveCapacity(found.reduce(0) { $0 + $1.rows })
    for var piece in found {
      let column = try piece.strip.timestamps()
      let first = column.firstIndex(atLeast: range.start.milliseconds)
      let end = range.end.milliseconds == .max ? column.count : column.firstIndex(atLeast: range.end.milliseconds + 1)
      if first >= end { continue }
      piece.firstRow = first
      piece.rows = end - first
      piece.firstSlot = timestamps.count
      timestamps += column[first..<end]
      pieces.append(piece)
    }
  }

  private mutating func planGeneral(_ found: [Piece], _ range: TimeRange) throws(StoreError) {
    struct Row {
      var timestamp: Int64
      var rank: UInt64
      var piece: Int32
      var row: Int32
    }
    var rows: [Row] = []
    for (index, piece) in found.enumerated() {
      let column = try piece.strip.timestamps()
      let ranks = piece.strip.ranks()
      for row in 0..<piece.rows where range.contains(Timestamp(milliseconds: column[row])) {
        rows.append(Row(timestamp: column[row], rank: ranks[row], piece: Int32(index), row: Int32(row)))
      }
    }
    // Without an entry the plan would be taken for a simple one.
    if rows.isEmpty { return }
    // The row breaks the tie within one record, where the later sample wins.
    rows.sort { ($0.timestamp, $0.rank, $0.piece, $0.row) < ($1.timestamp, $1.rank, $1.piece, $1.row) }
    pieces = found
    entries.reserveCapacity(rows.count)
    for row in rows {
      if timestamps.last != row.timestamp { timestamps.append(row.timestamp) }
      entries.append(Entry(piece: row.piece, row: row.row, slot: Int32(timestamps.count - 1)))
    }
  }
}

extension [Int64] {
  /// The first index whose element is at or above a bound, in an ascending array; `count` when there is none.
  func firstIndex(atLeast bound: Int64) -> Int {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if self[middle] < bound { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
