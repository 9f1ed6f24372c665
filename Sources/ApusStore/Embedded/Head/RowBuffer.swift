import ApusModel

/// Recent rows of one lane as they came: timestamps, arrival numbers and, row after row, the values.
///
/// Rows are only added, behind those that are there, so a reader that was told a count under the head's lock may read
/// that many rows later without it.
///
/// Invariant (`@unchecked Sendable`, unsafe memory): only the head writes, under its lock, and only rows at `count` and
/// above; `count` itself is read and changed under that lock alone. The memory is sized for `capacity` rows of `width`
/// values at init and given back in deinit, when no reader is left.
final class RowBuffer: @unchecked Sendable {
  let width: Int
  let capacity: Int
  /// Words of absent bits a row; none for a lane of one series, which has no row without it.
  let absentWords: Int
  private(set) var count = 0
  private(set) var minimum = Int64.max
  private(set) var maximum = Int64.min

  let timestamps: UnsafeMutablePointer<Int64>
  let arrivals: UnsafeMutablePointer<UInt64>
  let values: UnsafeMutablePointer<Double>
  let absents: UnsafeMutablePointer<UInt64>

  init(width: Int, capacity: Int) {
    self.width = width
    self.capacity = capacity
    absentWords = width == 1 ? 0 : (width + 63) / 64
    timestamps = .allocate(capacity: capacity)
    arrivals = .allocate(capacity: capacity)
    values = .allocate(capacity: capacity * width)
    absents = .allocate(capacity: max(1, capacity * absentWords))
  }

  deinit {
    timestamps.deallocate()
    arrivals.deallocate()
    values.deallocate()
    absents.deallocate()
  }

  var isFull: Bool { count == capacity }

  /// What the buffer takes in memory.
  var bytes: Int { capacity * (16 + width * 8 + absentWords * 8) + 160 }

  /// Adds a row of a set. `absent` is the scrape's own bitmap, `rejected` the series that the head did not take.
  func append(
    _ row: UnsafePointer<Double>, at timestamp: Int64, arrival: UInt64, absent: Bitmap?, rejected: [UInt64]
  ) {
    precondition(count < capacity, "row buffer of \(capacity) rows is full")
    (values + count * width).update(from: row, count: width)
    let words = absents + count * absentWords
    if let absent {
      for word in 0..<absentWords { words[word] = absent.words[word] }
    } else {
      words.update(repeating: 0, count: absentWords)
    }
    if !rejected.isEmpty {
      for word in 0..<absentWords { words[word] |= rejected[word] }
    }
    finishRow(timestamp, arrival)
  }

  /// Adds one sample to the buffer of a lane of one series.
  @inline(__always) func append(_ value: Double, at timestamp: Int64, arrival: UInt64) {
    precondition(count < capacity && width == 1, "row buffer of \(capacity) rows is full or wide")
    values[count] = value
    finishRow(timestamp, arrival)
  }

  /// The same rows in a larger buffer. Readers of this one keep it.
  func copy(capacity: Int) -> RowBuffer {
    let larger = RowBuffer(width: width, capacity: capacity)
    larger.timestamps.update(from: timestamps, count: count)
    larger.arrivals.update(from: arrivals, count: count)
    larger.values.update(from: values, count: count * width)
    larger.absents.update(from: absents, count: count * absentWords)
    larger.count = count
    larger.minimum = minimum
    larger.maximum = maximum
    return larger
  }

  @inline(__always) private func finishRow(_ timestamp: Int64, _ arrival: UInt64) {
    timestamps[count] = timestamp
    arrivals[count] = arrival
    minimum = min(minimum, timestamp)
    maximum = max(maximum, timestamp)
    count += 1
  }

  /// Copies one series' column of the first `rows` rows. Returns whether it is there in all of them; where it is,
  /// `presence` is left alone.
  func column(
    _ series: Int, rows: Int, into target: UnsafeMutablePointer<Double>, presence: UnsafeMutablePointer<UInt8>
  ) -> Bool {
    var source = values + series
    for row in 0..<rows {
      target[row] = source.pointee
      source += width
    }
    return self.presence(series, rows: rows, into: presence)
  }

  /// A bit for each series that is absent in one of the first `rows` rows; empty when there are no such bits.
  func everAbsent(rows: Int) -> [UInt64] {
    var result = [UInt64](repeating: 0, count: absentWords)
    var words = absents
    for _ in 0..<rows {
      for word in 0..<absentWords { result[word] |= words[word] }
      words += absentWords
    }
    return result
  }

  /// Which of the first `rows` rows have a sample of the series. Returns whether all have.
  func presence(_ series: Int, rows: Int, into presence: UnsafeMutablePointer<UInt8>) -> Bool {
    if absentWords == 0 { return true }
    let bit = UInt64(series & 63)
    var words = absents + (series >> 6)
    var absent: UInt64 = 0
    for _ in 0..<rows {
      absent |= words.pointee
      words += absentWords
    }
    if absent & (1 << bit) == 0 { return true }
    words = absents + (series >> 6)
    for row in 0..<rows {
      presence[row] = UInt8(truncatingIfNeeded: ~(words.pointee >> bit) & 1)
      words += absentWords
    }
    return false
  }
}
