import ApusIO
import Synchronization

/// How far the replay of files has come, and the bar that shows it on a terminal.
final class ReplayProgress: Sendable {
  struct Count: Hashable, Sendable {
    var rows = 0
    var bytes: Int64 = 0
    var totalBytes: Int64 = 0
    var skipped = 0
  }

  private let count = Mutex(Count())
  private let started: UInt64
  private let clock: any WallClock

  init(clock: any WallClock = SystemClock()) {
    self.clock = clock
    started = clock.monotonicNanoseconds
  }

  func update(_ new: Count) { count.withLock { $0 = new } }

  var current: Count { count.withLock { $0 } }

  /// Draws the bar twice a second until cancelled, then leaves the last state standing.
  func show() async {
    while !Task.isCancelled {
      Terminal.draw("\r\u{1b}[K" + line())
      try? await Task.sleep(for: .milliseconds(500))
    }
    Terminal.draw("\r\u{1b}[K" + line() + "\n")
  }

  /// `[#####-----]  52 %  1284000 rows  410000 rows/s  3s left`
  func line() -> String {
    let now = current
    let seconds = max(1e-3, Double(clock.monotonicNanoseconds &- started) * 1e-9)
    let share = now.totalBytes > 0 ? min(1, Double(now.bytes) / Double(now.totalBytes)) : 0
    let filled = Int(share * 30)
    var text = "[" + String(repeating: "#", count: filled) + String(repeating: "-", count: 30 - filled) + "]"
    text += " \(Int(share * 100)) %  \(now.rows) rows  \(Int(Double(now.rows) / seconds)) rows/s"
    if share > 0 && share < 1 { text += "  \(Int((seconds / share - seconds).rounded(.up)))s left" }
    if now.skipped > 0 { text += "  \(now.skipped) skipped" }
    return text
  }
}
