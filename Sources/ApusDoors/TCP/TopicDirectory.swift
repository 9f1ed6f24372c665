import ApusBroker
import ApusIO
import ApusService
import Synchronization

/// How many partitions each topic has, for publishes that leave the choice to the door. A copy of the log's own list,
/// at most some seconds old.
final class TopicDirectory: Sendable {
  private struct State {
    var partitions: [TopicName: Int32] = [:]
    var readAt: UInt64?
  }

  /// How old the copy may be.
  static let ageMax = Duration.seconds(5)
  private let log: any RecordLog
  private let clock: any WallClock
  private let state = Mutex(State())

  init(log: any RecordLog, clock: any WallClock) {
    self.log = log
    self.clock = clock
  }

  /// The number of partitions; nil when it is not known, or the copy is too old.
  func partitions(of topic: TopicName) -> Int32? {
    let now = clock.monotonicNanoseconds
    return state.withLock { state in
      guard let readAt = state.readAt, now &- readAt <= UInt64(TopicDirectory.ageMax.wholeNanoseconds) else {
        return nil
      }
      return state.partitions[topic]
    }
  }

  /// Reads the list anew.
  func refresh() async throws(LogError) {
    let topics = try await log.topics()
    let now = clock.monotonicNanoseconds
    state.withLock { state in
      state.partitions = [:]
      for topic in topics { state.partitions[topic.name] = Int32(topic.partitions.count) }
      state.readAt = now
    }
  }

  /// Forgets everything, after a topic was made or removed.
  func invalidate() { state.withLock { $0.readAt = nil } }
}
