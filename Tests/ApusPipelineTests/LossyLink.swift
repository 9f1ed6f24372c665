import ApusBroker
import ApusTestKit
import Synchronization

/// A connection to a log that loses requests before they arrive and answers after they were acted upon, by seed; that
/// can be cut; and that answers with a given error once.
final class LossyLink: RecordLog {
  private struct State {
    var seed: Seed
    var lossOneIn: Int
    var isDown = false
    var lostRequests = 0
    var lostAnswers = 0
    var planned: (error: LogError, after: Int)?
  }

  private enum Fate {
    case passes
    case requestLost
    case answerLost
    case fails(LogError)
  }

  private let target: any RecordLog
  private let state: Mutex<State>

  init(_ target: any RecordLog, seed: UInt64, lossOneIn: Int) {
    self.target = target
    state = Mutex(State(seed: Seed(seed), lossOneIn: lossOneIn))
  }

  var isDown: Bool {
    get { state.withLock { $0.isDown } }
    set { state.withLock { $0.isDown = newValue } }
  }
  var lostRequests: Int { state.withLock { $0.lostRequests } }
  var lostAnswers: Int { state.withLock { $0.lostAnswers } }

  /// The append after the next `count` is answered with this error and not passed on.
  func failNext(_ error: LogError, after count: Int) { state.withLock { $0.planned = (error, count) } }

  private func fate(isAppend: Bool) -> Fate {
    state.withLock { state in
      if state.isDown { return .requestLost }
      if isAppend, let planned = state.planned {
        if planned.after == 0 {
          state.planned = nil
          return .fails(planned.error)
        }
        state.planned = (planned.error, planned.after - 1)
      }
      guard state.seed.oneIn(state.lossOneIn) else { return .passes }
      if state.seed.oneIn(2) {
        state.lostRequests += 1
        return .requestLost
      }
      state.lostAnswers += 1
      return .answerLost
    }
  }

  private static let lost = LogError.unreachable("the connection was lost")

  private func pass<Value>(_ body: () async throws(LogError) -> Value) async throws(LogError) -> Value {
    switch fate(isAppend: false) {
    case .passes: return try await body()
    case .requestLost: throw LossyLink.lost
    case .answerLost:
      _ = try await body()
      throw LossyLink.lost
    case .fails(let error): throw error
    }
  }

  func append(_ requests: [AppendRequest]) async -> [Result<AppendReceipt, LogError>] {
    switch fate(isAppend: true) {
    case .passes: return await target.append(requests)
    case .requestLost: return requests.map { _ in .failure(LossyLink.lost) }
    case .answerLost:
      _ = await target.append(requests)
      return requests.map { _ in .failure(LossyLink.lost) }
    case .fails(let error): return requests.map { _ in .failure(error) }
    }
  }

  func createTopic(_ name: TopicName, _ configuration: TopicConfiguration) async throws(LogError) {
    try await pass { () throws(LogError) in try await target.createTopic(name, configuration) }
  }

  func deleteTopic(_ name: TopicName) async throws(LogError) {
    try await pass { () throws(LogError) in try await target.deleteTopic(name) }
  }

  func topics() async throws(LogError) -> [TopicDescription] {
    try await pass { () throws(LogError) in try await target.topics() }
  }

  func read(
    _ partition: TopicPartition, from offset: Int64, maxBytes: Int, waiting: Duration
  ) async throws(LogError) -> LogSlice {
    try await pass { () throws(LogError) in
      try await target.read(partition, from: offset, maxBytes: maxBytes, waiting: waiting)
    }
  }

  func offset(of position: OffsetPosition, in partition: TopicPartition) async throws(LogError) -> Int64 {
    try await pass { () throws(LogError) in try await target.offset(of: position, in: partition) }
  }

  func registerProducer() async throws(LogError) -> ProducerIdentity {
    try await pass { () throws(LogError) in try await target.registerProducer() }
  }
}
