// Goal: frames come out the same however the stream is cut, and what cannot be a frame is refused before it takes
// memory. Method: one stream fed whole, byte by byte and in random pieces; bounds at their edges.
import ApusDoors
import ApusService
import NIOCore
import Testing

@Suite struct FrameDecoderTests {
  private func stream(_ frames: [[UInt8]]) -> [UInt8] {
    frames.flatMap { frame in withUnsafeBytes(of: UInt32(frame.count).bigEndian) { [UInt8]($0) } + frame }
  }

  private func decode(_ pieces: [ArraySlice<UInt8>], limit: Int = 1000) throws -> (frames: [[UInt8]], isMidFrame: Bool)
  {
    var decoder = FrameDecoder(maxFrameBytes: limit)
    var frames: [[UInt8]] = []
    for piece in pieces {
      decoder.feed(ByteBuffer(bytes: piece))
      while let frame = try decoder.next() { frames.append([UInt8](frame.readableBytesView)) }
    }
    return (frames, decoder.isMidFrame)
  }

  private let frames: [[UInt8]] = [
    [1], [UInt8](repeating: 2, count: 255), [UInt8](repeating: 3, count: 256), [4, 5],
    [UInt8](repeating: 6, count: 1000),
  ]

  @Test func wholeAndByteByByte() throws {
    let bytes = stream(frames)
    #expect(try decode([bytes[...]]).frames == frames)
    #expect(try decode(bytes.indices.map { bytes[$0...$0] }).frames == frames)
    #expect(try decode([bytes[...]]).isMidFrame == false)
    #expect(try decode([bytes.dropLast()]).isMidFrame)
  }

  @Test func randomPieces() throws {
    let bytes = stream(frames + frames + frames)
    for seed in 0..<200 as Range<UInt64> {
      var random = SplitMix64(seed: seed)
      var pieces: [ArraySlice<UInt8>] = []
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = min(rest.count, Int.random(in: 1...400, using: &random))
        pieces.append(rest.prefix(count))
        rest = rest.dropFirst(count)
      }
      #expect(try decode(pieces).frames == frames + frames + frames, "seed \(seed)")
    }
  }

  @Test func theBoundIsExact() throws {
    #expect(try decode([stream([[UInt8](repeating: 0, count: 10)])[...]], limit: 10).frames.count == 1)
    #expect(throws: FrameError.tooLarge(bytes: 11, limit: 10)) { try decode([[0, 0, 0, 11]], limit: 10) }
    #expect(throws: FrameError.tooLarge(bytes: 0xffff_ffff, limit: 10)) {
      try decode([[255, 255, 255, 255]], limit: 10)
    }
    #expect(throws: FrameError.empty) { try decode([[0, 0, 0, 0]]) }
  }
}
