import NIOCore

/// Cuts a stream of bytes into frames (docs/protocol.md, "Frames"): a 4-byte big-endian length, then that many bytes.
///
/// Pure: it holds what has come of an unfinished frame and nothing else, so at most `maxFrameBytes` plus one read.
package struct FrameDecoder: Sendable {
  /// A frame that announces more than this is refused before any of it is kept.
  package let maxFrameBytes: Int
  private var buffer = ByteBuffer()
  /// Frames were cut out of `buffer` and share its memory, so writing to it would copy all of it.
  private var isShared = true

  package init(maxFrameBytes: Int) {
    precondition(maxFrameBytes > 0 && maxFrameBytes < Int(UInt32.max), "frame bound of \(maxFrameBytes) bytes")
    self.maxFrameBytes = maxFrameBytes
  }

  /// The bytes of a frame that has begun but not ended are here: the client owes the rest.
  package var isMidFrame: Bool { buffer.readableBytes > 0 }

  /// Takes bytes as they came off the socket.
  package mutating func feed(_ bytes: ByteBuffer) {
    if buffer.readableBytes == 0 {
      buffer = bytes
      isShared = true
    } else if isShared {
      var joined = ByteBufferAllocator().buffer(capacity: buffer.readableBytes + bytes.readableBytes)
      joined.writeImmutableBuffer(buffer)
      joined.writeImmutableBuffer(bytes)
      buffer = joined
      isShared = false
    } else {
      buffer.writeImmutableBuffer(bytes)
    }
  }

  /// The next whole frame without its length; nil until more bytes come. After an error the stream cannot be followed
  /// any further, since it is not known where the next frame would begin.
  package mutating func next() throws(FrameError) -> ByteBuffer? {
    guard let length = buffer.getInteger(at: buffer.readerIndex, endianness: .big, as: UInt32.self) else {
      if buffer.readableBytes == 0 { letGo() }
      return nil
    }
    guard length <= UInt32(maxFrameBytes) else { throw .tooLarge(bytes: Int(length), limit: maxFrameBytes) }
    guard length > 0 else { throw .empty }
    guard buffer.readableBytes >= 4 + Int(length) else { return nil }
    buffer.moveReaderIndex(forwardBy: 4)
    isShared = true
    return buffer.readSlice(length: Int(length))
  }

  /// An idle connection keeps no memory.
  private mutating func letGo() {
    buffer = ByteBuffer()
    isShared = true
  }
}

/// Why a stream cannot be cut into frames any further.
package enum FrameError: Error, Hashable, Sendable {
  case tooLarge(bytes: Int, limit: Int)
  /// A frame of no bytes: no JSON object is that short.
  case empty
}

extension FrameError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .tooLarge(let bytes, let limit): "a frame of \(bytes) bytes is larger than the limit of \(limit)"
    case .empty: "a frame of 0 bytes holds no JSON object"
    }
  }
}
