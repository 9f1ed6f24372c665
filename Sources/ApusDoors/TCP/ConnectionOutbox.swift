import NIOCore
import Synchronization

/// The way out of a connection, bounded in bytes: who has something to send waits here until the client has taken
/// enough of what was sent before. Nothing is queued beyond the bound but one frame a sender.
final class ConnectionOutbox: Sendable {
  private struct State {
    var pendingBytes = 0
    /// Grows with each write that the socket has taken; how the handler sees that a client stands still.
    var completedWrites: UInt64 = 0
    var isClosed = false
    var waiting: [CheckedContinuation<Void, Never>] = []
  }

  let bytesMax: Int
  private let channel: any Channel
  private let state = Mutex(State())

  init(channel: any Channel, bytesMax: Int) {
    self.channel = channel
    self.bytesMax = bytesMax
  }

  /// Bytes that wait to be taken, and how many writes were taken so far.
  var progress: (pendingBytes: Int, completedWrites: UInt64) {
    state.withLock { ($0.pendingBytes, $0.completedWrites) }
  }

  /// Waits until there is room; false once the connection is closed.
  func waitForRoom() async -> Bool {
    while true {
      let now = state.withLock { (isClosed: $0.isClosed, hasRoom: $0.pendingBytes < bytesMax) }
      if now.isClosed { return false }
      if now.hasRoom { return true }
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let mustWait = state.withLock { state in
          guard !state.isClosed, state.pendingBytes >= bytesMax else { return false }
          state.waiting.append(continuation)
          return true
        }
        if !mustWait { continuation.resume() }
      }
    }
  }

  /// Sends bytes after all that were sent before. Call `waitForRoom` first.
  func send(_ bytes: [UInt8]) {
    if bytes.isEmpty { return }
    let count = bytes.count
    guard
      state.withLock({ state in
        if state.isClosed { return false }
        state.pendingBytes += count
        return true
      })
    else { return }
    channel.writeAndFlush(ByteBuffer(bytes: bytes)).whenComplete { [self] _ in taken(count) }
  }

  /// The connection is gone: senders go home.
  func close() {
    wake { $0.isClosed = true }
  }

  private func taken(_ count: Int) {
    wake { state in
      state.pendingBytes -= count
      state.completedWrites += 1
    }
  }

  private func wake(_ change: (inout State) -> Void) {
    let waiting = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      change(&state)
      guard state.isClosed || state.pendingBytes < bytesMax else { return [] }
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }
}
