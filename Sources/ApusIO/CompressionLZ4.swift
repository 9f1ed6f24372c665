import CLZ4

/// The LZ4 frame format (lz4_Frame_format.md 1.6).
enum LZ4Codec {
  private final class Decoder: @unchecked Sendable {
    // Invariant: only the call that took this object out of the pool uses `context`, until it puts it back.
    let context: OpaquePointer
    init?() {
      var made: OpaquePointer?
      guard LZ4F_isError(LZ4F_createDecompressionContext(&made, UInt32(LZ4F_VERSION))) == 0, let made else {
        return nil
      }
      context = made
    }
    deinit { LZ4F_freeDecompressionContext(context) }
  }

  private static let decoders = CompressionContextPool<Decoder>()

  static func compress(
    _ input: UnsafeRawBufferPointer, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    var preferences = LZ4F_preferences_t()
    preferences.frameInfo.blockSizeID = LZ4F_max256KB
    // Kafka's Java client refuses linked blocks.
    preferences.frameInfo.blockMode = LZ4F_blockIndependent
    preferences.frameInfo.contentSize = UInt64(input.count)
    let start = output.count
    let bound = LZ4F_compressFrameBound(input.count, &preferences)
    output.append(contentsOf: repeatElement(0, count: bound))
    let result = output.withUnsafeMutableBytes {
      LZ4F_compressFrame($0.baseAddress! + start, bound, input.baseAddress, input.count, &preferences)
    }
    guard LZ4F_isError(result) == 0 else {
      output.removeSubrange(start...)
      throw .failed(codec: .lz4, reason: String(cString: LZ4F_getErrorName(result)))
    }
    output.removeSubrange((start + result)...)
  }

  static func decompress(
    _ input: UnsafeRawBufferPointer, maxBytes: Int, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    guard let decoder = decoders.take() ?? Decoder() else {
      throw .failed(codec: .lz4, reason: "no memory for a context")
    }
    LZ4F_resetDecompressionContext(decoder.context)
    defer { decoders.putBack(decoder) }
    let bounded = BoundedOutput(output, limit: maxBytes)
    var filled = output.count
    var consumed = 0
    // Of several frames one after another all are expanded; `hint` is 0 at the end of a frame.
    var hint = 1
    while consumed < input.count || hint != 0 {
      var room = bounded.grow(&output, from: filled, atLeast: max(4096, (input.count - consumed) * 3))
      var taken = input.count - consumed
      // At the bound the decoder still gets its turn, with no room: the end mark needs none.
      hint = output.withUnsafeMutableBytes {
        LZ4F_decompress(
          decoder.context, $0.baseAddress.map { $0 + filled }, &room, input.baseAddress.map { $0 + consumed }, &taken,
          nil)
      }
      guard LZ4F_isError(hint) == 0 else {
        throw .malformed(codec: .lz4, reason: String(cString: LZ4F_getErrorName(hint)))
      }
      filled += room
      consumed += taken
      if room == 0 && taken == 0 {
        if consumed == input.count { throw .malformed(codec: .lz4, reason: "the frame ends too early") }
        throw .tooLarge(codec: .lz4, limit: maxBytes)
      }
    }
    output.removeSubrange(filled...)
  }
}
