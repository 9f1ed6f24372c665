import ApusBroker
import NIOCore

/// What a request is answered with: the frame's object, and its payload.
typealias AnswerResult = Result<(answer: Answer, payload: ByteBuffer), LogError>

/// The requests of a connection that wait for their answers, by number. Pure: time comes in as ticks.
struct PendingAnswers {
  private struct Entry {
    var complete: @Sendable (AnswerResult) -> Void
    /// Counted in the bytes in flight.
    var bytes: Int
    /// The tick at which the wait is over.
    var deadline: Int
  }

  private var entries: [Int64: Entry] = [:]
  private var nextNumber: Int64 = 1
  private(set) var bytesInFlight = 0
  private(set) var now = 0

  init() {}

  var count: Int { entries.count }

  /// A number for the next request.
  mutating func number() -> Int64 {
    defer { nextNumber += 1 }
    return nextNumber
  }

  mutating func add(
    _ number: Int64, bytes: Int, ticks: Int, complete: @escaping @Sendable (AnswerResult) -> Void
  ) {
    entries[number] = Entry(complete: complete, bytes: bytes, deadline: now + ticks)
    bytesInFlight += bytes
  }

  /// The one to tell of this answer; nil when nobody waits for it (any more).
  mutating func take(_ number: Int64) -> (@Sendable (AnswerResult) -> Void)? {
    guard let entry = entries.removeValue(forKey: number) else { return nil }
    bytesInFlight -= entry.bytes
    return entry.complete
  }

  /// Everyone, in the order of their requests; after the connection is lost.
  mutating func takeAll() -> [@Sendable (AnswerResult) -> Void] {
    let all = entries.sorted { $0.key < $1.key }.map { $0.value.complete }
    entries = [:]
    bytesInFlight = 0
    return all
  }

  /// Time goes on by one tick; answers whether a request has waited too long.
  mutating func tick() -> Bool {
    now += 1
    return entries.values.contains { $0.deadline <= now }
  }
}
