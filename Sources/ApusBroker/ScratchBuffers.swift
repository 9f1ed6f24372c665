import Synchronization

/// Buffers that batches are expanded into, kept for the next one. At most `limit` idle ones, none of them larger than
/// `bytesMax`, so that a rare giant does not stay.
enum ScratchBuffers {
  private static let limit = 8
  private static let bytesMax = 4 << 20
  private static let idle = Mutex<[[UInt8]]>([])

  /// An empty buffer.
  static func take() -> [UInt8] {
    idle.withLock { $0.popLast() ?? [] }
  }

  static func putBack(_ buffer: inout [UInt8]) {
    guard buffer.capacity <= bytesMax else { return }
    buffer.removeAll(keepingCapacity: true)
    let kept = buffer
    buffer = []
    idle.withLock { if $0.count < limit { $0.append(kept) } }
  }
}
