import ApusIO
import Synchronization

/// A clock that moves only when told. Both of its readings move together.
package final class ManualClock: WallClock {
  private let milliseconds: Mutex<Int64>

  /// Starts at an instant in milliseconds since 1970; by default 2026-01-01T00:00:00Z.
  package init(now: Int64 = 1_767_225_600_000) {
    milliseconds = Mutex(now)
  }

  package var now: Int64 { milliseconds.withLock { $0 } }

  package var monotonicNanoseconds: UInt64 { UInt64(clamping: milliseconds.withLock { $0 }) &* 1_000_000 }

  package func pause(nanoseconds: UInt64) {
    milliseconds.withLock { $0 += Int64(clamping: (nanoseconds + 999_999) / 1_000_000) }
  }

  package func advance(milliseconds step: Int64) { milliseconds.withLock { $0 += step } }

  package func set(_ instant: Int64) { milliseconds.withLock { $0 = instant } }
}
