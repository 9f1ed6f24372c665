import Synchronization

/// What readers see of a partition. The writer publishes here after each turn; the lock is held for look-ups in memory
/// only, never over a read or write, so neither side waits for the other's disk.
final class PartitionView: Sendable {
  /// A segment as it may be read: nothing beyond `bytes` and `nextOffset`.
  struct Segment: Sendable {
    var path: SegmentPath
    var bytes: Int64
    var nextOffset: Int64
    var maxTimestamp: Int64
    var index: SharedSegmentIndex

    var baseOffset: Int64 { path.baseOffset }
  }

  struct State: Sendable {
    var logStart: Int64
    var highWatermark: Int64
    /// Ascending; the last one grows.
    var segments: [Segment]
    var tail: BatchTail
    /// Reads that wait for the watermark to move.
    var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
    var isDeleted = false
  }

  let id: TopicPartition
  let state: Mutex<State>

  init(id: TopicPartition, state: State) {
    self.id = id
    self.state = Mutex(state)
  }

  /// Changes what is seen, and wakes those who wait when the watermark has moved or the partition is gone.
  func publish(_ change: (inout State) -> Void) {
    let woken = state.withLock { state -> [CheckedContinuation<Void, Never>] in
      let before = state.highWatermark
      change(&state)
      guard state.highWatermark != before || state.isDeleted, !state.waiters.isEmpty else { return [] }
      let woken = Array(state.waiters.values)
      state.waiters = [:]
      return woken
    }
    for continuation in woken { continuation.resume() }
  }

  /// Wakes all that wait, whether or not there is anything new: the log is closing.
  func wakeAll() {
    let woken = state.withLock { state in
      defer { state.waiters = [:] }
      return Array(state.waiters.values)
    }
    for continuation in woken { continuation.resume() }
  }

  /// Where a read would go.
  enum Plan {
    case answer(LogSlice)
    /// There is nothing yet behind the offset.
    case nothingYet(LogSlice)
    /// To be read from these segments, in order.
    case disk([Segment], logStart: Int64, highWatermark: Int64)
    case refused(LogError)
  }

  func plan(from offset: Int64, maxBytes: Int) -> Plan {
    state.withLock { state in
      if state.isDeleted { return .refused(.unknownTopic(id.topic.text)) }
      guard offset >= state.logStart, offset <= state.highWatermark else {
        return .refused(
          .offsetOutOfRange(
            partition: id, requested: offset, logStart: state.logStart, highWatermark: state.highWatermark))
      }
      var slice = LogSlice(batches: [], highWatermark: state.highWatermark, logStart: state.logStart)
      if offset == state.highWatermark { return .nothingYet(slice) }
      if let start = state.tail.startOffset, offset >= start {
        slice.batches = state.tail.read(from: offset, maxBytes: maxBytes)
        return slice.batches.isEmpty ? .nothingYet(slice) : .answer(slice)
      }
      // The first segment that ends behind the offset, and those that follow as far as an answer may reach.
      let first = SegmentIndex.partition(state.segments.count) { state.segments[$0].nextOffset > offset }
      var last = first
      var bytes: Int64 = 0
      while last < state.segments.count, bytes <= Int64(maxBytes) {
        if last > first { bytes += state.segments[last].bytes }
        last += 1
      }
      return .disk(
        Array(state.segments[first..<last]), logStart: state.logStart, highWatermark: state.highWatermark)
    }
  }
}
