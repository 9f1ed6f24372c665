import ApusBroker
import ApusStore
import Synchronization

/// How far a collector has come, for those who wait for it.
final class CollectorProgress: Sendable {
  private struct State {
    var appended: [TopicPartition: Int64] = [:]
    var durable: [TopicPartition: Int64] = [:]
    var backlog: [TopicPartition: Int64] = [:]
    var lastReport: UInt64?
    /// The newest refusals by the store, ascending by offset; the oldest go first.
    var refusals: [TopicPartition: [AppendOutcome.Refusal]] = [:]
    /// Why the store did not take the last batch at its last try; nil when it did.
    var trouble: String?
  }

  /// Refusals kept for those who ask for their own; who asks later is told that there were none.
  private static let refusalsMax = 4096

  private let state = Mutex(State())
  private let signal = Signal()
  private let onCoverage: @Sendable (TopicPartition, Int64) async -> Void

  init(onCoverage: @escaping @Sendable (TopicPartition, Int64) async -> Void) { self.onCoverage = onCoverage }

  func note(_ partition: TopicPartition, appended: Int64, refusals: [AppendOutcome.Refusal] = []) {
    state.withLock { state in
      state.appended[partition] = appended
      state.trouble = nil
      guard !refusals.isEmpty else { return }
      state.refusals[partition, default: []] += refusals
      let excess = (state.refusals[partition]?.count ?? 0) - CollectorProgress.refusalsMax
      if excess > 0 { state.refusals[partition]?.removeFirst(excess) }
    }
    signal.raise()
  }

  func note(trouble: String) { state.withLock { $0.trouble = trouble } }

  var trouble: String? { state.withLock { $0.trouble } }

  /// What the store has refused of some records.
  func refusals(_ partition: TopicPartition, _ offsets: Range<Int64>) -> [AppendOutcome.Refusal] {
    state.withLock { state in (state.refusals[partition] ?? []).filter { offsets.contains($0.offset) } }
  }

  func note(_ partition: TopicPartition, backlog: Int64) { state.withLock { $0.backlog[partition] = backlog } }

  /// Of all partitions.
  var backlog: Int64 { state.withLock { $0.backlog.values.reduce(0, +) } }

  var positions: [TopicPartition: Int64] { state.withLock { $0.appended } }

  /// Passes a durable position on where it has moved.
  func report(_ partition: TopicPartition, durable: Int64) async {
    let isNew = state.withLock { state in
      if state.durable[partition] == durable { return false }
      state.durable[partition] = durable
      return true
    }
    if isNew { await onCoverage(partition, durable) }
  }

  /// Returns when the store has taken in everything before the offset; false when the task is cancelled first.
  func wait(_ partition: TopicPartition, until offset: Int64) async -> Bool {
    while true {
      let epoch = signal.epoch
      if let reached = state.withLock({ $0.appended[partition] }), reached >= offset { return true }
      if Task.isCancelled { return false }
      await signal.wait(after: epoch)
    }
  }

  /// Whether another message about trouble may be logged: one a second.
  func mayReport(at nanoseconds: UInt64) -> Bool {
    state.withLock { state in
      if let last = state.lastReport, nanoseconds &- last < 1_000_000_000 { return false }
      state.lastReport = nanoseconds
      return true
    }
  }
}
