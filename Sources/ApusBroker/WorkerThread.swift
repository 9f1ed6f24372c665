import ApusIO

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A thread of our own, for calls that block: those must not hold a thread of the concurrency pool.
enum WorkerThread {
  /// Starts a thread that runs `body` to its end.
  static func start(_ body: @escaping @Sendable () -> Void) {
    // Invariant: retained once here and released once, by the thread that it is handed to.
    let box = Unmanaged.passRetained(Box(body: body))
    #if canImport(Darwin)
      var thread: pthread_t?
    #else
      var thread = pthread_t()
    #endif
    let status = pthread_create(&thread, nil, threadMain, box.toOpaque())
    precondition(status == 0, "pthread_create failed with \(status): the process may have no more threads")
    #if canImport(Darwin)
      if let thread { pthread_detach(thread) }
    #else
      pthread_detach(thread)
    #endif
  }

  fileprivate final class Box: Sendable {
    let body: @Sendable () -> Void

    init(body: @escaping @Sendable () -> Void) { self.body = body }
  }
}

#if canImport(Darwin)
  private func threadMain(_ argument: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    Unmanaged<WorkerThread.Box>.fromOpaque(argument).takeRetainedValue().body()
    return nil
  }
#else
  private func threadMain(_ argument: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let argument { Unmanaged<WorkerThread.Box>.fromOpaque(argument).takeRetainedValue().body() }
    return nil
  }
#endif

/// A counting semaphore: `ring` adds one, `wait` takes one and blocks its thread while there is none.
final class Doorbell: @unchecked Sendable {
  // Invariant: `rings` is touched only while `mutex` is held; `mutex` and `condition` have a stable address of their
  // own, are made in init and destroyed in deinit, when no thread can wait here any more.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private var rings = 0

  init() {
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    condition = .allocate(capacity: 1)
    condition.initialize(to: pthread_cond_t())
    #if canImport(Darwin)
      pthread_cond_init(condition, nil)
    #else
      var attributes = pthread_condattr_t()
      pthread_condattr_init(&attributes)
      pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
      pthread_cond_init(condition, &attributes)
      pthread_condattr_destroy(&attributes)
    #endif
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func ring() {
    pthread_mutex_lock(mutex)
    rings += 1
    pthread_cond_signal(condition)
    pthread_mutex_unlock(mutex)
  }

  func wait() {
    pthread_mutex_lock(mutex)
    while rings == 0 { pthread_cond_wait(condition, mutex) }
    rings -= 1
    pthread_mutex_unlock(mutex)
  }

  /// Waits at most so long; false when nothing rang.
  func wait(atMost limit: Duration) -> Bool {
    let parts = limit.components
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    #if canImport(Darwin)
      var rest = timespec(tv_sec: Int(parts.seconds), tv_nsec: Int(parts.attoseconds / 1_000_000_000))
      if rings == 0 { pthread_cond_timedwait_relative_np(condition, mutex, &rest) }
    #else
      // The condition counts by the same clock as this one reads.
      let limitNanoseconds =
        UInt64(clamping: parts.seconds) &* 1_000_000_000 &+ UInt64(parts.attoseconds / 1_000_000_000)
      let endNanoseconds = SystemClock().monotonicNanoseconds &+ limitNanoseconds
      var end = timespec(tv_sec: Int(endNanoseconds / 1_000_000_000), tv_nsec: Int(endNanoseconds % 1_000_000_000))
      while rings == 0 { if pthread_cond_timedwait(condition, mutex, &end) != 0 { break } }
    #endif
    guard rings > 0 else { return false }
    rings -= 1
    return true
  }
}
