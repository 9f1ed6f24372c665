import Synchronization

/// A few threads that do blocking reads, and a bounded queue before them.
final class ReaderPool: Sendable {
  private struct State {
    var jobs: [@Sendable () -> Void] = []
    /// Jobs before this place have been taken.
    var first = 0
    var isStopped = false

    var count: Int { jobs.count - first }

    mutating func next() -> (@Sendable () -> Void)? {
      guard first < jobs.count else { return nil }
      let job = jobs[first]
      first += 1
      if first > 64, first * 2 > jobs.count {
        jobs.removeSubrange(..<first)
        first = 0
      }
      return job
    }
  }

  private let state = Mutex(State())
  private let doorbell = Doorbell()
  private let threads: Int
  private let limit: Int

  init(threads: Int, limit: Int) {
    self.threads = threads
    self.limit = limit
    for _ in 0..<threads { WorkerThread.start { [self] in work() } }
  }

  /// False when the queue is full or the pool has been stopped.
  func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    let isTaken = state.withLock { state in
      guard !state.isStopped, state.count < limit else { return false }
      state.jobs.append(job)
      return true
    }
    if isTaken { doorbell.ring() }
    return isTaken
  }

  /// No job is taken any more; those that wait are done, then the threads end.
  func stop() {
    state.withLock { $0.isStopped = true }
    for _ in 0..<threads { doorbell.ring() }
  }

  private func work() {
    while true {
      doorbell.wait()
      let (job, isStopped) = state.withLock { ($0.next(), $0.isStopped) }
      if let job { job() } else if isStopped { return }
    }
  }
}
