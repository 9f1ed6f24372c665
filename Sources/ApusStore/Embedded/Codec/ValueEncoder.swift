import ApusIO
import ApusModel

/// Encodes value chunks; tries the codecs that may fit and keeps the smallest result.
///
/// Invariant (unsafe memory): the scratch buffers are owned by this value and have `ValueChunk.rowsMax` elements, and no
/// chunk has more rows (checked on entry).
package struct ValueEncoder: ~Copyable {
  private let integers: UnsafeMutablePointer<Int64>
  private let dense: UnsafeMutablePointer<Double>
  private let exceptions: UnsafeMutablePointer<Int32>
  private var integerEncoder = IntegerEncoder()
  private var codedEncoder = CodedIntegerEncoder()
  /// Whether chunks may be entropy-coded: some ns a value more, and a fifth fewer bytes.
  private let isCoding: Bool

  /// An encoder with scratch memory of its own. `isCoding` allows entropy-coded chunks, for what is written to be kept.
  package init(isCoding: Bool = false) {
    self.isCoding = isCoding
    integers = .allocate(capacity: ValueChunk.rowsMax)
    dense = .allocate(capacity: ValueChunk.rowsMax)
    exceptions = .allocate(capacity: ValueChunk.rowsMax)
    integers.initialize(repeating: 0, count: ValueChunk.rowsMax)
    dense.initialize(repeating: 0, count: ValueChunk.rowsMax)
    exceptions.initialize(repeating: 0, count: ValueChunk.rowsMax)
  }

  deinit {
    integers.deallocate()
    dense.deallocate()
    exceptions.deallocate()
  }

  /// Appends one chunk. `presence` has a byte a row, 0 where there is no sample; nil when all rows have one.
  package mutating func encode(
    _ values: UnsafePointer<Double>, presence: UnsafePointer<UInt8>?, rows: Int, to out: inout OutputBuffer
  ) {
    precondition(rows > 0 && rows <= ValueChunk.rowsMax, "a chunk of \(rows) rows")
    guard let presence else { return encodeDense(values, count: rows, gaps: nil, rows: rows, to: &out) }
    var count = 0
    for row in 0..<rows where presence[row] != 0 {
      dense[count] = values[row]
      count += 1
    }
    if count == 0 { return }
    encodeDense(dense, count: count, gaps: count == rows ? nil : presence, rows: rows, to: &out)
  }

  private mutating func encodeDense(
    _ values: UnsafePointer<Double>, count: Int, gaps: UnsafePointer<UInt8>?, rows: Int, to out: inout OutputBuffer
  ) {
    let runsMax = max(1, count / 6)
    let runs = countRuns(values, count, limit: runsMax)
    let start = out.count
    if runs == 1 {
      putHeader(.constant, values, 1, gaps, rows, to: &out)
      out.putNumber(values[0])
      return
    }
    if runs <= runsMax {
      putHeader(.runLength, values, count, gaps, rows, to: &out)
      putRuns(values, count, runs, to: &out)
      // So few runs that nothing else could be smaller.
      if runs * 24 <= count { return }
      let length = out.count - start
      if encodeWide(values, count, gaps, rows, limit: length, to: &out) {
        // The second form is smaller: it moves over the first.
        moveDown(&out, from: start + length, to: start)
      } else {
        out.truncate(to: start + length)
      }
      return
    }
    _ = encodeWide(values, count, gaps, rows, limit: .max, to: &out)
  }

  private func moveDown(_ out: inout OutputBuffer, from source: Int, to target: Int) {
    let length = out.count - source
    (out.base + target).copyMemory(from: out.base + source, byteCount: length)
    out.truncate(to: target + length)
  }

  /// Appends the chunk as decimals, else as differing bits, else raw. Returns false when it is not below `limit`.
  private mutating func encodeWide(
    _ values: UnsafePointer<Double>, _ count: Int, _ gaps: UnsafePointer<UInt8>?, _ rows: Int, limit: Int,
    to out: inout OutputBuffer
  ) -> Bool {
    let start = out.count
    var exceptionCount = 0
    if let exponent = DecimalScaling.scale(
      values, count: count, into: integers, exceptions: exceptions, exceptionsMax: count / 8,
      exceptionCount: &exceptionCount), sumsFit(count)
    {
      if isCoding && exceptionCount == 0 && encodeCoded(count, gaps, rows, exponent: exponent, to: &out) {
        let length = out.count - start
        putPacked(values, count, gaps, rows, exponent: exponent, to: &out)
        // What is regular, such as a counter at one rate, packs into less than a table takes.
        if out.count - start < 2 * length {
          moveDown(&out, from: start + length, to: start)
        } else {
          out.truncate(to: start + length)
        }
        return out.count - start < limit
      }
      putHeader(.decimal, values, exceptionCount == 0 ? 0 : count, gaps, rows, to: &out)
      if exceptionCount == 0 {
        out.put(UInt8(exponent))
        putIntegerStatistics(count, to: &out)
      } else {
        out.put(UInt8(exponent) | ValueChunk.exceptionsFlag)
        putStatistics(values, count, to: &out)
        out.putVarint(UInt64(exceptionCount))
        var last: Int32 = 0
        for place in 0..<exceptionCount {
          out.putVarint(UInt64(exceptions[place] - last))
          last = exceptions[place]
          out.putNumber(values[Int(exceptions[place])])
        }
      }
      integerEncoder.encode(integers, count: count, to: &out)
      // A long decimal in many bits may still be longer than its differing bits.
      if out.count - start <= count * 6 { return out.count - start < limit }
    }
    let decimalEnd = out.count
    putHeader(.xor, values, count, gaps, rows, to: &out)
    let afterHeader = out.count
    putStatistics(values, count, to: &out)
    XORCodec.encode(values, count: count, to: &out)
    if out.count - decimalEnd > (afterHeader - decimalEnd) + 24 + count * 8 {
      out.truncate(to: decimalEnd)
      putHeader(.raw, values, count, gaps, rows, to: &out)
      putStatistics(values, count, to: &out)
      out.put(UnsafeRawBufferPointer(start: values, count: count * 8))
    }
    if decimalEnd > start {
      if out.count - decimalEnd < decimalEnd - start {
        moveDown(&out, from: decimalEnd, to: start)
      } else {
        out.truncate(to: decimalEnd)
      }
    }
    return out.count - start < limit
  }

  /// Appends the scaled integers in mini-blocks.
  private mutating func putPacked(
    _ values: UnsafePointer<Double>, _ count: Int, _ gaps: UnsafePointer<UInt8>?, _ rows: Int, exponent: Int,
    to out: inout OutputBuffer
  ) {
    putHeader(.decimal, values, 0, gaps, rows, to: &out)
    out.put(UInt8(exponent))
    putIntegerStatistics(count, to: &out)
    integerEncoder.encode(integers, count: count, to: &out)
  }

  /// Whether the distances between the scaled integers add up within 64 bits: 1,024 of those that `DecimalScaling` takes
  /// always do, `ValueChunk.rowsMax` of half their size.
  private func sumsFit(_ count: Int) -> Bool {
    if count <= 1024 { return true }
    let half = DecimalScaling.magnitude / 2
    var misfit: UInt64 = 0
    for index in 0..<count { misfit |= UInt64(bitPattern: integers[index] &+ half) >> 51 }
    return misfit == 0
  }

  /// Appends the scaled integers entropy-coded; false, with nothing appended, when that is not for them.
  private mutating func encodeCoded(
    _ count: Int, _ gaps: UnsafePointer<UInt8>?, _ rows: Int, exponent: Int, to out: inout OutputBuffer
  ) -> Bool {
    let start = out.count
    putHeader(.coded, dense, 0, gaps, rows, to: &out)
    out.put(UInt8(exponent))
    putIntegerStatistics(count, to: &out)
    if codedEncoder.encode(integers, count: count, to: &out) && out.count - start <= count * 6 { return true }
    out.truncate(to: start)
    return false
  }

  /// The kind, the flags and, where rows are missing, which. The first `looked` values may be NaN.
  private func putHeader(
    _ kind: ValueChunk.Kind, _ values: UnsafePointer<Double>, _ looked: Int, _ gaps: UnsafePointer<UInt8>?,
    _ rows: Int, to out: inout OutputBuffer
  ) {
    var byte = kind.rawValue
    for index in 0..<looked where values[index].isNaN {
      byte |= ValueChunk.nanFlag
      if StaleMarker.isStale(values[index]) { byte |= ValueChunk.staleFlag }
    }
    if gaps != nil { byte |= ValueChunk.gapsFlag }
    out.put(byte)
    if let gaps { Presence.encode(gaps, rows: rows, to: &out) }
  }

  /// The number of runs of equal bits, or a number above `limit`.
  private func countRuns(_ values: UnsafePointer<Double>, _ count: Int, limit: Int) -> Int {
    var runs = 1
    var previous = values[0].bitPattern
    for index in 1..<max(1, count) {
      let current = values[index].bitPattern
      if current != previous {
        runs += 1
        if runs > limit { return runs }
        previous = current
      }
    }
    return runs
  }

  private func putRuns(_ values: UnsafePointer<Double>, _ count: Int, _ runs: Int, to out: inout OutputBuffer) {
    out.putVarint(UInt64(runs))
    var start = 0
    while start < count {
      var end = start + 1
      while end < count && values[end].bitPattern == values[start].bitPattern { end += 1 }
      out.putVarint(UInt64(end - start))
      out.putNumber(values[start])
      start = end
    }
  }

  private func putStatistics(_ values: UnsafePointer<Double>, _ count: Int, to out: inout OutputBuffer) {
    let statistics = ChunkStatistics(of: values, count: count)
    for value in [statistics.minimum, statistics.maximum, statistics.sum] { out.put(word: value.bitPattern) }
    out.putNumber(statistics.first)
    out.putNumber(statistics.last)
  }

  /// The same as distances between the integers; the first one leads the integers themselves.
  private func putIntegerStatistics(_ count: Int, to out: inout OutputBuffer) {
    let first = integers[0]
    var minimum = first
    var maximum = first
    var distance: Int64 = 0
    for index in 0..<count {
      let value = integers[index]
      minimum = min(minimum, value)
      maximum = max(maximum, value)
      distance &+= value &- first
    }
    out.putVarint(UInt64(first - minimum))
    out.putVarint(UInt64(maximum - first))
    out.putZigzag(integers[count - 1] - first)
    out.putZigzag(distance)
  }
}
