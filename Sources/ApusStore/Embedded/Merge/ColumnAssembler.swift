import ApusModel

/// Times in which samples of a series are hidden by tombstones, by `SeriesPlace.key`.
typealias MaskTable = [UInt64: [TimeRange]]

/// Applies a merge plan to one series after another, into memory that it reuses.
///
/// Invariant (unsafe memory): `values` and `presence` have `capacity` elements and `prepare` makes that at least the
/// plan's slots; the scratch buffers grow with the rows of the pieces in the same way.
struct ColumnAssembler: ~Copyable {
  private(set) var values: UnsafeMutablePointer<Double>
  private(set) var presence: UnsafeMutablePointer<UInt8>
  private var capacity = ValueChunk.rowsMax
  private var scratchValues: UnsafeMutablePointer<Double>
  private var scratchPresence: UnsafeMutablePointer<UInt8>
  private var scratchCapacity = ValueChunk.rowsMax

  init() {
    values = .allocate(capacity: capacity)
    presence = .allocate(capacity: capacity)
    scratchValues = .allocate(capacity: scratchCapacity)
    scratchPresence = .allocate(capacity: scratchCapacity)
  }

  deinit {
    values.deallocate()
    presence.deallocate()
    scratchValues.deallocate()
    scratchPresence.deallocate()
  }

  /// Fills the first `plan.timestamps.count` elements of `values`. Returns how many have a sample; when not all have,
  /// `presence` says which. `places` are the series' places in the plan's tracks, in the order of its members.
  mutating func assemble(
    _ plan: borrowing MergePlan, _ places: some RandomAccessCollection<SeriesPlace>, masks: MaskTable
  ) throws(StoreError) -> Int {
    let slots = plan.timestamps.count
    prepare(slots)
    if plan.entries.isEmpty { return try assembleSimple(plan, places, masks) }
    return try assembleGeneral(plan, places, masks)
  }

  private mutating func prepare(_ slots: Int) {
    if slots > capacity {
      values.deallocate()
      presence.deallocate()
      capacity = max(slots, capacity * 2)
      values = .allocate(capacity: capacity)
      presence = .allocate(capacity: capacity)
    }
  }

  private mutating func prepareScratch(_ rows: Int) {
    if rows > scratchCapacity {
      scratchValues.deallocate()
      scratchPresence.deallocate()
      scratchCapacity = max(rows, scratchCapacity * 2)
      scratchValues = .allocate(capacity: scratchCapacity)
      scratchPresence = .allocate(capacity: scratchCapacity)
    }
  }

  private mutating func assembleSimple(
    _ plan: borrowing MergePlan, _ places: some RandomAccessCollection<SeriesPlace>, _ masks: MaskTable
  ) throws(StoreError) -> Int {
    var present = 0
    // Whether `presence` is filled in for all slots before the piece at hand.
    var tracked = false
    for piece in plan.pieces {
      let place = places[places.index(places.startIndex, offsetBy: piece.member)]
      let slot = piece.firstSlot
      var all: Bool
      if piece.rows == piece.strip.rows {
        all = try piece.strip.column(Int(place.row), into: values + slot, presence: presence + slot)
      } else {
        prepareScratch(piece.strip.rows)
        all = try piece.strip.column(Int(place.row), into: scratchValues, presence: scratchPresence)
        (values + slot).update(from: scratchValues + piece.firstRow, count: piece.rows)
        if !all { (presence + slot).update(from: scratchPresence + piece.firstRow, count: piece.rows) }
      }
      if !masks.isEmpty, let hidden = masks[place.key] {
        if all { (presence + slot).update(repeating: 1, count: piece.rows) }
        all = false
        for row in slot..<slot + piece.rows
        where hidden.contains(where: { $0.contains(Timestamp(milliseconds: plan.timestamps[row])) }) {
          presence[row] = 0
        }
      }
      if all {
        if tracked { (presence + slot).update(repeating: 1, count: piece.rows) }
        present += piece.rows
      } else {
        if !tracked { presence.update(repeating: 1, count: slot) }
        tracked = true
        for row in slot..<slot + piece.rows { present += Int(presence[row]) }
      }
    }
    return present
  }

  private mutating func assembleGeneral(
    _ plan: borrowing MergePlan, _ places: some RandomAccessCollection<SeriesPlace>, _ masks: MaskTable
  ) throws(StoreError) -> Int {
    presence.update(repeating: 0, count: plan.timestamps.count)
    // All pieces' columns one after another, then the rows in order of rank into their slots.
    var starts: [Int] = []
    starts.reserveCapacity(plan.pieces.count)
    var total = 0
    for piece in plan.pieces {
      starts.append(total)
      total += piece.strip.rows
    }
    prepareScratch(total)
    for (index, piece) in plan.pieces.enumerated() {
      let place = places[places.index(places.startIndex, offsetBy: piece.member)]
      let start = starts[index]
      let all = try piece.strip.column(
        Int(place.row), into: scratchValues + start, presence: scratchPresence + start)
      if all { (scratchPresence + start).update(repeating: 1, count: piece.strip.rows) }
    }
    var present = 0
    for entry in plan.entries {
      let piece = Int(entry.piece)
      let source = starts[piece] + Int(entry.row)
      let slot = Int(entry.slot)
      if scratchPresence[source] == 0 { continue }
      if !masks.isEmpty {
        let place = places[places.index(places.startIndex, offsetBy: plan.pieces[piece].member)]
        let instant = Timestamp(milliseconds: plan.timestamps[slot])
        if let hidden = masks[place.key], hidden.contains(where: { $0.contains(instant) }) { continue }
      }
      values[slot] = scratchValues[source]
      present += 1 - Int(presence[slot])
      presence[slot] = 1
    }
    return present
  }
}
