import ApusService
import Synchronization

/// Bounds the memory of the requests that are being taken in: their bodies, as sent and expanded. A request that finds no
/// room waits for a while, in order of arrival, and is told to come back when there is none by then.
final class IngestGate: Sendable {
  private struct Waiter {
    var id: UInt64
    var bytes: Int
    var continuation: CheckedContinuation<Bool, Never>
  }

  private struct State {
    var used = 0
    var waiting: [Waiter] = []
    var lastID: UInt64 = 0
  }

  let bytesMax: Int
  private let waitingMax: Int
  private let wait: Duration
  private let inFlight: Gauge
  private let refused: Counter
  private let state = Mutex(State())

  init(bytesMax: Int, waitingMax: Int, wait: Duration, inFlight: Gauge, refused: Counter) {
    self.bytesMax = bytesMax
    self.waitingMax = waitingMax
    self.wait = wait
    self.inFlight = inFlight
    self.refused = refused
  }

  private enum Admission {
    case admitted
    case refused
    case waits(UInt64)
  }

  /// Takes so many bytes. A single request may be larger than the bound; then it goes alone.
  func enter(_ bytes: Int) async throws(Problem) {
    let timer = Mutex<Task<Void, Never>?>(nil)
    let isAdmitted = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        switch admit(bytes, continuation) {
        case .admitted: continuation.resume(returning: true)
        case .refused: continuation.resume(returning: false)
        case .waits(let id):
          let task = Task { [wait] in
            try? await Task.sleep(for: wait)
            giveUp(id)
          }
          timer.withLock { $0 = task }
          if Task.isCancelled { task.cancel() }
        }
      }
    } onCancel: {
      timer.withLock { $0?.cancel() }
    }
    timer.withLock { $0?.cancel() }
    guard isAdmitted else {
      refused.add()
      throw Problem.unavailable(
        "requests with \(ByteCount(bytesMax)) are being taken in, which is the limit; try again in a moment",
        retryAfterSeconds: 1)
    }
  }

  private func admit(_ bytes: Int, _ continuation: CheckedContinuation<Bool, Never>) -> Admission {
    state.withLock { state in
      if state.waiting.isEmpty, state.used == 0 || state.used + bytes <= bytesMax {
        state.used += bytes
        inFlight.set(Double(state.used))
        return .admitted
      }
      guard state.waiting.count < waitingMax else { return .refused }
      state.lastID += 1
      state.waiting.append(Waiter(id: state.lastID, bytes: bytes, continuation: continuation))
      return .waits(state.lastID)
    }
  }

  private func giveUp(_ id: UInt64) {
    let waiter = state.withLock { state -> Waiter? in
      guard let index = state.waiting.firstIndex(where: { $0.id == id }) else { return nil }
      return state.waiting.remove(at: index)
    }
    waiter?.continuation.resume(returning: false)
  }

  func leave(_ bytes: Int) {
    let admitted = state.withLock { state -> [Waiter] in
      state.used -= bytes
      var count = 0
      for waiter in state.waiting {
        guard state.used == 0 || state.used + waiter.bytes <= bytesMax else { break }
        state.used += waiter.bytes
        count += 1
      }
      let admitted = Array(state.waiting.prefix(count))
      state.waiting.removeFirst(count)
      inFlight.set(Double(state.used))
      return admitted
    }
    for waiter in admitted { waiter.continuation.resume(returning: true) }
  }
}

/// What one request holds at the gate, given back when nobody holds the lease any more.
///
/// Used by one task at a time: the one that answers the request.
final class IngestLease: Sendable {
  private let gate: IngestGate
  private let held = Mutex(0)

  init(_ gate: IngestGate) { self.gate = gate }

  deinit { gate.leave(bytes) }

  var bytes: Int { held.withLock { $0 } }

  /// Takes more, up to `total`; waits where there is no room.
  func grow(to total: Int) async throws(Problem) {
    let more = total - bytes
    guard more > 0 else { return }
    try await gate.enter(more)
    held.withLock { $0 += more }
  }
}
