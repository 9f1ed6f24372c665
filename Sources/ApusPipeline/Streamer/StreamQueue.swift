import ApusIO
import Synchronization

/// The buffer between the loops that collect and the loop that publishes.
///
/// Each collecting task puts in, one publishing task takes out. Nothing is awaited while the lock is held.
final class StreamQueue: Sendable {
  private struct State {
    var buffer: StreamBuffer
    var isClosed = false
    /// The flush interval of what waits is over; stays so until the buffer is empty.
    var isFlushDue = false
    var hasTimer = false
    /// What leaves goes to the spool, because older things are there.
    var isSpooling = false
    /// Somebody moves entries to the spool right now.
    var isSpilling = false
  }

  /// When what waits is published.
  struct Trigger: Hashable, Sendable {
    var bytes: Int
    var records: Int
    /// Zero: at once.
    var flushInterval: Duration
  }

  private let state: Mutex<State>
  private let signal = Signal()
  private let trigger: Trigger
  private let clock: any WallClock
  private let sleeper: Sleeper

  init(limits: StreamBuffer.Limits, trigger: Trigger, clock: any WallClock, sleeper: Sleeper) {
    state = Mutex(State(buffer: StreamBuffer(limits: limits)))
    self.trigger = trigger
    self.clock = clock
    self.sleeper = sleeper
  }

  /// Items, samples and bytes that wait.
  var level: (items: Int, samples: Int, bytes: Int) {
    state.withLock { ($0.buffer.count, $0.buffer.samples, $0.buffer.bytes) }
  }

  /// Puts a file's batch in; waits while the buffer is full and says whether it had to. Nil when the queue was closed or
  /// the task cancelled before there was room: the batch is not in.
  func put(_ batch: SourceBatch, source: Int) async -> Bool? {
    var waited = false
    while true {
      let epoch = signal.epoch
      let now = clock.monotonicNanoseconds
      let isIn: Bool? = state.withLock { state in
        if state.isClosed { return nil }
        if state.buffer.isFull { return false }
        state.buffer.push(batch, source: source, isLive: false, at: now)
        return true
      }
      guard let isIn else { return nil }
      if isIn {
        signal.raise()
        return waited
      }
      waited = true
      await signal.wait(after: epoch)
      if Task.isCancelled { return nil }
    }
  }

  /// Puts a live source's batch in at once. Where that passes the bound, the oldest live items go: their samples are the
  /// answer.
  func putLive(_ batch: SourceBatch, source: Int) -> Int {
    let now = clock.monotonicNanoseconds
    let dropped = state.withLock { state in
      state.buffer.push(batch, source: source, isLive: true, at: now)
      return state.buffer.dropOldestLive()
    }
    signal.raise()
    return dropped
  }

  /// Takes the oldest entries out, once they are due. Nil when the queue is closed and empty or the task is cancelled;
  /// empty when the spool has to be read instead.
  func next() async -> [StreamBuffer.Entry]? {
    while true {
      let epoch = signal.epoch
      var timer = false
      let ready: [StreamBuffer.Entry]?? = state.withLock { state in
        if state.isSpooling { return .some([]) }
        if state.buffer.isEmpty {
          state.isFlushDue = false
          return state.isClosed ? .some(nil) : .none
        }
        let isDue =
          state.isClosed || state.isFlushDue || trigger.flushInterval == .zero || state.buffer.isHalfFull
          || state.buffer.bytes >= trigger.bytes || state.buffer.count >= trigger.records
        if isDue { return .some(state.buffer.take(maxBytes: trigger.bytes, maxCount: trigger.records)) }
        if !state.hasTimer {
          state.hasTimer = true
          timer = true
        }
        return .none
      }
      if let ready {
        signal.raise()
        return ready
      }
      if timer { startTimer() }
      await signal.wait(after: epoch)
      if Task.isCancelled { return nil }
    }
  }

  private func startTimer() {
    Task {
      await sleeper.sleep(trigger.flushInterval)
      state.withLock { state in
        state.hasTimer = false
        state.isFlushDue = true
      }
      signal.raise()
    }
  }

  /// No more comes in; what is there is published at once.
  func close() {
    state.withLock { $0.isClosed = true }
    signal.raise()
  }

  /// Whether there is enough to move to the spool, or everything has to go there.
  var wantsSpilling: Bool { state.withLock { !$0.buffer.isEmpty && ($0.isSpooling || $0.buffer.isHalfFull) } }

  /// From now on the publishing task reads the spool.
  func beginSpooling() {
    state.withLock { $0.isSpooling = true }
    signal.raise()
  }

  /// As `beginSpooling`, by somebody who now moves entries there; false when another one does already.
  func beginSpilling() -> Bool {
    let began = state.withLock { state in
      if state.isSpilling { return false }
      state.isSpilling = true
      state.isSpooling = true
      return true
    }
    if began { signal.raise() }
    return began
  }

  func endSpilling() {
    state.withLock { $0.isSpilling = false }
    signal.raise()
  }

  /// The spool is empty: the publishing task reads the buffer again. False while somebody fills it.
  func endSpooling() -> Bool {
    state.withLock { state in
      if state.isSpilling { return false }
      state.isSpooling = false
      return true
    }
  }

  /// Of `waitForNews`.
  var epoch: UInt64 { signal.epoch }

  /// Returns when the queue has changed since the epoch, or the task is cancelled.
  func waitForNews(after epoch: UInt64) async { await signal.wait(after: epoch) }

  var isSpooling: Bool { state.withLock { $0.isSpooling } }

  /// Takes the oldest entries out for the spool, due or not.
  func takeForSpooling() -> [StreamBuffer.Entry] {
    let taken = state.withLock { $0.buffer.take(maxBytes: trigger.bytes, maxCount: trigger.records) }
    signal.raise()
    return taken
  }

  /// Puts entries back that the spool did not take.
  func putBack(_ entries: [StreamBuffer.Entry]) { state.withLock { $0.buffer.putBack(entries) } }
}
