import CZstd

/// Zstandard (RFC 8878).
enum ZstdCodec {
  /// Level 1: telemetry frames are columns of numbers, on which higher levels cost much more than they gain.
  static let level: Int32 = 1

  private final class Encoder: @unchecked Sendable {
    // Invariant: only the call that took this object out of the pool uses `context`, until it puts it back.
    let context: OpaquePointer
    init?() {
      guard let context = ZSTD_createCCtx() else { return nil }
      self.context = context
    }
    deinit { ZSTD_freeCCtx(context) }
  }

  private final class Decoder: @unchecked Sendable {
    // Invariant: only the call that took this object out of the pool uses `context`, until it puts it back.
    let context: OpaquePointer
    init?() {
      guard let context = ZSTD_createDCtx() else { return nil }
      self.context = context
    }
    deinit { ZSTD_freeDCtx(context) }
  }

  private static let encoders = CompressionContextPool<Encoder>()
  private static let decoders = CompressionContextPool<Decoder>()

  static func compress(
    _ input: UnsafeRawBufferPointer, level: Int32 = ZstdCodec.level, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    guard let encoder = encoders.take() ?? Encoder() else {
      throw .failed(codec: .zstd, reason: "no memory for a context")
    }
    defer { encoders.putBack(encoder) }
    let start = output.count
    let bound = ZSTD_compressBound(input.count)
    output.append(contentsOf: repeatElement(0, count: bound))
    let result = output.withUnsafeMutableBytes {
      ZSTD_compressCCtx(encoder.context, $0.baseAddress! + start, bound, input.baseAddress, input.count, level)
    }
    guard ZSTD_isError(result) == 0 else {
      output.removeSubrange(start...)
      throw .failed(codec: .zstd, reason: String(cString: ZSTD_getErrorName(result)))
    }
    output.removeSubrange((start + result)...)
  }

  static func expand(
    _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) throws(CompressionError) -> Int {
    guard let decoder = decoders.take() ?? Decoder() else {
      throw .failed(codec: .zstd, reason: "no memory for a context")
    }
    defer { decoders.putBack(decoder) }
    let result = ZSTD_decompressDCtx(
      decoder.context, output.baseAddress, output.count, input.baseAddress, input.count)
    guard ZSTD_isError(result) == 0 else {
      throw .malformed(codec: .zstd, reason: String(cString: ZSTD_getErrorName(result)))
    }
    return result
  }

  /// Expands straight into the output, so that the frame's window never asks for memory of its own: a header that
  /// claims a window of gigabytes costs nothing. Where the frame does not tell its size (streaming encoders do not),
  /// the output is doubled until it fits.
  static func decompress(
    _ input: UnsafeRawBufferPointer, maxBytes: Int, appendingTo output: inout [UInt8]
  ) throws(CompressionError) {
    guard !input.isEmpty else { throw .malformed(codec: .zstd, reason: "no bytes") }
    guard let decoder = decoders.take() ?? Decoder() else {
      throw .failed(codec: .zstd, reason: "no memory for a context")
    }
    defer { decoders.putBack(decoder) }
    let start = output.count
    // ZSTD_CONTENTSIZE_UNKNOWN and _ERROR are macros that are not imported: 2^64 - 1 and 2^64 - 2.
    let claimed = ZSTD_getFrameContentSize(input.baseAddress, input.count)
    if claimed == UInt64.max - 1 { throw .malformed(codec: .zstd, reason: "no frame header") }
    let isKnown = claimed != UInt64.max
    if isKnown, claimed > UInt64(maxBytes) { throw .tooLarge(codec: .zstd, limit: maxBytes) }
    var capacity = isKnown ? Int(claimed) : min(maxBytes, max(input.count * 4, 4096))
    while true {
      output.append(contentsOf: repeatElement(0, count: start + capacity - output.count))
      let result = output.withUnsafeMutableBytes {
        ZSTD_decompressDCtx(decoder.context, $0.baseAddress! + start, capacity, input.baseAddress, input.count)
      }
      if ZSTD_isError(result) == 0 {
        output.removeSubrange((start + result)...)
        return
      }
      guard ZSTD_getErrorCode(result) == ZSTD_error_dstSize_tooSmall else {
        throw .malformed(codec: .zstd, reason: String(cString: ZSTD_getErrorName(result)))
      }
      guard capacity < maxBytes else { throw .tooLarge(codec: .zstd, limit: maxBytes) }
      capacity = min(maxBytes, max(4096, capacity * 2))
    }
  }
}
