import ApusIO
import Synchronization

/// Bounds how fast merges write: after each write the writer is held up for as long as its bytes take at the rate.
///
/// Several writers share one pace and its rate. What was not used is not saved up, so there are no bursts.
final class WritePace: Sendable {
  /// The longest that one pause takes before `shouldStop` is asked again.
  private static let sliceNanoseconds: UInt64 = 50_000_000

  private let bytesPerSecond: Int64
  private let clock: any WallClock
  private let shouldStop: @Sendable () -> Bool
  /// When the bytes that have been written are paid for, on the monotonic clock.
  private let paidAt = Mutex<UInt64>(0)

  init(bytesPerSecond: Int64, clock: any WallClock, shouldStop: @escaping @Sendable () -> Bool) {
    precondition(bytesPerSecond > 0, "a rate of \(bytesPerSecond) bytes a second")
    self.bytesPerSecond = bytesPerSecond
    self.clock = clock
    self.shouldStop = shouldStop
  }

  /// Returns when so many bytes that have just been written are paid for, or the store is being closed.
  func wrote(_ bytes: Int) {
    let cost = UInt64(Double(bytes) * 1e9 / Double(bytesPerSecond))
    let until = paidAt.withLock { paid -> UInt64 in
      paid = max(paid, clock.monotonicNanoseconds) + cost
      return paid
    }
    while !shouldStop() {
      let now = clock.monotonicNanoseconds
      if now >= until { return }
      clock.pause(nanoseconds: min(until - now, WritePace.sliceNanoseconds))
    }
  }
}
