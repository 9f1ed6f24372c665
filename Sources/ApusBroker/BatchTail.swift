/// The newest batches of a partition, in memory, so that those who read at its end do not touch the disk.
///
/// The batches share their bytes with whoever reads them. At most `bytesMax` are kept, the oldest go first.
struct BatchTail: Sendable {
  private var batches: [RecordBatch] = []
  /// Those before this place are gone; their places are reused when half of the array is.
  private var first = 0
  private(set) var bytes = 0
  var bytesMax: Int { didSet { trim() } }

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  /// The offset from which on all batches are here; nil when there are none.
  var startOffset: Int64? { first < batches.count ? batches[first].baseOffset : nil }

  mutating func append(_ batch: RecordBatch) {
    batches.append(batch)
    bytes += batch.bytes.count
    trim()
  }

  mutating func removeAll() {
    batches.removeAll()
    first = 0
    bytes = 0
  }

  /// The batches from the one that holds `offset` on, at least one if there is one, then as many as fit.
  func read(from offset: Int64, maxBytes: Int) -> [RecordBatch] {
    let count = batches.count - first
    let start = first + SegmentIndex.partition(count) { batches[first + $0].nextOffset > offset }
    var end = start
    var taken = 0
    while end < batches.count {
      taken += batches[end].bytes.count
      if end > start && taken > maxBytes { break }
      end += 1
    }
    return Array(batches[start..<end])
  }

  private mutating func trim() {
    while bytes > bytesMax, first < batches.count {
      bytes -= batches[first].bytes.count
      // Let go of the bytes now; the place itself is taken away below.
      batches[first] = RecordBatch(unchecked: [])
      first += 1
    }
    if first > 64, first * 2 > batches.count {
      batches.removeSubrange(..<first)
      first = 0
    }
  }
}
