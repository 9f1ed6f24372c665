import ApusService

/// Bounds how many queries run at one time and how many wait for their turn; the rest are told to come back.
actor QueryGate {
  struct Configuration: Sendable {
    /// Queries that run at one time.
    var runningMax = 16
    /// Queries that wait for one of those to end.
    var waitingMax = 64
  }

  /// What the gate shows of itself.
  struct Instruments: Sendable {
    var running: Gauge
    var waiting: Gauge
    var refused: Counter
  }

  private let configuration: Configuration
  private let instruments: Instruments
  private var running = 0
  private var waiting: [(id: UInt64, continuation: CheckedContinuation<Bool, Never>)] = []
  private var nextID: UInt64 = 0

  init(_ configuration: Configuration, instruments: Instruments) {
    self.configuration = configuration
    self.instruments = instruments
  }

  /// Waits for a turn. Each return without an error must be followed by one `leave`.
  func enter() async throws {
    if running < configuration.runningMax {
      running += 1
      instruments.running.set(Double(running))
      return
    }
    guard waiting.count < configuration.waitingMax else {
      instruments.refused.add()
      throw Problem.unavailable(
        "\(running) queries run and \(waiting.count) wait, which is the limit; try again in a moment",
        retryAfterSeconds: 1)
    }
    let id = nextID
    nextID += 1
    let admitted = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        // Cancelled before it came here: the handler has run already and found nothing to end.
        if Task.isCancelled {
          continuation.resume(returning: false)
        } else {
          waiting.append((id, continuation))
          instruments.waiting.set(Double(waiting.count))
        }
      }
    } onCancel: {
      Task { await self.abandon(id) }
    }
    // `leave` has handed its place over, so `running` counts this one already.
    if !admitted { throw CancellationError() }
  }

  /// Gives the place to the one that has waited longest.
  func leave() {
    if waiting.isEmpty {
      running -= 1
    } else {
      waiting.removeFirst().continuation.resume(returning: true)
    }
    instruments.running.set(Double(running))
    instruments.waiting.set(Double(waiting.count))
  }

  private func abandon(_ id: UInt64) {
    guard let index = waiting.firstIndex(where: { $0.id == id }) else { return }
    waiting.remove(at: index).continuation.resume(returning: false)
    instruments.waiting.set(Double(waiting.count))
  }
}
