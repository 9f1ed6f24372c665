import ApusIO
import ApusStore

/// The bar of a command that reads or writes a store's files, on a terminal.
final class FolderProgress {
  private let verb: String
  private let clock: any WallClock
  private let started: UInt64
  private var drawnAt: UInt64?
  private var hasDrawn = false

  /// - Parameter verb: what is being done: `verified`.
  init(_ verb: String, clock: any WallClock = SystemClock()) {
    self.verb = verb
    self.clock = clock
    started = clock.monotonicNanoseconds
  }

  /// Draws at most ten times a second, and nothing where nobody looks.
  func update(_ now: StoreFolder.Progress) {
    guard Terminal.isInteractive else { return }
    let time = clock.monotonicNanoseconds
    if let drawnAt, time &- drawnAt < 100_000_000, now.blocks < now.totalBlocks { return }
    drawnAt = time
    hasDrawn = true
    Terminal.draw("\r\u{1b}[K" + line(now))
  }

  /// Leaves the last state standing.
  func end() {
    if hasDrawn { Terminal.draw("\n") }
  }

  /// `[#####-----]  52 %  3 of 6 blocks verified  120.0 MiB  3s left`
  func line(_ now: StoreFolder.Progress) -> String {
    let share = now.totalBytes > 0 ? min(1, Double(now.bytes) / Double(now.totalBytes)) : 1
    let filled = Int(share * 30)
    var text = "[" + String(repeating: "#", count: filled) + String(repeating: "-", count: 30 - filled) + "]"
    text += " \(Int(share * 100)) %  \(now.blocks) of \(now.totalBlocks) blocks \(verb)  \(Figures.bytes(now.bytes))"
    let seconds = Double(clock.monotonicNanoseconds &- started) * 1e-9
    if share > 0.01 && share < 1 { text += "  \(Int((seconds / share - seconds).rounded(.up)))s left" }
    return text
  }
}
