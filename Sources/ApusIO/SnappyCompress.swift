/// The writing half of Snappy's block format.
extension Snappy {
  /// The input is taken in pieces of this many bytes, so that a position in the table fits 16 bits.
  private static let pieceBytes = 1 << 16
  private static let tableBits = 14

  /// Appends the compressed form of `input`.
  /// - Precondition: at most 4 GiB - 1, the most that the format's header can tell.
  package static func compress(_ input: UnsafeRawBufferPointer, appendingTo output: inout [UInt8]) {
    precondition(input.count <= UInt32.max, "\(input.count) bytes for a Snappy block")
    let start = output.count
    output.append(contentsOf: repeatElement(0, count: compressedBytesMax(input.count)))
    let written = output.withUnsafeMutableBytes { buffer in
      withUnsafeTemporaryAllocation(of: UInt16.self, capacity: 1 << tableBits) { table in
        var writer = BlockWriter(
          input: input, output: UnsafeMutableRawBufferPointer(rebasing: buffer[start...]), table: table)
        writer.writeLength(input.count)
        var position = 0
        while position < input.count {
          let end = min(position + pieceBytes, input.count)
          writer.writePiece(position..<end)
          position = end
        }
        return writer.written
      }
    }
    output.removeSubrange((start + written)...)
  }

  /// Invariant (unsafe memory): lives only within `compress`, which lends all three buffers; `output` has
  /// `compressedBytesMax` bytes, which no sequence of elements chosen here exceeds: a literal costs at most 5 bytes more
  /// than it holds, and is followed by a copy that takes in at least 4 bytes for 3.
  private struct BlockWriter {
    let input: UnsafeRawBufferPointer
    let output: UnsafeMutableRawBufferPointer
    /// Where, from the start of the piece, four bytes with this hash were last seen.
    let table: UnsafeMutableBufferPointer<UInt16>
    var written = 0

    mutating func writeLength(_ length: Int) {
      var rest = length
      while rest >= 0x80 {
        put(UInt8(truncatingIfNeeded: rest) | 0x80)
        rest >>= 7
      }
      put(UInt8(rest))
    }

    /// One piece: copies refer to nothing before it.
    mutating func writePiece(_ piece: Range<Int>) {
      table.update(repeating: 0)
      var position = piece.lowerBound
      var literalStart = position
      // The last 15 bytes are not searched, so that four bytes can be loaded everywhere else.
      let searchEnd = piece.upperBound - 15
      position += 1
      // The longer nothing is found the larger the steps: what does not compress costs little.
      var misses = 32
      while position < searchEnd {
        let word = load(position)
        let slot = Int((word &* 0x1e35_a7bd) >> UInt32(32 - tableBits))
        let candidate = piece.lowerBound + Int(table[slot])
        table[slot] = UInt16(truncatingIfNeeded: position - piece.lowerBound)
        guard candidate < position, load(candidate) == word else {
          position += misses >> 5
          misses += 1
          continue
        }
        writeLiteral(literalStart..<position)
        var length = 4
        while position + length < piece.upperBound, input[candidate + length] == input[position + length] {
          length += 1
        }
        writeCopy(offset: position - candidate, length: length)
        position += length
        literalStart = position
        misses = 32
        if position < searchEnd {
          let before = load(position - 1)
          table[Int((before &* 0x1e35_a7bd) >> UInt32(32 - tableBits))] =
            UInt16(truncatingIfNeeded: position - 1 - piece.lowerBound)
        }
      }
      writeLiteral(literalStart..<piece.upperBound)
    }

    private func load(_ position: Int) -> UInt32 {
      UInt32(littleEndian: input.loadUnaligned(fromByteOffset: position, as: UInt32.self))
    }

    private mutating func writeLiteral(_ range: Range<Int>) {
      guard !range.isEmpty else { return }
      let length = range.count - 1
      if length < 60 {
        put(UInt8(length << 2))
      } else if length < 256 {
        put(60 << 2)
        put(UInt8(length))
      } else {
        put(61 << 2)
        put(UInt8(truncatingIfNeeded: length))
        put(UInt8(length >> 8))
      }
      UnsafeMutableRawBufferPointer(rebasing: output[written..<written + range.count])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: input[range]))
      written += range.count
    }

    private mutating func writeCopy(offset: Int, length: Int) {
      var rest = length
      // What is left must never be 1 to 3 bytes: those would cost as much as they hold.
      while rest >= 68 {
        putCopy2(offset: offset, length: 64)
        rest -= 64
      }
      if rest > 64 {
        putCopy2(offset: offset, length: 60)
        rest -= 60
      }
      if rest < 12, offset < 2048 {
        put(UInt8(1 | (rest - 4) << 2 | (offset >> 8) << 5))
        put(UInt8(truncatingIfNeeded: offset))
      } else {
        putCopy2(offset: offset, length: rest)
      }
    }

    private mutating func putCopy2(offset: Int, length: Int) {
      put(UInt8(2 | (length - 1) << 2))
      put(UInt8(truncatingIfNeeded: offset))
      put(UInt8(offset >> 8))
    }

    private mutating func put(_ byte: UInt8) {
      output[written] = byte
      written += 1
    }
  }
}
