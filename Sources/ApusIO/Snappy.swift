#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Snappy's block format (google/snappy, format_description.txt): the length of the plain bytes as a varint, then
/// literals and copies from what was already written. It has no checksum; its users bring their own.
///
/// Prometheus' remote write sends bodies in it; Kafka's record batches wrap it (`KafkaSnappy`).
package enum Snappy {
  /// The most that a block of so many bytes can hold: the densest element is a copy of 64 bytes in three. A header that
  /// claims more is a lie, and no memory is taken for it.
  static func mostBytes(from compressed: Int) -> Int { compressed * 22 }

  /// The least room that `compress` needs for an input of `count` bytes that does not compress at all.
  package static func compressedBytesMax(_ count: Int) -> Int { 32 + count + count / 6 }

  /// Appends what `input` expands to, at most `maxBytes`. After an error `output` is as it was.
  package static func decompress(
    _ input: UnsafeRawBufferPointer, maxBytes: Int, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    var position = 0
    let claimed = try plainLength(input, &position)
    guard claimed <= maxBytes else { throw .tooLarge(codec: .snappy, limit: maxBytes) }
    guard claimed <= mostBytes(from: input.count) else {
      throw .malformed(codec: .snappy, reason: "the header claims more bytes than the block can hold")
    }
    let start = output.count
    output.append(contentsOf: repeatElement(0, count: claimed))
    let isComplete = output.withUnsafeMutableBytes { buffer in
      expand(input, from: position, into: UnsafeMutableRawBufferPointer(rebasing: buffer[start...]))
    }
    guard isComplete else {
      output.removeSubrange(start...)
      throw .malformed(codec: .snappy, reason: "an element reaches beyond the input, the output or its beginning")
    }
  }

  /// The length that the block announces; `position` moves behind it.
  private static func plainLength(
    _ input: UnsafeRawBufferPointer, _ position: inout Int
  ) throws(CompressionError) -> Int {
    var length = 0
    var shift = 0
    while position < input.count, shift < 35 {
      let byte = Int(input[position])
      position += 1
      length |= (byte & 0x7f) << shift
      if byte < 0x80 {
        guard length <= UInt32.max else { break }
        return length
      }
      shift += 7
    }
    throw .malformed(codec: .snappy, reason: "no length at the beginning")
  }

  /// Writes all elements; false when one does not fit or the output is not filled exactly.
  ///
  /// Invariant (unsafe memory): every copy is checked against both ends before it is made; the copies of 16 bytes that
  /// write more than the element has are made only where the output has room for them, and later elements overwrite it.
  private static func expand(
    _ input: UnsafeRawBufferPointer, from start: Int, into output: UnsafeMutableRawBufferPointer
  ) -> Bool {
    let inputCount = input.count
    let outputCount = output.count
    guard let source = input.baseAddress, let target = output.baseAddress else { return outputCount == 0 }
    var read = start
    var written = 0
    while read < inputCount {
      let tag = Int(source.load(fromByteOffset: read, as: UInt8.self))
      read += 1
      var length: Int
      let offset: Int
      switch tag & 3 {
      case 0:
        length = tag >> 2 + 1
        if length > 60 {
          let extra = length - 60
          guard read + extra <= inputCount else { return false }
          length = 0
          for index in 0..<extra {
            length |= Int(source.load(fromByteOffset: read + index, as: UInt8.self)) << (8 * index)
          }
          length += 1
          read += extra
        }
        guard length <= inputCount - read, length <= outputCount - written else { return false }
        if length <= 16, read + 16 <= inputCount, written + 16 <= outputCount {
          copy16(target + written, source + read)
        } else {
          memcpy(target + written, source + read, length)
        }
        read += length
        written += length
        continue
      case 1:
        guard read < inputCount else { return false }
        length = (tag >> 2) & 7 + 4
        offset = (tag >> 5) << 8 | Int(source.load(fromByteOffset: read, as: UInt8.self))
        read += 1
      case 2:
        guard read + 2 <= inputCount else { return false }
        length = tag >> 2 + 1
        offset = Int(UInt16(littleEndian: source.loadUnaligned(fromByteOffset: read, as: UInt16.self)))
        read += 2
      default:
        guard read + 4 <= inputCount else { return false }
        length = tag >> 2 + 1
        offset = Int(UInt32(littleEndian: source.loadUnaligned(fromByteOffset: read, as: UInt32.self)))
        read += 4
      }
      guard offset > 0, offset <= written, length <= outputCount - written else { return false }
      let from = target + (written - offset)
      let to = target + written
      if offset >= 16, written + 64 <= outputCount {
        copy16(to, from)
        var done = 16
        while done < length {
          copy16(to + done, from + done)
          done += 16
        }
      } else if offset >= length {
        memcpy(to, from, length)
      } else {
        // The copy runs into what it writes: a pattern of `offset` bytes is repeated.
        for index in 0..<length {
          to.storeBytes(of: from.load(fromByteOffset: index, as: UInt8.self), toByteOffset: index, as: UInt8.self)
        }
      }
      written += length
    }
    return written == outputCount
  }

  /// The caller has seen to it that both have 16 bytes.
  @inline(__always)
  private static func copy16(_ target: UnsafeMutableRawPointer, _ source: UnsafeRawPointer) {
    let bytes = source.loadUnaligned(as: SIMD16<UInt8>.self)
    target.storeBytes(of: bytes, as: SIMD16<UInt8>.self)
  }
}
