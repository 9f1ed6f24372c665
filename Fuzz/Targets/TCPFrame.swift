import ApusDoors
import ApusIO
import NIOCore

extension FuzzTarget {
  /// The first byte says into pieces of which size the stream is cut; the frames must not depend on it. Each frame is
  /// then read as a request.
  static let tcpFrame = FuzzTarget("tcp-frame", bytesMax: 4096) { bytes in
    guard let option = bytes.first else { return }
    let stream = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
    let whole = frames(stream, piece: stream.count + 1)
    let pieces = frames(stream, piece: 1 + Int(option))
    precondition(whole.frames == pieces.frames, "the frames differ")
    precondition(whole.error == pieces.error, "the errors differ")
    var decoder = RequestDecoder()
    for frame in whole.frames {
      frame.withUnsafeReadableBytes { request in
        if let payload = try? decoder.decode(request) {
          precondition(payload >= 0 && payload <= request.count, "a payload at \(payload) of \(request.count) bytes")
        }
      }
    }
  }

  private static func frames(
    _ stream: UnsafeRawBufferPointer, piece: Int
  ) -> (frames: [ByteBuffer], error: FrameError?) {
    var decoder = FrameDecoder(maxFrameBytes: 1024)
    var frames: [ByteBuffer] = []
    var position = 0
    while position < stream.count {
      let end = min(position + piece, stream.count)
      decoder.feed(ByteBuffer(bytes: stream[position..<end]))
      position = end
      do throws(FrameError) {
        while let frame = try decoder.next() { frames.append(frame) }
      } catch { return (frames, error) }
    }
    return (frames, nil)
  }
}
