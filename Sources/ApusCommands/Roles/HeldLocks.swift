import ApusIO
import Synchronization

/// The locks of folders that the process holds until it ends.
final class HeldLocks: Sendable {
  private let locks = Mutex<[any DiskLock]>([])

  func hold(_ lock: any DiskLock) {
    locks.withLock { $0.append(lock) }
  }
}
