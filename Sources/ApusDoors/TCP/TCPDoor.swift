import ApusBroker
import ApusIO
import ApusService
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization

/// The broker's simplest door: frames of JSON over TCP (docs/protocol.md).
///
/// Each connection has a session, one task that answers its requests in order; subscriptions and fetches are child
/// tasks of it. What a client can make grow is bounded by `Configuration`, and a client that is slow, silent or wrong
/// harms its own connection only.
package struct TCPDoor: Service {
  /// The bounds, each with its default.
  package struct Configuration: Sendable {
    package var listen: ListenAddress
    /// The flag that chose `listen`, named when the address cannot be had.
    package var listenFlag = "--tcp-listen"
    /// The most bytes of one frame, payload included: the largest batch that the log takes by default, and some room.
    package var frameBytesMax = ByteCount.mebibytes(9)
    /// Connections at one time; one more is told so and closed.
    package var connectionsMax = 1024
    /// Bytes of requests of one connection that wait or are in work; above it the socket is not read.
    package var inFlightBytesMax = ByteCount.mebibytes(8)
    /// Bytes sent to a client that it has not taken; above it nothing is read from the log for it.
    package var outboundBytesMax = ByteCount.kibibytes(256)
    /// Partitions that the subscriptions of one connection may read.
    package var subscriptionsMax = 64
    /// Fetches of one connection that may wait at one time.
    package var fetchesMax = 64
    /// The most bytes that one fetch asks of the log, whatever the client asks for.
    package var fetchBytesMax = ByteCount.mebibytes(4)
    /// The longest that a fetch waits for data.
    package var fetchWaitMax = Duration.seconds(30)
    /// How much a subscription reads from the log at once.
    package var deliveryBytes = ByteCount.kibibytes(256)
    /// How long a subscription waits in one read; it notices its end at the latest after this.
    package var deliveryWait = Duration.seconds(5)
    /// How long publishes wait for a log that is full of bytes not yet durable before they are refused.
    package var publishWaitMax = Duration.seconds(30)
    /// A connection from which nothing is heard for so long is closed.
    package var idleTimeout = Duration.seconds(300)
    /// From the first byte of a frame to its last.
    package var frameTimeout = Duration.seconds(30)
    /// How long a client may leave what was sent to it without taking any.
    package var stalledReaderTimeout = Duration.seconds(60)
    /// At the end: how long open connections have to finish what they do.
    package var drainTimeout = Duration.seconds(5)
    /// How long a connection stays open behind a fatal error, so that the client can read it.
    package var lastWordsTimeout = Duration.seconds(1)

    package init(listen: ListenAddress) { self.listen = listen }

    /// How often the timeouts are looked at: often enough to be met within a quarter.
    var tick: Duration {
      min(max(min(idleTimeout, frameTimeout, stalledReaderTimeout) / 4, .milliseconds(5)), .seconds(1))
    }

    /// A timeout in ticks.
    func ticks(_ timeout: Duration) -> Int { max(1, Int(timeout.wholeNanoseconds / tick.wholeNanoseconds)) }
  }

  package let configuration: Configuration
  /// Where the door really listens.
  package let address = BoundAddress()
  package let subscribers: SubscriberRegistry
  private let context: DoorContext
  private let logger: Logger
  private let group: any EventLoopGroup
  private let connections = OpenConnections()

  package init(
    _ configuration: Configuration, log: any RecordLog, metrics: BrokerMetrics,
    subscribers: SubscriberRegistry = SubscriberRegistry(), logger: Logger, clock: any WallClock = SystemClock(),
    group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton
  ) {
    self.configuration = configuration
    self.subscribers = subscribers
    self.logger = logger
    self.group = group
    context = DoorContext(
      log: log, configuration: configuration, metrics: metrics, directory: TopicDirectory(log: log, clock: clock),
      subscribers: subscribers, clock: clock)
  }

  /// Serves until shut down gracefully, then lets the connections finish; or until cancelled. Throws `ServiceError`
  /// when the address cannot be had.
  package func run() async throws {
    let server: any Channel
    do {
      server = try await bootstrap().bind(host: configuration.listen.host, port: configuration.listen.port).get()
    } catch {
      let failure = ServiceError.listening(on: configuration.listen, flag: configuration.listenFlag, failed: error)
      address.resolve(.failure(failure))
      throw failure
    }
    let bound = ListenAddress(server.localAddress) ?? configuration.listen
    logger.info("listening", metadata: ["address": "\(bound)", "protocol": "tcp"])
    address.resolve(.success(bound))
    try? await gracefulShutdown()
    try? await server.close()
    connections.finish(with: DoorError(.shuttingDown, "the broker is shutting down"))
    if !Task.isCancelled { await connections.waitUntilEmpty(atMost: configuration.drainTimeout) }
    connections.closeAll()
  }

  /// TCP_NOTSENT_LOWAT: the kernel keeps no more unsent bytes than this for a connection, where it would else take
  /// megabytes for each reader that stands still. Its number, since not every C library's header has the name.
  private static let notSentLowWater: NIOBSDSocket.Option = {
    #if os(Linux)
      NIOBSDSocket.Option(rawValue: 25)
    #else
      NIOBSDSocket.Option(rawValue: 0x201)
    #endif
  }()

  private func bootstrap() -> ServerBootstrap {
    ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 1024)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.tcpOption(TCPDoor.notSentLowWater), value: configuration.outboundBytesMax.bytes)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      .childChannelOption(
        .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 2048, initial: 16_384, maximum: 262_144)
      )
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try accept(channel) }
      }
  }

  private func accept(_ channel: any Channel) throws {
    let metrics = context.metrics
    guard connections.begin(limit: configuration.connectionsMax) else {
      metrics.connectionsRefused.add()
      metrics.countError(.tooManyConnections)
      try refuse(channel)
      return
    }
    metrics.connectionsAccepted.add()
    metrics.connections.add(1)
    let inbox = ConnectionInbox(bytesMax: configuration.inFlightBytesMax.bytes)
    let outbox = ConnectionOutbox(channel: channel, bytesMax: configuration.outboundBytesMax.bytes)
    let handler = TCPConnectionHandler(
      inbox: inbox, outbox: outbox, configuration: configuration, metrics: metrics)
    try channel.pipeline.syncOperations.addHandler(handler)
    let bound = NIOLoopBound(
      (handler, try channel.pipeline.syncOperations.context(handler: handler)), eventLoop: channel.eventLoop)
    connections.add(channel, inbox)
    channel.closeFuture.whenComplete { [connections] _ in
      connections.remove(channel)
      metrics.connections.add(-1)
    }
    let client = channel.remoteAddress.map { ListenAddress($0)?.description ?? "\($0)" } ?? "unknown"
    Task { [context, configuration] in
      let session = TCPSession(context: context, inbox: inbox, outbox: outbox, client: client)
      let lastWords = await session.run(resumeReading: {
        channel.eventLoop.execute {
          let (handler, context) = bound.value
          if channel.isActive { handler.resumeReading(context: context) }
        }
      })
      TCPDoor.close(channel, saying: lastWords ?? [], within: configuration.lastWordsTimeout)
    }
  }

  private func refuse(_ channel: any Channel) throws {
    var writer = FrameWriter()
    writer.error(
      DoorError(
        .tooManyConnections, "there are \(configuration.connectionsMax) connections already, which is the limit"),
      id: nil, isFatal: true)
    try channel.pipeline.syncOperations.addHandler(
      RefusalHandler(words: writer.take(), timeout: configuration.lastWordsTimeout))
  }

  /// Sends what is to be said last, closes our half, and gives the client a moment to read it: a full close at once
  /// would make the kernel throw the words away when bytes of the client are still unread.
  static func close(_ channel: any Channel, saying words: [UInt8], within time: Duration) {
    channel.eventLoop.execute {
      let deadline = channel.eventLoop.scheduleTask(in: TimeAmount(time)) { channel.close(promise: nil) }
      channel.closeFuture.whenComplete { _ in deadline.cancel() }
      channel.writeAndFlush(ByteBuffer(bytes: words)).whenComplete { _ in
        channel.close(mode: .output, promise: nil)
      }
    }
  }
}

/// Tells a connection that there is no room for it, as soon as it can be told, and closes it.
private final class RefusalHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  private let words: [UInt8]
  private let timeout: Duration

  init(words: [UInt8], timeout: Duration) {
    self.words = words
    self.timeout = timeout
  }

  func channelActive(context: ChannelHandlerContext) {
    TCPDoor.close(context.channel, saying: words, within: timeout)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {}
  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// The connections that are open, so that they can be counted and ended.
final class OpenConnections: Sendable {
  private struct State {
    var count = 0
    var open: [ObjectIdentifier: (channel: any Channel, inbox: ConnectionInbox)] = [:]
    var end: DoorError?
  }

  private let state = Mutex(State())

  init() {}

  /// Reserves a place; false when there are `limit` connections or the door is closing.
  func begin(limit: Int) -> Bool {
    state.withLock { state in
      guard state.count < limit, state.end == nil else { return false }
      state.count += 1
      return true
    }
  }

  func add(_ channel: any Channel, _ inbox: ConnectionInbox) {
    let end = state.withLock { state in
      state.open[ObjectIdentifier(channel)] = (channel, inbox)
      return state.end
    }
    if let end { inbox.finish(.failed(end)) }
  }

  func remove(_ channel: any Channel) {
    state.withLock { state in
      if state.open.removeValue(forKey: ObjectIdentifier(channel)) != nil { state.count -= 1 }
    }
  }

  /// Tells every session to finish what has arrived, say why and close.
  func finish(with error: DoorError) {
    let inboxes = state.withLock { state in
      state.end = error
      return state.open.values.map { $0.inbox }
    }
    for inbox in inboxes { inbox.finish(.failed(error)) }
  }

  func waitUntilEmpty(atMost time: Duration) async {
    let steps = max(1, Int(time.wholeNanoseconds / 10_000_000))
    for _ in 0..<steps {
      if state.withLock({ $0.count }) == 0 { return }
      do { try await Task.sleep(for: .milliseconds(10)) } catch { return }
    }
  }

  func closeAll() {
    let channels = state.withLock { state in state.open.values.map { $0.channel } }
    for channel in channels { channel.close(promise: nil) }
  }
}
