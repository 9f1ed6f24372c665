#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A few threads of the store's own, for work that waits for a disk or takes long: the threads that Swift's tasks share
/// must not be held up by it.
///
/// Jobs run in the order of submission, one a thread at a time. What is submitted after `stop` is not run.
final class WorkerPool: Sendable {
  private let shared: Shared

  /// Starts the threads. With a tick, `onTick` runs on the first of them that often when there is nothing else to do,
  /// and soon after each `wake`.
  init(threads: Int, tickMilliseconds: Int? = nil, onTick: (@Sendable () -> Void)? = nil) {
    shared = Shared(tickMilliseconds: tickMilliseconds, onTick: onTick)
    for _ in 0..<threads { shared.startThread() }
  }

  deinit { shared.stop() }

  /// Runs a job on a thread of the pool. False when the pool has stopped.
  @discardableResult
  func submit(_ job: @escaping @Sendable () -> Void) -> Bool { shared.submit(job) }

  /// Makes the tick come now.
  func wake() { shared.wake() }

  /// Lets the threads end once they have done what was submitted.
  func stop() { shared.stop() }

  /// Runs a body on the pool and waits for its result without holding a thread. Nil when the pool has stopped.
  func run<Value: Sendable>(_ body: @escaping @Sendable () -> Value) async -> Value? {
    await withCheckedContinuation { continuation in
      let accepted = shared.submit { continuation.resume(returning: body()) }
      if !accepted { continuation.resume(returning: nil) }
    }
  }

  /// Invariant (`@unchecked Sendable`, unsafe memory): the mutable fields are touched only while `mutex` is held; the
  /// mutex and the condition are allocated at init and live until the last thread and the pool have let go.
  private final class Shared: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs: [@Sendable () -> Void] = []
    private var nextJob = 0
    private var stopped = false
    private var woken = false
    private let tickMilliseconds: Int?
    private let onTick: (@Sendable () -> Void)?

    init(tickMilliseconds: Int?, onTick: (@Sendable () -> Void)?) {
      self.tickMilliseconds = tickMilliseconds
      self.onTick = onTick
      pthread_mutex_init(mutex, nil)
      pthread_cond_init(condition, nil)
    }

    deinit {
      pthread_cond_destroy(condition)
      pthread_mutex_destroy(mutex)
      condition.deallocate()
      mutex.deallocate()
    }

    private func locked<Value>(_ body: () -> Value) -> Value {
      pthread_mutex_lock(mutex)
      defer { pthread_mutex_unlock(mutex) }
      return body()
    }

    func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
      locked {
        if stopped { return false }
        jobs.append(job)
        pthread_cond_signal(condition)
        return true
      }
    }

    func wake() {
      locked {
        woken = true
        pthread_cond_signal(condition)
      }
    }

    func stop() {
      locked {
        stopped = true
        pthread_cond_broadcast(condition)
      }
    }

    func startThread() {
      // Invariant: retained once here and released once, by the thread that it is handed to.
      let held = Unmanaged.passRetained(self).toOpaque()
      #if canImport(Darwin)
        var thread: pthread_t?
        let result = pthread_create(&thread, nil, Shared.entryPoint, held)
        if result == 0, let thread { pthread_detach(thread) }
      #else
        var thread = pthread_t()
        let result = pthread_create(&thread, nil, Shared.entryPoint, held)
        if result == 0 { pthread_detach(thread) }
      #endif
      precondition(result == 0, "cannot start a thread: error \(result)")
    }

    #if canImport(Darwin)
      private static let entryPoint: @convention(c) (UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? = {
        Unmanaged<Shared>.fromOpaque($0).takeRetainedValue().work()
        return nil
      }
    #else
      private static let entryPoint: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? = {
        if let held = $0 { Unmanaged<Shared>.fromOpaque(held).takeRetainedValue().work() }
        return nil
      }
    #endif

    private enum Turn {
      case job(@Sendable () -> Void)
      case tick
      case end
    }

    private func work() {
      while true {
        switch next() {
        case .job(let job): job()
        case .tick: onTick?()
        case .end: return
        }
      }
    }

    /// Waits for something to do.
    private func next() -> Turn {
      locked {
        while true {
          if nextJob < jobs.count {
            let job = jobs[nextJob]
            nextJob += 1
            if nextJob == jobs.count {
              jobs.removeAll(keepingCapacity: true)
              nextJob = 0
            }
            return .job(job)
          }
          if stopped { return .end }
          if woken {
            woken = false
            return .tick
          }
          guard let tickMilliseconds else {
            pthread_cond_wait(condition, mutex)
            continue
          }
          if waitTimedOut(tickMilliseconds) { return .tick }
        }
      }
    }

    private func waitTimedOut(_ milliseconds: Int) -> Bool {
      var until = timespec()
      // The condition's own clock, which is a deadline for the operating system and no reading of the time.
      clock_gettime(CLOCK_REALTIME, &until)
      until.tv_sec += milliseconds / 1000
      until.tv_nsec += (milliseconds % 1000) * 1_000_000
      if until.tv_nsec >= 1_000_000_000 {
        until.tv_sec += 1
        until.tv_nsec -= 1_000_000_000
      }
      return pthread_cond_timedwait(condition, mutex, &until) == ETIMEDOUT
    }
  }
}
