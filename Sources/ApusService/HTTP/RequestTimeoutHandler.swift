import NIOCore
import NIOHTTPTypes

/// Closes a connection whose client takes too long: for the first request's head, for a body, or for taking an answer
/// off the socket. Idle connections between requests are Hummingbird's business.
final class RequestTimeoutHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias InboundOut = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart
  typealias OutboundOut = HTTPResponsePart

  private let headTimeout: TimeAmount
  private let bodyTimeout: TimeAmount
  private let writeTimeout: TimeAmount
  private var requestTimer: Scheduled<Void>?
  private var writeTimer: Scheduled<Void>?

  init(headTimeout: TimeAmount, bodyTimeout: TimeAmount, writeTimeout: TimeAmount) {
    self.headTimeout = headTimeout
    self.bodyTimeout = bodyTimeout
    self.writeTimeout = writeTimeout
  }

  func handlerAdded(context: ChannelHandlerContext) {
    requestTimer = closeTimer(context, after: headTimeout)
  }

  func handlerRemoved(context: ChannelHandlerContext) { cancelAll() }

  func channelInactive(context: ChannelHandlerContext) {
    cancelAll()
    context.fireChannelInactive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head:
      requestTimer?.cancel()
      requestTimer = closeTimer(context, after: bodyTimeout)
    case .body: break
    case .end:
      requestTimer?.cancel()
      requestTimer = nil
    }
    context.fireChannelRead(data)
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    writeTimer?.cancel()
    writeTimer = context.channel.isWritable ? nil : closeTimer(context, after: writeTimeout)
    context.fireChannelWritabilityChanged()
  }

  private func closeTimer(_ context: ChannelHandlerContext, after time: TimeAmount) -> Scheduled<Void> {
    let channel = context.channel
    return context.eventLoop.scheduleTask(in: time) { channel.close(promise: nil) }
  }

  private func cancelAll() {
    requestTimer?.cancel()
    requestTimer = nil
    writeTimer?.cancel()
    writeTimer = nil
  }
}
