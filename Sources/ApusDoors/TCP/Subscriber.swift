import ApusBroker
import Synchronization

/// One subscription of one connection: what it may be sent, and how far it has come in each partition.
///
/// Shared by the connection's session, which grants credit and ends it, and by one task a partition, which reads and
/// sends. It holds positions, never records.
final class Subscriber: Sendable {
  private struct State {
    var credit: Credit
    var isEnded = false
    var positions: [Int32: Int64]
    var waiting: [CheckedContinuation<Void, Never>] = []
  }

  /// The number of one that follows a topic by fetching rather than by a subscription.
  static let followerNumber: Int64 = 0

  /// From 1 within a connection, or `followerNumber`.
  let number: Int64
  let topic: TopicName
  let format: DeliveryFormat
  let client: String
  private let state: Mutex<State>

  init(
    number: Int64, topic: TopicName, positions: [Int32: Int64], format: DeliveryFormat, credit: Credit, client: String
  ) {
    self.number = number
    self.topic = topic
    self.format = format
    self.client = client
    state = Mutex(State(credit: credit, positions: positions))
  }

  /// The next offset of each partition.
  var positions: [Int32: Int64] { state.withLock { $0.positions } }
  var credit: Credit { state.withLock { $0.credit } }
  var isEnded: Bool { state.withLock { $0.isEnded } }

  func advance(_ partition: Int32, to offset: Int64) { state.withLock { $0.positions[partition] = offset } }

  func grant(messages: Int64?, bytes: Int64?) {
    wake { $0.credit.grant(messages: messages, bytes: bytes) }
  }

  func take(messages: Int) -> Int { state.withLock { $0.credit.take(messages: messages) } }

  func spend(messages: Int, bytes: Int) { state.withLock { $0.credit.spend(messages: messages, bytes: bytes) } }

  /// No more is sent; tasks that wait for credit go home.
  func end() { wake { $0.isEnded = true } }

  /// Waits until there is credit; false once the subscription has ended.
  func waitForCredit() async -> Bool {
    while true {
      let now = state.withLock { ($0.isEnded, $0.credit.isExhausted) }
      if now.0 { return false }
      if !now.1 { return true }
      await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
        let mustWait = state.withLock { state in
          guard !state.isEnded, state.credit.isExhausted else { return false }
          state.waiting.append(continuation)
          return true
        }
        if !mustWait { continuation.resume() }
      }
    }
  }

  private func wake(_ change: (inout State) -> Void) {
    let waiting = state.withLock { state in
      change(&state)
      defer { state.waiting = [] }
      return state.waiting
    }
    for continuation in waiting { continuation.resume() }
  }
}

/// All subscriptions of a door, for the statistics.
package final class SubscriberRegistry: Sendable {
  private let subscribers = Mutex<[ObjectIdentifier: Subscriber]>([:])

  package init() {}

  func add(_ subscriber: Subscriber) { subscribers.withLock { $0[ObjectIdentifier(subscriber)] = subscriber } }

  func remove(_ subscriber: Subscriber) {
    subscribers.withLock { _ = $0.removeValue(forKey: ObjectIdentifier(subscriber)) }
  }

  /// A picture of every subscription, in the order of clients and numbers.
  package func snapshot() -> [SubscriberStatus] {
    let all = subscribers.withLock { Array($0.values) }
    return all.map { subscriber in
      SubscriberStatus(
        client: subscriber.client, number: subscriber.number, topic: subscriber.topic,
        format: subscriber.number == Subscriber.followerNumber ? "fetch" : subscriber.format.rawValue,
        credit: subscriber.credit, positions: subscriber.positions)
    }.sorted { ($0.client, $0.number) < ($1.client, $1.number) }
  }
}

/// A subscription as the statistics show it.
package struct SubscriberStatus: Sendable {
  package var client: String
  package var number: Int64
  package var topic: TopicName
  package var format: String
  package var credit: Credit
  /// The next offset of each partition.
  package var positions: [Int32: Int64]
}
