import ApusBroker
import ApusTestKit
import Synchronization

/// The way to a log: loses a request before it arrives or an answer after it was acted upon, by seed.
final class SimulatedLink: RecordLog {
  private enum Fate {
    case passes
    case requestLost
    case answerLost
  }

  private let target: any RecordLog
  private let lossOneIn: Int
  private let state: Mutex<(seed: Seed, lostAnswers: Int)>

  /// - Parameter lossOneIn: 0 for no losses.
  init(_ target: any RecordLog, seed: UInt64, lossOneIn: Int) {
    self.target = target
    self.lossOneIn = lossOneIn
    state = Mutex((Seed(seed), 0))
  }

  var lostAnswers: Int { state.withLock { $0.lostAnswers } }

  private func fate() -> Fate {
    state.withLock { state in
      guard lossOneIn > 0, state.seed.oneIn(lossOneIn) else { return .passes }
      if state.seed.oneIn(2) { return .requestLost }
      state.lostAnswers += 1
      return .answerLost
    }
  }

  private static let lost = LogError.unreachable("the connection was lost")

  private func pass<Value>(_ body: () async throws(LogError) -> Value) async throws(LogError) -> Value {
    switch fate() {
    case .passes: return try await body()
    case .requestLost: throw SimulatedLink.lost
    case .answerLost:
      _ = try await body()
      throw SimulatedLink.lost
    }
  }

  func append(_ requests: [AppendRequest]) async -> [Result<AppendReceipt, LogError>] {
    switch fate() {
    case .passes: return await target.append(requests)
    case .requestLost: return requests.map { _ in .failure(SimulatedLink.lost) }
    case .answerLost:
      _ = await target.append(requests)
      return requests.map { _ in .failure(SimulatedLink.lost) }
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
