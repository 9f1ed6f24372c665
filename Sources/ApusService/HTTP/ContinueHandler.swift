import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Tells clients that wait for it (`Expect: 100-continue`) to send their body; curl waits a second for that with larger
/// ones. A client that announces more than any route takes is not told so, and gets its refusal without sending.
final class ContinueHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias InboundOut = HTTPRequestPart
  typealias OutboundOut = HTTPResponsePart

  private let bodyBytesMax: Int

  init(bodyBytesMax: Int) { self.bodyBytesMax = bodyBytesMax }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if case .head(let head) = unwrapInboundIn(data), head.headerFields[.expect]?.lowercased() == "100-continue",
      head.headerFields[.contentLength].flatMap({ Int($0) }) ?? 0 <= bodyBytesMax
    {
      context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
    }
    context.fireChannelRead(data)
  }
}
