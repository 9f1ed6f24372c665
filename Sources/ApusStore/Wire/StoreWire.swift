import ApusIO

/// The protocol by which one process reads the store of another: what goes over HTTP, as bytes, on both sides
/// (docs/reference/store-protocol.md). Pure: it knows no sockets.
///
/// A message is a preamble, frames, and an end frame that counts them, so that an answer which was cut off is an error
/// and never a shorter answer. Every frame has a checksum.
package enum StoreWire {
  package static let mediaType = "application/vnd.apus.store"
  /// `APSW`, the version, three zeros.
  static let preamble: [UInt8] = [0x41, 0x50, 0x53, 0x57, 1, 0, 0, 0]
  static let version: UInt8 = 1
  static let frameHeaderBytes = 12
  /// The most bytes of a frame's payload, as sent and expanded.
  package static let frameBytesMax = 32 << 20
  /// Payloads from this size on are compressed.
  static let compressBytesMin = 1024

  /// What a frame holds. The numbers are on the wire and keep their meaning.
  package enum FrameKind: UInt8, Sendable {
    case end = 0
    /// A question: matchers, range, bounds.
    case request = 1
    case batch = 2
    case set = 3
    case item = 4
    /// Beside a question: the windows and functions of an aggregate request.
    case windows = 5
    case columns = 16
    case columnsContinued = 17
    case labels = 18
    case strings = 19
    case descriptors = 20
    case positions = 21
    case statistics = 22
    case outcome = 23
    /// What a flush or a compaction did.
    case work = 24
    /// Asked: the name of a snapshot to make. Answered: the one that was made.
    case snapshot = 25
    case spans = 26
    case aggregates = 27
    case error = 63
  }

  /// One frame, checked and expanded.
  package struct Frame: Sendable {
    package var kind: FrameKind
    package var payload: [UInt8]

    package init(kind: FrameKind, payload: [UInt8]) {
      self.kind = kind
      self.payload = payload
    }
  }

  /// The bit of a frame's flags that says the payload is zstd, behind its expanded length (4 bytes).
  static let compressedFlag: UInt8 = 1
}

/// Why bytes are not a message of the protocol.
package enum StoreWireError: Error, Hashable, Sendable, CustomStringConvertible {
  case notTheProtocol
  case unsupportedVersion(UInt8)
  case truncated
  case checksum(frame: Int)
  case malformed(frame: Int, reason: String)
  case tooLarge(bytes: Int, limit: Int)

  package var description: String {
    switch self {
    case .notTheProtocol: "these bytes are not of Apus' store protocol"
    case .unsupportedVersion(let version):
      "the other side speaks version \(version) of the store protocol and this program version \(StoreWire.version);"
        + " run the same version on both sides"
    case .truncated: "the message was cut off before its end"
    case .checksum(let frame): "frame \(frame) does not match its checksum"
    case .malformed(let frame, let reason): "frame \(frame) is malformed: \(reason)"
    case .tooLarge(let bytes, let limit): "a frame of \(bytes) bytes is beyond the limit of \(limit)"
    }
  }
}

/// Writes a message frame by frame. `take` hands out what has been written so far.
package struct StoreWireWriter: Sendable {
  private var bytes = StoreWire.preamble
  private var frames: UInt64 = 0

  package init() {}

  /// How many bytes wait to be taken.
  package var pendingCount: Int { bytes.count }

  package mutating func write(_ kind: StoreWire.FrameKind, _ payload: [UInt8]) {
    precondition(payload.count <= StoreWire.frameBytesMax, "a frame of \(payload.count) bytes")
    var flags: UInt8 = 0
    var sent = payload
    if payload.count >= StoreWire.compressBytesMin {
      var compressed = ByteWriter(reserving: payload.count / 2)
      compressed.write(UInt32(payload.count))
      // A codec that fails leaves the payload as it is, which is as right.
      let isDone = payload.withUnsafeBytes { raw -> Bool in
        do throws(CompressionError) {
          try Compression.zstd.compress(raw, appendingTo: &compressed.bytes)
          return true
        } catch { return false }
      }
      if isDone, compressed.count < payload.count {
        sent = compressed.bytes
        flags = StoreWire.compressedFlag
      }
    }
    append(kind, flags, sent)
    frames += 1
  }

  /// Ends the message. Nothing may be written behind it.
  package mutating func finish() {
    var payload = ByteWriter()
    payload.write(frames)
    append(.end, 0, payload.bytes)
  }

  /// What has been written since the last time.
  package mutating func take() -> [UInt8] {
    defer { bytes = [] }
    return bytes
  }

  private mutating func append(_ kind: StoreWire.FrameKind, _ flags: UInt8, _ payload: [UInt8]) {
    var header = ByteWriter(reserving: StoreWire.frameHeaderBytes)
    header.write(kind.rawValue)
    header.write(flags)
    header.write(UInt16(0))
    header.write(UInt32(payload.count))
    header.write(CRC32C.checksum(payload, continuing: CRC32C.checksum(header.bytes)))
    bytes += header.bytes
    bytes += payload
  }
}

/// Reads a message from pieces of any size.
package struct StoreWireReader: Sendable {
  private var buffer: [UInt8] = []
  private var position = 0
  private var hasPreamble = false
  private var framesRead = 0
  /// The end frame has been read and its count was right.
  package private(set) var isFinished = false

  package init() {}

  /// The number of the frame that was read last, from 1.
  package var frame: Int { framesRead }

  /// Takes bytes in the order in which they came.
  package mutating func feed(_ bytes: some Collection<UInt8>) {
    if position > 0, position == buffer.count || position >= 1 << 20 {
      buffer.removeSubrange(..<position)
      position = 0
    }
    buffer.append(contentsOf: bytes)
  }

  /// The next whole frame, or nil when more bytes are needed or the message is over.
  package mutating func next() throws(StoreWireError) -> StoreWire.Frame? {
    if !hasPreamble {
      guard try readPreamble() else { return nil }
    }
    guard !isFinished else {
      if position < buffer.count { throw .malformed(frame: framesRead, reason: "bytes follow the end") }
      return nil
    }
    guard buffer.count - position >= StoreWire.frameHeaderBytes else { return nil }
    let start = position
    let header = buffer.withUnsafeBytes { raw -> (kind: UInt8, flags: UInt8, zero: UInt16, length: Int, crc: UInt32) in
      (
        raw[start], raw[start + 1], raw.loadUnaligned(fromByteOffset: start + 2, as: UInt16.self),
        Int(UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: start + 4, as: UInt32.self))),
        UInt32(littleEndian: raw.loadUnaligned(fromByteOffset: start + 8, as: UInt32.self))
      )
    }
    guard header.length <= StoreWire.frameBytesMax else {
      throw .tooLarge(bytes: header.length, limit: StoreWire.frameBytesMax)
    }
    let end = start + StoreWire.frameHeaderBytes + header.length
    guard end <= buffer.count else { return nil }
    let actual = buffer.withUnsafeBytes { raw in
      CRC32C.checksum(
        UnsafeRawBufferPointer(rebasing: raw[(start + StoreWire.frameHeaderBytes)..<end]),
        continuing: CRC32C.checksum(UnsafeRawBufferPointer(rebasing: raw[start..<start + 8])))
    }
    framesRead += 1
    guard actual == header.crc else { throw .checksum(frame: framesRead) }
    guard let kind = StoreWire.FrameKind(rawValue: header.kind), header.zero == 0,
      header.flags & ~StoreWire.compressedFlag == 0
    else { throw .malformed(frame: framesRead, reason: "its kind or flags are unknown") }
    let payload = Array(buffer[(start + StoreWire.frameHeaderBytes)..<end])
    position = end
    if kind == .end {
      try checkEnd(payload)
      return nil
    }
    return StoreWire.Frame(kind: kind, payload: header.flags == 0 ? payload : try expand(payload))
  }

  private mutating func readPreamble() throws(StoreWireError) -> Bool {
    let known = min(4, buffer.count)
    guard buffer[..<known].elementsEqual(StoreWire.preamble[..<known]) else { throw .notTheProtocol }
    guard buffer.count >= StoreWire.preamble.count else { return false }
    guard buffer[4] == StoreWire.version else { throw .unsupportedVersion(buffer[4]) }
    guard buffer[5..<8].allSatisfy({ $0 == 0 }) else { throw .notTheProtocol }
    position = StoreWire.preamble.count
    hasPreamble = true
    return true
  }

  private mutating func checkEnd(_ payload: [UInt8]) throws(StoreWireError) {
    let counted = payload.withUnsafeBytes { raw -> UInt64? in
      raw.count == 8 ? UInt64(littleEndian: raw.loadUnaligned(as: UInt64.self)) : nil
    }
    guard counted == UInt64(framesRead - 1) else {
      throw .malformed(frame: framesRead, reason: "it counts other frames than there were")
    }
    isFinished = true
  }

  private func expand(_ payload: [UInt8]) throws(StoreWireError) -> [UInt8] {
    guard payload.count >= 4 else { throw .malformed(frame: framesRead, reason: "its length is missing") }
    let length = payload.withUnsafeBytes { Int(UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self))) }
    guard length <= StoreWire.frameBytesMax else { throw .tooLarge(bytes: length, limit: StoreWire.frameBytesMax) }
    var expanded: [UInt8] = []
    expanded.reserveCapacity(length)
    let failure = payload.withUnsafeBytes { raw -> String? in
      do throws(CompressionError) {
        try Compression.zstd.decompress(
          UnsafeRawBufferPointer(rebasing: raw[4...]), maxBytes: length, appendingTo: &expanded)
        return expanded.count == length ? nil : "it expands to \(expanded.count) bytes and says \(length)"
      } catch { return "\(error)" }
    }
    if let failure { throw .malformed(frame: framesRead, reason: failure) }
    return expanded
  }
}
