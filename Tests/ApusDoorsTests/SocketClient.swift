import NIOCore
import NIOPosix
import Synchronization

/// A plain client of the TCP door: it sends what it is told, right or wrong, and shows the frames that come back.
final class SocketClient: Sendable {
  /// One frame from the server.
  struct Frame: Sendable {
    var json: JSONValue
    var payload: [UInt8]
    subscript(key: String) -> JSONValue? { json[key] }
  }

  let channel: any Channel
  private let frames: FrameQueue

  private init(channel: any Channel, frames: FrameQueue) {
    self.channel = channel
    self.frames = frames
  }

  /// - Parameter reads: false for a client that never takes anything off its socket.
  static func connect(port: Int, reads: Bool = true) async throws -> SocketClient {
    let frames = FrameQueue()
    let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .channelOption(.autoRead, value: reads)
      .channelOption(.socketOption(.so_rcvbuf), value: reads ? 1 << 20 : 4096)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(FrameCollector(frames))
        }
      }
      .connect(host: "127.0.0.1", port: port).get()
    return SocketClient(channel: channel, frames: frames)
  }

  /// Sends one frame: its length, the object and the payload.
  func send(_ json: String, payload: [UInt8] = []) async throws {
    try await sendRaw(SocketClient.frame(json, payload: payload))
  }

  /// Sends bytes as they are.
  func sendRaw(_ bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)) }

  /// The next frame; nil when the server has closed.
  func next() async -> Frame? { await frames.next() }

  /// Sends a frame and takes the next one that comes.
  func ask(_ json: String, payload: [UInt8] = []) async throws -> Frame? {
    try await send(json, payload: payload)
    return await next()
  }

  func close() async { try? await channel.close() }

  static func frame(_ json: String, payload: [UInt8] = []) -> [UInt8] {
    let object = [UInt8](json.utf8)
    var bytes = withUnsafeBytes(of: UInt32(object.count + payload.count).bigEndian) { [UInt8]($0) }
    bytes += object
    bytes += payload
    return bytes
  }
}

/// Cuts the server's bytes into frames, by hand and not by the decoder under test.
private final class FrameCollector: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  private var bytes: [UInt8] = []
  private let frames: FrameQueue

  init(_ frames: FrameQueue) { self.frames = frames }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    bytes += unwrapInboundIn(data).readableBytesView
    var position = 0
    while bytes.count - position >= 4 {
      let length = bytes[position..<position + 4].reduce(0) { $0 << 8 | Int($1) }
      guard bytes.count - position >= 4 + length else { break }
      let frame = Array(bytes[position + 4..<position + 4 + length])
      position += 4 + length
      guard let (json, end) = try? frame.withUnsafeBytes({ try JSONValue.parse($0) }) else {
        frames.finish()
        context.close(promise: nil)
        return
      }
      frames.put(SocketClient.Frame(json: json, payload: Array(frame[end...])))
    }
    bytes.removeFirst(position)
  }

  func channelInactive(context: ChannelHandlerContext) { frames.finish() }
  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// Frames that wait to be looked at by one reader.
private final class FrameQueue: Sendable {
  private struct State {
    var frames: [SocketClient.Frame] = []
    var isFinished = false
    var waiter: CheckedContinuation<Void, Never>?
  }

  private let state = Mutex(State())

  func put(_ frame: SocketClient.Frame) { wake { $0.frames.append(frame) } }

  func finish() { wake { $0.isFinished = true } }

  func next() async -> SocketClient.Frame? {
    while true {
      let (frame, isFinished) = state.withLock { state in
        (state.frames.isEmpty ? nil : state.frames.removeFirst(), state.isFinished)
      }
      if let frame { return frame }
      if isFinished { return nil }
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let mustWait = state.withLock { state in
          guard state.frames.isEmpty, !state.isFinished else { return false }
          state.waiter = continuation
          return true
        }
        if !mustWait { continuation.resume() }
      }
    }
  }

  private func wake(_ change: (inout State) -> Void) {
    let waiter = state.withLock { state in
      change(&state)
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }
}
