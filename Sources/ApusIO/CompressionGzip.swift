import CZlib

/// gzip (RFC 1952) by zlib.
enum GzipCodec {
  private static let level: Int32 = 1
  /// 15 bits of window, and 16 to say gzip rather than zlib framing.
  private static let windowBits: Int32 = 15 + 16

  /// A zlib stream lives at one address all its life: its inner state points back at it.
  private final class Encoder: @unchecked Sendable {
    // Invariant: only the call that took this object out of the pool uses `stream`, until it puts it back.
    let stream: UnsafeMutablePointer<z_stream>
    init?() {
      stream = .allocate(capacity: 1)
      stream.initialize(to: z_stream())
      let size = Int32(MemoryLayout<z_stream>.size)
      guard deflateInit2_(stream, level, Z_DEFLATED, windowBits, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION, size) == Z_OK
      else { return nil }
    }
    deinit {
      deflateEnd(stream)
      stream.deallocate()
    }
  }

  private final class Decoder: @unchecked Sendable {
    // Invariant: only the call that took this object out of the pool uses `stream`, until it puts it back.
    let stream: UnsafeMutablePointer<z_stream>
    init?() {
      stream = .allocate(capacity: 1)
      stream.initialize(to: z_stream())
      guard inflateInit2_(stream, windowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
        return nil
      }
    }
    deinit {
      inflateEnd(stream)
      stream.deallocate()
    }
  }

  private static let encoders = CompressionContextPool<Encoder>()
  private static let decoders = CompressionContextPool<Decoder>()

  static func compress(
    _ input: UnsafeRawBufferPointer, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    guard input.count <= Int(UInt32.max) else { throw .tooLarge(codec: .gzip, limit: Int(UInt32.max)) }
    guard let encoder = encoders.take() ?? Encoder(), deflateReset(encoder.stream) == Z_OK else {
      throw .failed(codec: .gzip, reason: "no memory for a context")
    }
    defer { encoders.putBack(encoder) }
    let start = output.count
    let bound = Int(deflateBound(encoder.stream, UInt(input.count)))
    output.append(contentsOf: repeatElement(0, count: bound))
    let written = output.withUnsafeMutableBytes { buffer -> Int? in
      let stream = encoder.stream
      stream.pointee.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
      stream.pointee.avail_in = UInt32(input.count)
      stream.pointee.next_out = buffer.bindMemory(to: UInt8.self).baseAddress! + start
      stream.pointee.avail_out = UInt32(bound)
      guard deflate(stream, Z_FINISH) == Z_STREAM_END else { return nil }
      return bound - Int(stream.pointee.avail_out)
    }
    guard let written else {
      output.removeSubrange(start...)
      throw .failed(codec: .gzip, reason: "the output did not fit its bound")
    }
    output.removeSubrange((start + written)...)
  }

  static func decompress(
    _ input: UnsafeRawBufferPointer, maxBytes: Int, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    guard input.count <= Int(UInt32.max) else { throw .malformed(codec: .gzip, reason: "more than 4 GiB") }
    guard let decoder = decoders.take() ?? Decoder(), inflateReset(decoder.stream) == Z_OK else {
      throw .failed(codec: .gzip, reason: "no memory for a context")
    }
    defer { decoders.putBack(decoder) }
    let stream = decoder.stream
    let bounded = BoundedOutput(output, limit: maxBytes)
    var filled = output.count
    var consumed = 0
    while true {
      let room = bounded.grow(&output, from: filled, atLeast: max(4096, (input.count - consumed) * 4))
      let available = input.count - consumed
      let (status, taken, made) = output.withUnsafeMutableBytes { buffer -> (Int32, Int, Int) in
        // zlib wants a place to write to even where it may write nothing.
        var nowhere: UInt8 = 0
        return withUnsafeMutablePointer(to: &nowhere) { spare in
          let target = buffer.bindMemory(to: UInt8.self).baseAddress.map { $0 + filled } ?? spare
          let count = min(room, Int(UInt32.max))
          stream.pointee.next_in = input.bindMemory(to: UInt8.self).baseAddress.map {
            UnsafeMutablePointer(mutating: $0 + consumed)
          }
          stream.pointee.avail_in = UInt32(available)
          stream.pointee.next_out = target
          stream.pointee.avail_out = UInt32(count)
          let status = inflate(stream, Z_NO_FLUSH)
          return (status, available - Int(stream.pointee.avail_in), count - Int(stream.pointee.avail_out))
        }
      }
      filled += made
      consumed += taken
      switch status {
      case Z_STREAM_END:
        if consumed == input.count {
          output.removeSubrange(filled...)
          return
        }
        // Another member follows.
        inflateReset(stream)
      case Z_OK, Z_BUF_ERROR:
        if made == 0 && taken == 0 {
          if consumed == input.count { throw .malformed(codec: .gzip, reason: "the data ends too early") }
          throw .tooLarge(codec: .gzip, limit: maxBytes)
        }
      case Z_MEM_ERROR: throw .failed(codec: .gzip, reason: "no memory")
      default:
        throw .malformed(codec: .gzip, reason: stream.pointee.msg.map { String(cString: $0) } ?? "status \(status)")
      }
    }
  }
}
