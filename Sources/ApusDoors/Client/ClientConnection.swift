import ApusBroker
import ApusIO
import ApusService
import NIOCore
import NIOPosix
import Synchronization

/// One connection to a TCP door that is made when it is first needed and made again, after a pause that grows, when
/// it is needed after a loss. Requests are pipelined; each is answered, or failed with the connection.
///
/// Nothing that was sent is ever sent again: whoever asked decides, because only he knows whether that is safe.
final class ClientConnection: Sendable {
  private typealias Waiter = CheckedContinuation<Result<any Channel, LogError>, Never>

  private enum Link {
    case down
    case connecting([Waiter])
    case up(any Channel)
    case closed
  }

  private struct State {
    var link = Link.down
    /// Counts the connections made, so that the end of an old one does not touch a new one.
    var generation: UInt64 = 0
    var pending = PendingAnswers()
    var backoff: Backoff
    /// Monotonic nanoseconds before which no attempt is made.
    var notBefore: UInt64 = 0
    var ticksSinceSend = 0
    var room: [CheckedContinuation<Void, Never>] = []
  }

  private let configuration: TCPLogClient.Configuration
  private let clock: any WallClock
  private let group: any EventLoopGroup
  private let state: Mutex<State>

  init(_ configuration: TCPLogClient.Configuration, clock: any WallClock, group: any EventLoopGroup, seed: UInt64) {
    self.configuration = configuration
    self.clock = clock
    self.group = group
    state = Mutex(
      State(
        backoff: Backoff(
          initial: configuration.reconnectInitial, maximum: configuration.reconnectMax, seed: seed)))
  }

  /// Sends requests in one write, once there is room for them. `build` is given a number for each and answers the
  /// bytes of all frames; each is answered through `complete` exactly once, also when nothing could be sent.
  func send(
    count: Int, bytes: Int, extraWait: Duration = .zero, build: ([Int64]) -> [UInt8],
    complete: @escaping @Sendable (_ index: Int, AnswerResult) -> Void
  ) async {
    await waitForRoom()
    let channel: any Channel
    switch await connected() {
    case .success(let open): channel = open
    case .failure(let error):
      for index in 0..<count { complete(index, .failure(error)) }
      return
    }
    let ticks = configuration.ticks(configuration.requestTimeout + extraWait)
    let numbers: [Int64]? = state.withLock { state in
      guard case .up(let current) = state.link, current === channel else { return nil }
      state.ticksSinceSend = 0
      return (0..<count).map { index in
        let number = state.pending.number()
        state.pending.add(number, bytes: bytes / count, ticks: ticks) { complete(index, $0) }
        return number
      }
    }
    guard let numbers else {
      // Lost between the connecting and now; nothing was sent.
      for index in 0..<count { complete(index, .failure(lostError)) }
      return
    }
    channel.writeAndFlush(ByteBuffer(bytes: build(numbers)), promise: nil)
  }

  /// One request and its answer. A cancelled task is let go at once, whatever the server does with its request.
  func request(
    extraWait: Duration = .zero, _ build: @escaping @Sendable (Int64) -> [UInt8]
  ) async throws(LogError) -> (answer: Answer, payload: ByteBuffer) {
    let waiter = AnswerWaiter()
    let result = await withTaskCancellationHandler {
      await withCheckedContinuation { (continuation: CheckedContinuation<AnswerResult, Never>) in
        waiter.begin(continuation)
        Task {
          await send(count: 1, bytes: 0, extraWait: extraWait, build: { build($0[0]) }) { _, result in
            waiter.resolve(result)
          }
        }
      }
    } onCancel: {
      waiter.resolve(.failure(.unreachable("the call was cancelled before the broker answered")))
    }
    let (answer, payload) = try result.get()
    if let error = answer.error { throw error.logError }
    return (answer, payload)
  }

  /// Takes a frame of the server's.
  func answered(_ answer: Answer, _ payload: ByteBuffer) {
    guard let id = answer.id else { return }
    let (complete, room) = state.withLock { state in (state.pending.take(id), takeRoom(&state)) }
    for waiter in room { waiter.resume() }
    complete?(.success((answer, payload)))
  }

  /// The connection of this generation is gone; all that wait are told.
  func lost(_ generation: UInt64, _ error: LogError?) {
    let told = state.withLock {
      state -> (all: [@Sendable (AnswerResult) -> Void], room: [CheckedContinuation<Void, Never>])? in
      guard state.generation == generation, case .up = state.link else { return nil }
      state.link = .down
      let all = state.pending.takeAll()
      return (all, takeRoom(&state))
    }
    guard let told else { return }
    for waiter in told.room { waiter.resume() }
    for complete in told.all { complete(.failure(error ?? lostError)) }
  }

  /// Closes for good; what waits fails.
  func close() async {
    let (channel, waiters, all, room) = state.withLock {
      state -> ((any Channel)?, [Waiter], [@Sendable (AnswerResult) -> Void], [CheckedContinuation<Void, Never>]) in
      let link = state.link
      state.link = .closed
      let all = state.pending.takeAll()
      let room = takeRoom(&state)
      switch link {
      case .up(let channel): return (channel, [], all, room)
      case .connecting(let waiters): return (nil, waiters, all, room)
      case .down, .closed: return (nil, [], all, room)
      }
    }
    for waiter in waiters { waiter.resume(returning: .failure(.shuttingDown)) }
    for waiter in room { waiter.resume() }
    for complete in all { complete(.failure(.shuttingDown)) }
    try? await channel?.close()
  }

  private var lostError: LogError { .unreachable("the connection to the broker at \(configuration.address) was lost") }

  /// Senders wait while so many bytes are unanswered that the bound is reached; one alone may always go.
  private func waitForRoom() async {
    while true {
      let isFull = state.withLock { $0.pending.bytesInFlight >= configuration.inFlightBytesMax.bytes }
      if !isFull { return }
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let mustWait = state.withLock { state in
          guard state.pending.bytesInFlight >= configuration.inFlightBytesMax.bytes else { return false }
          state.room.append(continuation)
          return true
        }
        if !mustWait { continuation.resume() }
      }
    }
  }

  private func takeRoom(_ state: inout State) -> [CheckedContinuation<Void, Never>] {
    guard state.pending.bytesInFlight < configuration.inFlightBytesMax.bytes, !state.room.isEmpty else { return [] }
    defer { state.room = [] }
    return state.room
  }

  /// The open connection; makes one where there is none. All that ask meanwhile share one attempt.
  private func connected() async -> Result<any Channel, LogError> {
    await withCheckedContinuation { (continuation: Waiter) in
      let (known, mustConnect) = state.withLock { state -> (Result<any Channel, LogError>?, Bool) in
        switch state.link {
        case .up(let channel): return (.success(channel), false)
        case .closed: return (.failure(.shuttingDown), false)
        case .connecting(let others):
          state.link = .connecting(others + [continuation])
          return (nil, false)
        case .down:
          state.link = .connecting([continuation])
          return (nil, true)
        }
      }
      if let known { continuation.resume(returning: known) }
      if mustConnect { Task { await connect() } }
    }
  }

  private func connect() async {
    let now = clock.monotonicNanoseconds
    let notBefore = state.withLock { $0.notBefore }
    if notBefore > now { try? await Task.sleep(for: .nanoseconds(Int64(notBefore - now))) }
    let generation = state.withLock { state in
      state.generation += 1
      return state.generation
    }
    let outcome: Result<any Channel, LogError>
    do {
      let channel = try await ClientBootstrap(group: group)
        .connectTimeout(TimeAmount(configuration.connectTimeout))
        .channelOption(.tcpOption(.tcp_nodelay), value: 1)
        .channelOption(
          .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 2048, initial: 16_384, maximum: 262_144)
        )
        .channelInitializer { [self] channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHandler(
              ClientHandler(
                connection: self, generation: generation, frameBytesMax: configuration.answerBytesMax.bytes))
          }
        }
        .connect(host: configuration.address.host, port: configuration.address.port).get()
      outcome = .success(channel)
    } catch {
      outcome = .failure(
        .unreachable(
          "cannot connect to the broker at \(configuration.address): \(TCPLogClient.reason(error));"
            + " is it running, and is the address right?"))
    }
    finish(outcome, generation)
  }

  private func finish(_ outcome: Result<any Channel, LogError>, _ generation: UInt64) {
    let waiters = state.withLock { state -> [Waiter] in
      guard case .connecting(let waiters) = state.link else { return [] }
      switch outcome {
      case .success(let channel):
        state.link = .up(channel)
        state.backoff.reset()
      case .failure:
        state.link = .down
        state.notBefore = clock.monotonicNanoseconds &+ UInt64(state.backoff.next().wholeNanoseconds)
      }
      return waiters
    }
    for waiter in waiters { waiter.resume(returning: outcome) }
    guard case .success(let channel) = outcome else { return }
    if waiters.isEmpty {
      // Closed for good while it was being made.
      channel.close(promise: nil)
      return
    }
    if !channel.isActive { lost(generation, nil) }
    let ticker = channel.eventLoop.scheduleRepeatedTask(
      initialDelay: TimeAmount(configuration.tick), delay: TimeAmount(configuration.tick)
    ) { [weak self] task in
      guard let self else { return task.cancel() }
      tick(channel, generation)
    }
    channel.closeFuture.whenComplete { _ in ticker.cancel() }
  }

  /// Fails the connection when an answer is overdue, and says something when it has been silent for long.
  private func tick(_ channel: any Channel, _ generation: UInt64) {
    let (isOverdue, mustPing) = state.withLock { state -> (Bool, Bool) in
      let isOverdue = state.pending.tick()
      state.ticksSinceSend += 1
      let mustPing = state.ticksSinceSend >= configuration.ticks(configuration.pingInterval)
      if mustPing { state.ticksSinceSend = 0 }
      return (isOverdue, mustPing)
    }
    if isOverdue {
      let time = DurationText.format(configuration.requestTimeout)
      lost(generation, .unreachable("the broker at \(configuration.address) did not answer within \(time)"))
      channel.close(promise: nil)
    } else if mustPing {
      let number = state.withLock { state in
        let number = state.pending.number()
        state.pending.add(number, bytes: 0, ticks: configuration.ticks(configuration.requestTimeout)) { _ in }
        return number
      }
      var writer = FrameWriter()
      writer.frame("ping", id: number)
      channel.writeAndFlush(ByteBuffer(bytes: writer.take()), promise: nil)
    }
  }
}

/// Lets one task wait for one answer, or for its cancellation, whichever is first.
private final class AnswerWaiter: Sendable {
  private enum State {
    case new
    case waiting(CheckedContinuation<AnswerResult, Never>)
    case resolved(AnswerResult)
    case done
  }

  private let state = Mutex(State.new)

  func begin(_ continuation: CheckedContinuation<AnswerResult, Never>) {
    let known = state.withLock { state -> AnswerResult? in
      if case .resolved(let result) = state {
        state = .done
        return result
      }
      state = .waiting(continuation)
      return nil
    }
    if let known { continuation.resume(returning: known) }
  }

  /// Only the first result counts.
  func resolve(_ result: AnswerResult) {
    let continuation = state.withLock { state -> CheckedContinuation<AnswerResult, Never>? in
      switch state {
      case .new:
        state = .resolved(result)
        return nil
      case .waiting(let continuation):
        state = .done
        return continuation
      case .resolved, .done: return nil
      }
    }
    continuation?.resume(returning: result)
  }
}
