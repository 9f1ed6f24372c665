#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The time of day and a clock that never steps back, as everything that decides by time sees them.
///
/// `SystemClock` is the real one; the test kit's `ManualClock` moves only when told.
package protocol WallClock: Sendable {
  /// Milliseconds since 1970-01-01T00:00:00Z. May step when the system's clock is set.
  var now: Int64 { get }
  /// Nanoseconds from an arbitrary start; never steps back.
  var monotonicNanoseconds: UInt64 { get }
  /// Holds the calling thread up for so long; for threads that may block. A clock that is told the time moves on by it.
  func pause(nanoseconds: UInt64)
}

/// The system's clocks. The only place that reads them.
package struct SystemClock: WallClock {
  package init() {}

  package var now: Int64 {
    let time = SystemClock.read(CLOCK_REALTIME)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }

  package var monotonicNanoseconds: UInt64 {
    let time = SystemClock.read(CLOCK_MONOTONIC)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  package func pause(nanoseconds: UInt64) {
    var wanted = timespec()
    wanted.tv_sec = Int(clamping: nanoseconds / 1_000_000_000)
    wanted.tv_nsec = Int(nanoseconds % 1_000_000_000)
    var left = timespec()
    while nanosleep(&wanted, &left) != 0 && errno == EINTR { wanted = left }
  }

  private static func read(_ clock: clockid_t) -> timespec {
    var time = timespec()
    clock_gettime(clock, &time)
    return time
  }
}
