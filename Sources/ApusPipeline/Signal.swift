import Synchronization

/// Tells tasks that something they look at may have changed. A waiter reads the epoch, looks, and waits for the epoch to
/// move on, so that no change between the look and the wait is missed.
///
/// ```swift
/// while true {
///   let epoch = signal.epoch
///   if let result = look() { return result }
///   await signal.wait(after: epoch)
///   if Task.isCancelled { return nil }
/// }
/// ```
final class Signal: Sendable {
  private struct State {
    var epoch: UInt64 = 0
    var nextWaiter: UInt64 = 0
    var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
  }

  private let state = Mutex(State())

  var epoch: UInt64 { state.withLock { $0.epoch } }

  /// Wakes everybody who waits.
  func raise() {
    let woken = state.withLock { state in
      state.epoch += 1
      defer { state.waiters.removeAll() }
      return Array(state.waiters.values)
    }
    for waiter in woken { waiter.resume() }
  }

  /// Returns when the epoch is another one, or the task is cancelled.
  func wait(after epoch: UInt64) async {
    let number = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          if state.epoch != epoch || Task.isCancelled { return true }
          state.waiters[number] = continuation
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: number) }?.resume()
    }
  }
}
