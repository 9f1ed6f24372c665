import NIOCore
import Synchronization

/// What has come in on a connection and waits for its session: frames, bounded in bytes.
///
/// The event loop puts frames in, a read at a time; the session takes all that is there at once. When more bytes are
/// in work than the bound, the event loop stops reading the socket until the session has caught up, so the client's
/// own TCP holds it back.
final class ConnectionInbox: Sendable {
  /// How a connection ends from the client's side.
  enum End: Sendable {
    /// The stream can no longer be followed or the client was too slow; it is told why.
    case failed(DoorError)
    case closed
  }

  struct Intake {
    var frames: [ByteBuffer]
    var bytes: Int
    /// Nothing follows these frames.
    var end: End?
  }

  private struct State {
    var frames: [ByteBuffer] = []
    var waitingBytes = 0
    /// Waiting, or taken and not yet released.
    var bytesInWork = 0
    var end: End?
    var waiter: CheckedContinuation<Void, Never>?
    var isPaused = false
  }

  /// Above this the socket is not read.
  let bytesMax: Int
  private let state = Mutex(State())

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  /// Whether the socket must not be read now. Reading begins again when `release` says so.
  var mustPause: Bool {
    state.withLock { state in
      if state.bytesInWork >= bytesMax { state.isPaused = true }
      return state.isPaused
    }
  }

  var isPaused: Bool { state.withLock { $0.isPaused } }

  /// Nothing of this client waits or is in work.
  var isIdle: Bool { state.withLock { $0.bytesInWork == 0 } }

  func put(_ frames: [ByteBuffer], bytes: Int) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard state.end == nil else { return nil }
      state.frames.append(contentsOf: frames)
      state.waitingBytes += bytes
      state.bytesInWork += bytes
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }

  /// Nothing more will come; only the first reason counts.
  func finish(_ end: End) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      if state.end == nil { state.end = end }
      defer { state.waiter = nil }
      return state.waiter
    }
    waiter?.resume()
  }

  /// Waits for frames or the end; nil after the end has been handed out with the last frames.
  func take() async -> Intake {
    while true {
      let intake = state.withLock { state -> Intake? in
        guard !state.frames.isEmpty || state.end != nil else { return nil }
        defer {
          state.frames = []
          state.waitingBytes = 0
        }
        return Intake(frames: state.frames, bytes: state.waitingBytes, end: state.end)
      }
      if let intake { return intake }
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let mustWait = state.withLock { state in
          guard state.frames.isEmpty, state.end == nil else { return false }
          precondition(state.waiter == nil, "two sessions read one inbox")
          state.waiter = continuation
          return true
        }
        if !mustWait { continuation.resume() }
      }
    }
  }

  /// The frames of an intake are done with. True when the socket was paused and is to be read again.
  func release(_ bytes: Int) -> Bool {
    state.withLock { state in
      state.bytesInWork -= bytes
      guard state.isPaused, state.bytesInWork <= bytesMax / 2 else { return false }
      state.isPaused = false
      return true
    }
  }
}
