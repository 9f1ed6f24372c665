import ApusIO

/// Packs a run of integers: the codec under both the timestamps and the scaled decimals (docs/format/store.md, "Integers").
///
/// The run is cut into mini-blocks of 64. Each is stored as values, as differences or as differences of differences,
/// whichever needs the fewest bits: a base and, above it, numbers of one width. A few far outliers are patched, so that a
/// job that starts does not widen the other 63. All arithmetic wraps, so every 64-bit integer comes back as it went in.
enum MiniBlock {
  static let size = 64
  /// Header bytes are `order * 65 + width`; from here on they are `patchedHeader + order`, with the width in a byte of its own.
  static let patchedHeader = 195
  /// More outliers than this are not patched: widening is cheaper.
  static let patchesMax = 12
}

/// Encodes integer runs; keeps its scratch memory from run to run.
///
/// Invariant (unsafe memory): the three scratch buffers are owned by this value and have `MiniBlock.size` elements;
/// a mini-block never has more.
package struct IntegerEncoder: ~Copyable {
  private let first: UnsafeMutablePointer<Int64>
  private let second: UnsafeMutablePointer<Int64>
  private let unsigned: UnsafeMutablePointer<UInt64>

  /// An encoder with scratch memory of its own.
  package init() {
    first = .allocate(capacity: MiniBlock.size)
    second = .allocate(capacity: MiniBlock.size)
    unsigned = .allocate(capacity: MiniBlock.size)
    first.initialize(repeating: 0, count: MiniBlock.size)
    second.initialize(repeating: 0, count: MiniBlock.size)
    unsigned.initialize(repeating: 0, count: MiniBlock.size)
  }

  deinit {
    first.deallocate()
    second.deallocate()
    unsigned.deallocate()
  }

  /// Appends `count` integers to `out`.
  /// - Precondition: at least one.
  package func encode(_ values: UnsafePointer<Int64>, count: Int, to out: inout OutputBuffer) {
    out.putZigzag(values[0])
    var previousDelta: Int64 = 0
    var start = 1
    while start < count {
      let number = min(MiniBlock.size, count - start)
      encodeMiniBlock(values + start, count: number, previousDelta: previousDelta, to: &out)
      start += number
      previousDelta = values[start - 1] &- values[start - 2]
    }
  }

  /// `values[-1]` is the value before the block.
  private func encodeMiniBlock(
    _ values: UnsafePointer<Int64>, count: Int, previousDelta: Int64, to out: inout OutputBuffer
  ) {
    var range0 = Extent(values[0])
    for index in 0..<count {
      first[index] = values[index] &- values[index - 1]
      range0.add(values[index])
    }
    var range1 = Extent(first[0])
    second[0] = first[0] &- previousDelta
    for index in 1..<max(1, count) {
      range1.add(first[index])
      second[index] = first[index] &- first[index - 1]
    }
    var range2 = Extent(second[0])
    for index in 1..<max(1, count) { range2.add(second[index]) }

    let width0 = range0.width
    let width1 = range1.width
    let width2 = range2.width
    let least = min(width0, min(width1, width2))
    // Two bits of slack: an order that a single outlier made wide may still win once that is patched.
    let slack = least < 3 ? 0 : 6
    var best = Choice(order: 0, width: 0, patches: 0, bits: .max)
    if width0 <= least + slack {
      best.improve(choose(values, count, order: 0, range: range0, base: range0.minimum &- values[-1]))
    }
    if width1 <= least + slack { best.improve(choose(first, count, order: 1, range: range1, base: range1.minimum)) }
    if width2 <= least + slack { best.improve(choose(second, count, order: 2, range: range2, base: range2.minimum)) }
    switch best.order {
    case 0: put(best, values, count, minimum: range0.minimum, base: range0.minimum &- values[-1], to: &out)
    case 1: put(best, first, count, minimum: range1.minimum, base: range1.minimum, to: &out)
    default: put(best, second, count, minimum: range2.minimum, base: range2.minimum, to: &out)
    }
  }

  private struct Extent {
    var minimum: Int64
    var maximum: Int64

    init(_ value: Int64) {
      minimum = value
      maximum = value
    }

    @inline(__always) mutating func add(_ value: Int64) {
      minimum = min(minimum, value)
      maximum = max(maximum, value)
    }

    /// How many bits the distance from the minimum takes.
    var width: Int { 64 - UInt64(bitPattern: maximum &- minimum).leadingZeroBitCount }
  }

  private struct Choice {
    var order: Int
    var width: Int
    var patches: Int
    var bits: Int

    mutating func improve(_ other: Choice) {
      if other.bits < bits { self = other }
    }
  }

  /// The cheapest width for one order.
  private func choose(
    _ numbers: UnsafePointer<Int64>, _ count: Int, order: Int, range: Extent, base: Int64
  ) -> Choice {
    let full = range.width
    let baseBits = 8 * OutputBuffer.zigzagSize(base)
    var best = Choice(order: order, width: full, patches: 0, bits: count * full + baseBits)
    if full < 4 || count < 8 { return best }
    // How many numbers need exactly so many bits, by a histogram of two words' worth of counters.
    return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 65) { histogram in
      histogram.initialize(repeating: 0)
      for index in 0..<count {
        let distance = UInt64(bitPattern: numbers[index] &- range.minimum)
        histogram[64 - distance.leadingZeroBitCount] &+= 1
      }
      var patches = 0
      var width = full
      while width > 0 {
        patches += Int(histogram[width])
        width -= 1
        if patches > MiniBlock.patchesMax { break }
        let highBytes = (full - width + 6) / 7
        let bits = count * width + baseBits + 16 + patches * 8 * (1 + highBytes)
        if bits < best.bits { best = Choice(order: order, width: width, patches: patches, bits: bits) }
      }
      return best
    }
  }

  private func put(
    _ choice: Choice, _ numbers: UnsafePointer<Int64>, _ count: Int, minimum: Int64, base: Int64,
    to out: inout OutputBuffer
  ) {
    let width = choice.width
    if choice.patches == 0 {
      out.put(UInt8(choice.order * 65 + width))
      out.putZigzag(base)
      for index in 0..<count { unsigned[index] = UInt64(bitPattern: numbers[index] &- minimum) }
      out.putPacked(unsigned, count: count, width: width)
      return
    }
    out.put(UInt8(MiniBlock.patchedHeader + choice.order))
    out.put(UInt8(width))
    out.put(UInt8(choice.patches))
    out.putZigzag(base)
    let mask: UInt64 = (1 << UInt64(width)) - 1
    for index in 0..<count { unsigned[index] = UInt64(bitPattern: numbers[index] &- minimum) & mask }
    out.putPacked(unsigned, count: count, width: width)
    for index in 0..<count {
      let high = UInt64(bitPattern: numbers[index] &- minimum) >> UInt64(width)
      if high != 0 {
        out.put(UInt8(index))
        out.putVarint(high)
      }
    }
  }
}

extension ByteReader {
  /// Reads `count` integers that `IntegerEncoder.encode` wrote.
  ///
  /// Invariant (unsafe memory): `target` has room for `count` integers; the callers allocate by the same count.
  package mutating func readIntegers(into target: UnsafeMutablePointer<Int64>, count: Int) throws(ByteReaderError) {
    guard count > 0 else { return }
    target[0] = try readZigzag()
    var delta: Int64 = 0
    var start = 1
    while start < count {
      let number = min(MiniBlock.size, count - start)
      try readMiniBlock(into: target + start, count: number, previousDelta: delta)
      start += number
      delta = target[start - 1] &- target[start - 2]
    }
  }

  private mutating func readMiniBlock(
    into target: UnsafeMutablePointer<Int64>, count: Int, previousDelta: Int64
  ) throws(ByteReaderError) {
    let header = Int(try read(UInt8.self))
    var order = header / 65
    var width = header % 65
    var patches = 0
    if header >= MiniBlock.patchedHeader {
      order = header - MiniBlock.patchedHeader
      width = Int(try read(UInt8.self))
      patches = Int(try read(UInt8.self))
      guard order <= 2, width < 64 else { throw ByteReaderError(kind: .outOfBounds, offset: position) }
    }
    let base = try readZigzag()
    // A signed and an unsigned 64-bit integer share their size and alignment, and any bits are a value of either.
    let raw = UnsafeMutableRawPointer(target).assumingMemoryBound(to: UInt64.self)
    try readPacked(into: raw, count: count, width: width)
    for _ in 0..<patches {
      let index = Int(try read(UInt8.self))
      let high = try readVarint()
      guard index < count else { throw ByteReaderError(kind: .outOfBounds, offset: position) }
      raw[index] |= high << UInt64(width)
    }
    var value = target[-1]
    switch order {
    case 0:
      let floor = value &+ base
      for index in 0..<count { target[index] = floor &+ target[index] }
    case 1:
      for index in 0..<count {
        value = value &+ base &+ target[index]
        target[index] = value
      }
    default:
      var delta = previousDelta
      for index in 0..<count {
        delta = delta &+ base &+ target[index]
        value = value &+ delta
        target[index] = value
      }
    }
  }
}
