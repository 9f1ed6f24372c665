import ApusService
import NIOCore

/// The event loop's end of a connection: cuts what arrives into frames, stops reading when too much is in work, and
/// closes clients that are silent, leave a frame half sent, or do not take what they asked for.
final class TCPConnectionHandler: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer

  private let inbox: ConnectionInbox
  private let outbox: ConnectionOutbox
  private let configuration: TCPDoor.Configuration
  private let metrics: BrokerMetrics
  private var decoder: FrameDecoder
  private var frames: [ByteBuffer] = []
  private var frameBytes = 0
  /// A read was asked for while the inbox was full.
  private var isReadPending = false
  /// The stream cannot be followed: what still arrives is thrown away, so that the client can read why.
  private var isDiscarding = false
  private var ticker: RepeatedTask?
  /// Ticks since the last byte, since the last frame was completed, since the socket last took a write.
  private var idleTicks = 0
  private var halfFrameTicks = 0
  private var stalledTicks = 0
  private var lastCompletedWrites: UInt64 = 0

  init(inbox: ConnectionInbox, outbox: ConnectionOutbox, configuration: TCPDoor.Configuration, metrics: BrokerMetrics) {
    self.inbox = inbox
    self.outbox = outbox
    self.configuration = configuration
    self.metrics = metrics
    decoder = FrameDecoder(maxFrameBytes: configuration.frameBytesMax.bytes)
  }

  func handlerAdded(context: ChannelHandlerContext) {
    let interval = configuration.tick
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    ticker = context.eventLoop.scheduleRepeatedTask(
      initialDelay: TimeAmount(interval), delay: TimeAmount(interval)
    ) { _ in
      let (handler, context) = bound.value
      handler.tick(context)
    }
  }

  func handlerRemoved(context: ChannelHandlerContext) { ticker?.cancel() }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    idleTicks = 0
    if isDiscarding { return }
    decoder.feed(unwrapInboundIn(data))
    do throws(FrameError) {
      while let frame = try decoder.next() {
        halfFrameTicks = 0
        frameBytes += frame.readableBytes
        frames.append(frame)
      }
    } catch {
      handOver()
      fail(DoorError(error))
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    handOver()
    context.fireChannelReadComplete()
  }

  func read(context: ChannelHandlerContext) {
    if !isDiscarding && inbox.mustPause {
      if !isReadPending { metrics.backpressureEvents.add() }
      isReadPending = true
    } else {
      context.read()
    }
  }

  /// The session has caught up.
  func resumeReading(context: ChannelHandlerContext) {
    guard isReadPending, !inbox.isPaused else { return }
    isReadPending = false
    context.read()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case ChannelEvent.inputClosed = event {
      // The client has said all it will; it still gets its answers.
      handOver()
      inbox.finish(.closed)
    }
    context.fireUserInboundEventTriggered(event)
  }

  func channelInactive(context: ChannelHandlerContext) {
    ticker?.cancel()
    inbox.finish(.closed)
    outbox.close()
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // A reset by the client, mostly; nothing can be said to it any more.
    context.close(promise: nil)
  }

  private func handOver() {
    if frames.isEmpty { return }
    inbox.put(frames, bytes: frameBytes)
    frames.removeAll(keepingCapacity: frames.count <= 256)
    frameBytes = 0
  }

  private func fail(_ error: DoorError) {
    isDiscarding = true
    decoder = FrameDecoder(maxFrameBytes: configuration.frameBytesMax.bytes)
    inbox.finish(.failed(error))
  }

  private func tick(_ context: ChannelHandlerContext) {
    let (pendingBytes, completedWrites) = outbox.progress
    stalledTicks = pendingBytes > 0 && completedWrites == lastCompletedWrites ? stalledTicks + 1 : 0
    lastCompletedWrites = completedWrites
    if stalledTicks >= configuration.ticks(configuration.stalledReaderTimeout) {
      metrics.stalledReaders.add()
      context.close(promise: nil)
      return
    }
    // Time during which we do not read is ours, not the client's.
    if isDiscarding || inbox.isPaused { return }
    halfFrameTicks = decoder.isMidFrame ? halfFrameTicks + 1 : 0
    if halfFrameTicks >= configuration.ticks(configuration.frameTimeout) {
      let limit = DurationText.format(configuration.frameTimeout)
      fail(DoorError(.frameTimeout, "a frame was begun and not completed within \(limit)"))
      return
    }
    idleTicks = inbox.isIdle ? idleTicks + 1 : 0
    if idleTicks >= configuration.ticks(configuration.idleTimeout) {
      let limit = DurationText.format(configuration.idleTimeout)
      fail(DoorError(.idleTimeout, "nothing was heard for \(limit); send a ping now and then"))
    }
  }
}
