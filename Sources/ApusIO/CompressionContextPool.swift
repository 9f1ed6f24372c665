import Synchronization

/// Keeps a codec's contexts for the next call: making one costs far more than most batches.
///
/// At most `limit` idle ones are kept, as many as threads are likely to compress at once; the rest are freed.
final class CompressionContextPool<Context: AnyObject & Sendable>: Sendable {
  private let idle = Mutex<[Context]>([])
  private let limit = 8

  func take() -> Context? {
    idle.withLock { $0.popLast() }
  }

  func putBack(_ context: Context) {
    idle.withLock { if $0.count < limit { $0.append(context) } }
  }
}
