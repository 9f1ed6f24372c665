import ApusFormats
import Synchronization

/// The one decoder of OTLP: deltas of one series may come over several connections, so all of them add up in one place,
/// one request at a time from its decoding until it is known to be durable.
///
/// Invariant (`@unchecked Sendable`): the decoder is used between `enter` and `leave` only, by the one that has entered.
final class OTLPSlot: @unchecked Sendable {
  private struct Turn {
    var isTaken = false
    var waiting: [CheckedContinuation<Void, Never>] = []
  }

  private var decoder: OTLPDecoder
  private let turn = Mutex(Turn())

  init(seed: UInt64) { decoder = OTLPDecoder(seed: seed) }

  /// Waits for the turn. How many wait is bounded by who lets requests in.
  func enter() async {
    await withCheckedContinuation { continuation in
      let isMine = turn.withLock { turn in
        if turn.isTaken {
          turn.waiting.append(continuation)
          return false
        }
        turn.isTaken = true
        return true
      }
      if isMine { continuation.resume() }
    }
  }

  /// Hands the turn to the one that has waited longest.
  func leave() {
    let next = turn.withLock { turn -> CheckedContinuation<Void, Never>? in
      if turn.waiting.isEmpty {
        turn.isTaken = false
        return nil
      }
      return turn.waiting.removeFirst()
    }
    next?.resume()
  }

  func decode(_ body: UnsafeRawBufferPointer) -> Result<IngestBatch, FormatError> {
    do throws(FormatError) { return .success(try decoder.decode(body)) } catch { return .failure(error) }
  }

  var hasPendingDeltas: Bool { decoder.hasPendingDeltas }

  func commit() { decoder.commit() }

  func rollback() { decoder.rollback() }
}
