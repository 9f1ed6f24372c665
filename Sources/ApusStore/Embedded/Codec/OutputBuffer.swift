/// Bytes being written by the codecs: grows by doubling, and is reused from chunk to chunk without being given back.
///
/// An array's `append` costs several nanoseconds a call, which is as much as encoding a sample.
///
/// Invariant (unsafe memory): `base` is owned by this value alone, has `capacity` bytes, and the first `count` of them
/// are initialised; every write is preceded by `reserve` for at least as many bytes.
package struct OutputBuffer: ~Copyable {
  private(set) var base: UnsafeMutableRawPointer
  private(set) var count = 0
  private var capacity: Int

  /// Empty, with room for so many bytes.
  package init(capacity: Int = 4096) {
    self.capacity = max(64, capacity)
    base = .allocate(byteCount: self.capacity, alignment: 16)
  }

  deinit { base.deallocate() }

  /// What has been written; valid until the next write.
  package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  /// Forgets what is behind the first `length` bytes.
  package mutating func truncate(to length: Int = 0) {
    precondition(length <= count, "truncating \(count) bytes to \(length)")
    count = length
  }

  /// Counts what was written to `base` directly, within what had been reserved.
  @inline(__always) mutating func advance(to length: Int) {
    precondition(length >= count && length <= capacity, "advancing \(count) bytes to \(length) of \(capacity)")
    count = length
  }

  /// Makes room for so many bytes more.
  @inline(__always) mutating func reserve(_ additional: Int) {
    if capacity - count < additional { grow(additional) }
  }

  @inline(never) private mutating func grow(_ additional: Int) {
    let larger = max(capacity * 2, count + additional)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
    memory.copyMemory(from: base, byteCount: count)
    base.deallocate()
    base = memory
    capacity = larger
  }

  @inline(__always) mutating func put(_ byte: UInt8) {
    reserve(1)
    base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
    count += 1
  }

  /// A whole little-endian word.
  @inline(__always) mutating func put<Word: FixedWidthInteger>(word: Word) {
    reserve(MemoryLayout<Word>.size)
    base.storeBytes(of: word.littleEndian, toByteOffset: count, as: Word.self)
    count += MemoryLayout<Word>.size
  }

  /// Writes a whole little-endian word over what was put at a place before.
  mutating func patch<Word: FixedWidthInteger>(word: Word, at place: Int) {
    precondition(place >= 0 && place + MemoryLayout<Word>.size <= count, "a patch at \(place) of \(count) bytes")
    base.storeBytes(of: word.littleEndian, toByteOffset: place, as: Word.self)
  }

  mutating func put(_ source: UnsafeRawBufferPointer) {
    guard let start = source.baseAddress else { return }
    reserve(source.count)
    (base + count).copyMemory(from: start, byteCount: source.count)
    count += source.count
  }

  @inline(__always) mutating func putVarint(_ value: UInt64) {
    reserve(10)
    var rest = value
    while rest >= 0x80 {
      base.storeBytes(of: UInt8(truncatingIfNeeded: rest) | 0x80, toByteOffset: count, as: UInt8.self)
      count += 1
      rest >>= 7
    }
    base.storeBytes(of: UInt8(truncatingIfNeeded: rest), toByteOffset: count, as: UInt8.self)
    count += 1
  }

  @inline(__always) mutating func putZigzag(_ value: Int64) {
    putVarint(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
  }

  /// `count` numbers of `width` bits each, lowest bit first, padded with zeros to a whole byte.
  /// - Precondition: no number has a bit at or above `width`.
  mutating func putPacked(_ values: UnsafePointer<UInt64>, count number: Int, width: Int) {
    if width == 0 { return }
    let total = (number * width + 7) / 8
    reserve(total + 8)
    var word: UInt64 = 0
    var used = 0
    var position = count
    for index in 0..<number {
      let value = values[index]
      word |= value << UInt64(used)
      used += width
      if used >= 64 {
        base.storeBytes(of: word.littleEndian, toByteOffset: position, as: UInt64.self)
        position += 8
        used -= 64
        // A shift by 64 (when the value ended at the word's end) gives zero here, as it should.
        word = value >> UInt64(width - used)
      }
    }
    if used > 0 { base.storeBytes(of: word.littleEndian, toByteOffset: position, as: UInt64.self) }
    count += total
  }

  /// How many bytes a varint takes.
  @inline(__always) static func varintSize(_ value: UInt64) -> Int {
    (70 - (value | 1).leadingZeroBitCount) / 7
  }

  @inline(__always) static func zigzagSize(_ value: Int64) -> Int {
    varintSize(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
  }
}
