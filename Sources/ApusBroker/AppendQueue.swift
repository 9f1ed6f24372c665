import Synchronization

/// What waits for the writer: bounded by bytes, in order of arrival. Appends beyond the bound wait in a second line
/// that moves up as turns are done; the bytes of a submission count until it has been answered.
final class AppendQueue: Sendable {
  struct Submission: Sendable {
    var requests: [AppendRequest]
    var bytes: Int
    var continuation: CheckedContinuation<[Result<AppendReceipt, LogError>], Never>

    func refuse(_ error: LogError) {
      continuation.resume(returning: Array(repeating: .failure(error), count: requests.count))
    }
  }

  enum Command: Sendable {
    case append(Submission)
    case control(@Sendable (LogCore) -> Void)
  }

  enum Admission {
    case queued
    /// It waits in the second line under this number.
    case waits(UInt64)
    case refused(LogError)
  }

  private struct State {
    var commands: [Command] = []
    var bytes = 0
    var waiting: [(id: UInt64, submission: Submission)] = []
    var lastID: UInt64 = 0
    var isWriterIdle = false
    var isClosed = false
    var backpressureEvents: Int64 = 0
  }

  let bytesMax: Int
  private let waitingMax: Int
  private let doorbell = Doorbell()
  private let state = Mutex(State())

  init(bytesMax: Int, waitingMax: Int) {
    self.bytesMax = bytesMax
    self.waitingMax = waitingMax
  }

  var isClosed: Bool { state.withLock { $0.isClosed } }
  var queuedBytes: Int { state.withLock { $0.bytes } }
  var backpressureEvents: Int64 { state.withLock { $0.backpressureEvents } }

  func submit(_ submission: Submission) -> Admission {
    let (admission, mustRing) = state.withLock { state -> (Admission, Bool) in
      if state.isClosed { return (.refused(.shuttingDown), false) }
      // One that is larger than the whole bound goes alone.
      let fits = state.bytes == 0 || state.bytes + submission.bytes <= bytesMax
      if fits && state.waiting.isEmpty { return (.queued, AppendQueue.enqueue(submission, &state)) }
      state.backpressureEvents += 1
      guard state.waiting.count < waitingMax else {
        return (.refused(.backpressure(queuedBytes: state.bytes, limit: bytesMax)), false)
      }
      state.lastID += 1
      state.waiting.append((state.lastID, submission))
      return (.waits(state.lastID), false)
    }
    if mustRing { doorbell.ring() }
    return admission
  }

  /// Takes a submission out of the second line, if it is there still, and refuses it.
  func giveUp(_ id: UInt64) {
    let (submission, queued) = state.withLock { state -> (Submission?, Int) in
      guard let position = state.waiting.firstIndex(where: { $0.id == id }) else { return (nil, 0) }
      return (state.waiting.remove(at: position).submission, state.bytes)
    }
    submission?.refuse(.backpressure(queuedBytes: queued, limit: bytesMax))
  }

  /// False when the log has been closed.
  func control(_ body: @escaping @Sendable (LogCore) -> Void) -> Bool {
    let (isTaken, mustRing) = state.withLock { state -> (Bool, Bool) in
      if state.isClosed { return (false, false) }
      state.commands.append(.control(body))
      return (true, AppendQueue.wake(&state))
    }
    if mustRing { doorbell.ring() }
    return isTaken
  }

  /// Nothing more is taken; those in the second line are refused. What is queued is still to be done.
  func close() {
    let (refused, mustRing) = state.withLock { state -> ([Submission], Bool) in
      state.isClosed = true
      let refused = state.waiting.map(\.submission)
      state.waiting = []
      return (refused, AppendQueue.wake(&state))
    }
    for submission in refused { submission.refuse(.shuttingDown) }
    if mustRing { doorbell.ring() }
  }

  // MARK: The writer's side

  enum Taken {
    case commands([Command])
    case nothing
    /// The queue is closed and everything has been taken.
    case closed
  }

  /// The next commands, as many as a turn may have; waits for them, but not for longer than `limit`.
  func take(bytes: Int, atMost limit: Duration) -> Taken {
    let first = takeNow(bytes, willWait: true)
    if case .nothing = first {
      _ = doorbell.wait(atMost: limit)
      return takeNow(bytes, willWait: false)
    }
    return first
  }

  private func takeNow(_ bytes: Int, willWait: Bool) -> Taken {
    state.withLock { state in
      state.isWriterIdle = willWait && state.commands.isEmpty
      if state.commands.isEmpty { return state.isClosed ? .closed : .nothing }
      var taken = 0
      var end = 0
      while end < state.commands.count {
        if case .append(let submission) = state.commands[end] {
          if end > 0 && taken + submission.bytes > bytes { break }
          taken += submission.bytes
        }
        end += 1
      }
      if end == state.commands.count {
        let all = state.commands
        state.commands = []
        return .commands(all)
      }
      let some = Array(state.commands[..<end])
      state.commands.removeSubrange(..<end)
      return .commands(some)
    }
  }

  /// These bytes have been dealt with: the second line moves up.
  func release(_ bytes: Int) {
    state.withLock { state in
      state.bytes -= bytes
      var moved = 0
      while moved < state.waiting.count {
        let next = state.waiting[moved].submission
        guard state.bytes == 0 || state.bytes + next.bytes <= bytesMax else { break }
        _ = AppendQueue.enqueue(next, &state)
        moved += 1
      }
      if moved > 0 { state.waiting.removeSubrange(..<moved) }
    }
  }

  private static func enqueue(_ submission: Submission, _ state: inout State) -> Bool {
    state.commands.append(.append(submission))
    state.bytes += submission.bytes
    return wake(&state)
  }

  /// Whether the writer must be woken: only the first to come finds it idle.
  private static func wake(_ state: inout State) -> Bool {
    defer { state.isWriterIdle = false }
    return state.isWriterIdle
  }
}
