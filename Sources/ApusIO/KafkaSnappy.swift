/// Snappy as Kafka's clients use it in record batches: the Java client and those after its model frame the data in
/// chunks ("xerial": a magic word, two version numbers, then blocks with big-endian lengths), librdkafka and others
/// send one plain block. Both are read; the framed form is written, which all of them read.
package enum KafkaSnappy {
  private static let magic: [UInt8] = [0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00]
  /// The framed form's version and the oldest version that can read it, both 1.
  private static let versions: [UInt8] = [0, 0, 0, 1, 0, 0, 0, 1]
  private static let headBytes = 16
  /// As the Java client's default.
  private static let chunkBytes = 32 * 1024

  /// Appends the framed form of `input`.
  package static func compress(_ input: UnsafeRawBufferPointer, appendingTo output: inout [UInt8]) {
    output.append(contentsOf: magic)
    output.append(contentsOf: versions)
    var position = 0
    while position < input.count {
      let end = min(position + chunkBytes, input.count)
      let head = output.count
      output.append(contentsOf: [0, 0, 0, 0])
      Snappy.compress(UnsafeRawBufferPointer(rebasing: input[position..<end]), appendingTo: &output)
      let length = UInt32(output.count - head - 4)
      for index in 0..<4 { output[head + index] = UInt8(truncatingIfNeeded: length >> UInt32(24 - 8 * index)) }
      position = end
    }
  }

  /// Appends what `input` expands to, at most `maxBytes`, whichever form it has. After an error `output` is as it was.
  package static func decompress(
    _ input: UnsafeRawBufferPointer, maxBytes: Int, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    // A plain block cannot begin so: the magic word would announce a length whose block starts with a copy.
    guard input.count >= headBytes, input.prefix(8).elementsEqual(magic) else {
      return try Snappy.decompress(input, maxBytes: maxBytes, appendingTo: &output)
    }
    let start = output.count
    do throws(CompressionError) {
      var position = headBytes
      while position < input.count {
        guard position + 4 <= input.count else {
          throw .malformed(codec: .snappy, reason: "the last chunk has no length")
        }
        let length = Int(UInt32(bigEndian: input.loadUnaligned(fromByteOffset: position, as: UInt32.self)))
        position += 4
        guard length <= input.count - position else {
          throw .malformed(codec: .snappy, reason: "a chunk is longer than the data")
        }
        let chunk = UnsafeRawBufferPointer(rebasing: input[position..<position + length])
        let room = maxBytes - (output.count - start)
        do throws(CompressionError) {
          try Snappy.decompress(chunk, maxBytes: room, appendingTo: &output)
        } catch .tooLarge {
          throw .tooLarge(codec: .snappy, limit: maxBytes)
        }
        position += length
      }
    } catch {
      output.removeSubrange(start...)
      throw error
    }
  }
}
