/// The codecs that a run of bytes may be compressed with; the numbers are those of Kafka's record batches.
///
/// The library's working memory is kept and used again by later calls, from whichever thread, so a call allocates
/// nothing but its output.
package enum Compression: UInt8, Sendable, CaseIterable {
  case none = 0
  /// RFC 1952, one member or several.
  case gzip = 1
  /// Snappy as Kafka's clients write it: framed or one plain block is read, framed is written (`KafkaSnappy`).
  case snappy = 2
  /// The LZ4 frame format with independent blocks, as Kafka's clients demand it.
  case lz4 = 3
  case zstd = 4

  /// Whether this program can compress and decompress it.
  package var isSupported: Bool { true }

  /// Appends the compressed form of `input` to `output`, at a level chosen for speed.
  package func compress(
    _ input: UnsafeRawBufferPointer, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    switch self {
    case .none: output.append(contentsOf: input)
    case .gzip: try GzipCodec.compress(input, appendingTo: &output)
    case .snappy: KafkaSnappy.compress(input, appendingTo: &output)
    case .lz4: try LZ4Codec.compress(input, appendingTo: &output)
    case .zstd: try ZstdCodec.compress(input, appendingTo: &output)
    }
  }

  /// Appends one zstd frame of `input` to `output`, at a level of the caller's.
  package static func compressZstd(
    _ input: UnsafeRawBufferPointer, level: Int, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    try ZstdCodec.compress(input, level: Int32(clamping: level), appendingTo: &output)
  }

  /// Expands one zstd frame into memory of the caller's; returns how many bytes it came to. A frame that yields more
  /// than there is room for is `malformed`; no other memory is taken for it.
  package static func expandZstd(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) throws(CompressionError) -> Int {
    try ZstdCodec.expand(input, into: output)
  }

  /// Appends what `input` expands to, all of it, to `output`.
  ///
  /// `maxBytes` bounds the expansion: input that would yield more is refused with `CompressionError.tooLarge`, and no
  /// more memory than that (and a codec's block) is ever taken for it, whatever its headers claim. After an error
  /// `output` is as it was.
  package func decompress(
    _ input: UnsafeRawBufferPointer, maxBytes: Int, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    let start = output.count
    do throws(CompressionError) {
      switch self {
      case .none:
        guard input.count <= maxBytes else { throw .tooLarge(codec: self, limit: maxBytes) }
        output.append(contentsOf: input)
      case .gzip: try GzipCodec.decompress(input, maxBytes: maxBytes, appendingTo: &output)
      case .snappy: try KafkaSnappy.decompress(input, maxBytes: maxBytes, appendingTo: &output)
      case .lz4: try LZ4Codec.decompress(input, maxBytes: maxBytes, appendingTo: &output)
      case .zstd: try ZstdCodec.decompress(input, maxBytes: maxBytes, appendingTo: &output)
      }
    } catch {
      output.removeSubrange(start...)
      throw error
    }
  }
}

/// Why bytes could not be compressed or expanded.
package enum CompressionError: Error, Hashable, Sendable {
  /// This program does not have the codec.
  case unsupported(Compression)
  /// The expansion would be larger than the caller's bound.
  case tooLarge(codec: Compression, limit: Int)
  /// The bytes are not what the codec writes, or end too early; the library's own words.
  case malformed(codec: Compression, reason: String)
  /// The library failed for a reason that is not the input's, in practice for want of memory.
  case failed(codec: Compression, reason: String)
}

extension CompressionError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unsupported(let codec): "\(codec) compression is not supported; use none, gzip, snappy, lz4 or zstd"
    case .tooLarge(let codec, let limit): "the \(codec) data expands to more than \(limit) bytes"
    case .malformed(let codec, let reason): "the \(codec) data is malformed: \(reason)"
    case .failed(let codec, let reason): "\(codec) failed: \(reason)"
    }
  }
}

/// The growing tail of an output array that a codec writes into, never by more than a bound.
struct BoundedOutput {
  private let start: Int
  private let limit: Int

  init(_ output: [UInt8], limit: Int) {
    start = output.count
    self.limit = limit
  }

  /// Makes room for some more bytes, twice as many as before but at least `atLeast` and at most up to the bound.
  /// Returns how many; 0 when the bound is reached.
  func grow(_ output: inout [UInt8], from filled: Int, atLeast: Int) -> Int {
    let room = limit - (filled - start)
    guard room > 0 else { return 0 }
    let more = min(room, max(atLeast, filled - start))
    if output.count < filled + more {
      output.append(contentsOf: repeatElement(0, count: filled + more - output.count))
    }
    return output.count - filled
  }
}
