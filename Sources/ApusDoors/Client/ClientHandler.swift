import ApusBroker
import NIOCore

/// The client's end of a socket: cuts what arrives into frames and hands each to the connection.
final class ClientHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private var decoder: FrameDecoder
  private let connection: ClientConnection
  private let generation: UInt64

  init(connection: ClientConnection, generation: UInt64, frameBytesMax: Int) {
    self.connection = connection
    self.generation = generation
    decoder = FrameDecoder(maxFrameBytes: frameBytesMax)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    decoder.feed(unwrapInboundIn(data))
    do {
      while let frame = try decoder.next() {
        let answer = try frame.withUnsafeReadableBytes { bytes throws(LogError) in try Answer(bytes) }
        if answer.isFatal, let error = answer.error {
          connection.lost(generation, error.logError)
          context.close(promise: nil)
          return
        }
        let payload = frame.getSlice(
          at: frame.readerIndex + answer.payloadStart, length: frame.readableBytes - answer.payloadStart)
        connection.answered(answer, payload ?? ByteBuffer())
      }
    } catch {
      connection.lost(generation, (error as? LogError) ?? .protocolViolation("\(error)"))
      context.close(promise: nil)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    connection.lost(generation, nil)
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    connection.lost(generation, .unreachable("the connection to the broker broke: \(error)"))
    context.close(promise: nil)
  }
}
