import ApusIO
import ApusService
import HTTPTypes
import Hummingbird
import NIOCore

/// A request's body before it has been read.
package struct IncomingBody: Sendable {
  package var headers: HTTPFields
  var body: RequestBody
  /// The most bytes of it, as sent and after decompression.
  var bytesMax: Int

  /// How a body may be compressed.
  enum Coding: Sendable {
    case identity
    case compressed(Compression)
    /// Snappy's block format, as remote write has it.
    case snappyBlock
  }

  /// What `Content-Encoding` names; `.snappy` is remote write's.
  func coding() throws(Problem) -> Coding {
    switch headers[.contentEncoding]?.lowercased() ?? "" {
    case "", "identity": return .identity
    case "gzip", "x-gzip": return .compressed(.gzip)
    case "zstd": return .compressed(.zstd)
    case "snappy": return .snappyBlock
    case let name:
      throw Problem(
        status: 415, detail: "the content encoding \"\(name.prefix(100))\" is not known; gzip and zstd are")
    }
  }

  /// The media type in lower case, without its parameters; empty where the request names none.
  var mediaType: String {
    guard let text = headers[.contentType] else { return "" }
    return (text.split(separator: ";", maxSplits: 1).first ?? "").trimmed.lowercased()
  }

  /// All of the body as it was sent, in one piece. `lease` is made as large as what is held.
  func read(_ lease: IngestLease) async throws -> ByteBuffer {
    var iterator = body.makeAsyncIterator()
    let announced = headers[.contentLength].flatMap { Int($0) }
    if let announced, announced > bytesMax { throw Problem.bodyTooLarge(limit: bytesMax) }
    guard let first = try await iterator.next() else { return ByteBuffer() }
    // What came in one piece is not copied.
    if let announced, first.readableBytes == announced {
      try await lease.grow(to: announced)
      return first
    }
    var whole = ByteBuffer()
    whole.reserveCapacity(max(announced ?? 0, first.readableBytes))
    var next: ByteBuffer? = first
    while var piece = next {
      let total = whole.readableBytes + piece.readableBytes
      guard total <= bytesMax else { throw Problem.bodyTooLarge(limit: bytesMax) }
      // Room is asked for as bytes come and not as they are announced: a sender that goes no further holds what it sent.
      if total > lease.bytes {
        try await lease.grow(to: min(max(2 * lease.bytes, total, 1 << 16), max(announced ?? bytesMax, total)))
      }
      whole.writeBuffer(&piece)
      next = try await iterator.next()
    }
    return whole
  }

  /// What the body expands to. Memory is asked for by what the compressed form announces; where that was a lie, by the
  /// bound.
  func expand(_ buffer: ByteBuffer, _ coding: Coding, _ lease: IngestLease) async throws -> IngestBytes {
    let codec: Compression?
    let claimed: Int
    switch coding {
    case .identity: return .buffer(buffer)
    case .compressed(let compression):
      codec = compression
      claimed = compression == .gzip ? IncomingBody.gzipLength(buffer) : 8 * buffer.readableBytes
    case .snappyBlock:
      codec = nil
      claimed = IncomingBody.snappyLength(buffer)
    }
    if claimed > bytesMax, codec == nil { throw Problem.bodyTooLarge(limit: bytesMax) }
    for limit in [min(claimed, bytesMax), bytesMax] {
      try await lease.grow(to: buffer.readableBytes + limit)
      var plain: [UInt8] = []
      do throws(CompressionError) {
        try IncomingBody.decompress(buffer, codec, maxBytes: limit, into: &plain)
        return .array(plain)
      } catch {
        switch error {
        case .tooLarge where limit < bytesMax: continue
        case .tooLarge: throw Problem.bodyTooLarge(limit: bytesMax)
        case .unsupported, .malformed, .failed:
          throw Problem(status: 400, detail: "the body cannot be decompressed: \(error)")
        }
      }
    }
    throw Problem.bodyTooLarge(limit: bytesMax)
  }

  private static func decompress(
    _ buffer: ByteBuffer, _ codec: Compression?, maxBytes: Int, into plain: inout [UInt8]
  ) throws(CompressionError) {
    let result = buffer.withUnsafeReadableBytes { bytes -> Result<[UInt8], CompressionError> in
      var output: [UInt8] = []
      do throws(CompressionError) {
        if let codec {
          output.reserveCapacity(maxBytes)
          try codec.decompress(bytes, maxBytes: maxBytes, appendingTo: &output)
        } else {
          try Snappy.decompress(bytes, maxBytes: maxBytes, appendingTo: &output)
        }
        return .success(output)
      } catch { return .failure(error) }
    }
    plain = try result.get()
  }

  /// The length that stands at the end of a gzip stream: right for one member below 4 GiB. The densest stream holds about
  /// a thousand times its length.
  static func gzipLength(_ buffer: ByteBuffer) -> Int {
    let last = buffer.writerIndex - 4
    guard last >= buffer.readerIndex,
      let length = buffer.getInteger(at: last, endianness: .little, as: UInt32.self)
    else { return 0 }
    return min(Int(length), 1032 * buffer.readableBytes)
  }

  /// The length that a Snappy block begins with; a block that cannot hold as much is refused by the codec.
  static func snappyLength(_ buffer: ByteBuffer) -> Int {
    var length = 0
    for (index, byte) in buffer.readableBytesView.prefix(5).enumerated() {
      length |= Int(byte & 0x7f) << (7 * index)
      if byte < 0x80 { break }
    }
    return length
  }
}

/// A body in one piece, as it came or expanded.
enum IngestBytes: Sendable {
  case buffer(ByteBuffer)
  case array([UInt8])

  var count: Int {
    switch self {
    case .buffer(let buffer): buffer.readableBytes
    case .array(let bytes): bytes.count
    }
  }

  func withBytes<Value>(_ body: (UnsafeRawBufferPointer) -> Value) -> Value {
    switch self {
    case .buffer(let buffer): buffer.withUnsafeReadableBytes(body)
    case .array(let bytes): bytes.withUnsafeBytes(body)
    }
  }
}
