import NIOCore
import Synchronization

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// The address that a server really listens on, known only once it does. Any number may wait for it.
package final class BoundAddress: Sendable {
  private enum State {
    case waiting([CheckedContinuation<Result<ListenAddress, ServiceError>, Never>])
    case known(Result<ListenAddress, ServiceError>)
  }

  private let state = Mutex(State.waiting([]))

  package init() {}

  /// Waits until the server listens; throws when it could not, or stopped before it did.
  package func get() async throws(ServiceError) -> ListenAddress {
    let result = await withCheckedContinuation { continuation in
      let known: Result<ListenAddress, ServiceError>? = state.withLock { state in
        switch state {
        case .known(let result): return result
        case .waiting(let others):
          state = .waiting(others + [continuation])
          return nil
        }
      }
      if let known { continuation.resume(returning: known) }
    }
    return try result.get()
  }

  /// Tells everybody; only the first call counts.
  package func resolve(_ result: Result<ListenAddress, ServiceError>) {
    let waiting = state.withLock { state in
      switch state {
      case .known: return [CheckedContinuation<Result<ListenAddress, ServiceError>, Never>]()
      case .waiting(let list):
        state = .known(result)
        return list
      }
    }
    for continuation in waiting { continuation.resume(returning: result) }
  }
}

extension ListenAddress {
  /// The address of a socket, or nil for one that is not TCP.
  package init?(_ address: SocketAddress?) {
    guard let address, let host = address.ipAddress, let port = address.port else { return nil }
    self.init(host: host, port: port)
  }
}

extension ServiceError {
  /// Why a socket could not be bound, in our words.
  package static func listening(on address: ListenAddress, flag: String, failed error: any Error) -> ServiceError {
    if let error = error as? ServiceError { return error }
    if let error = error as? IOError, error.errnoCode == EADDRINUSE {
      return .addressInUse(address: address.description, flag: flag)
    }
    return .cannotListen(address: address.description, flag: flag, reason: "\(error)")
  }
}
