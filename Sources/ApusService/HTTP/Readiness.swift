import Synchronization

/// Whether a role can do its work now. Each part registers a check; `/ready` asks them all.
package final class Readiness: Sendable {
  private struct Check {
    var name: String
    var reason: @Sendable () async -> String?
  }

  private let checks = Mutex<[Check]>([])
  private let draining = Atomic<Bool>(false)

  package init() {}

  /// Adds a check that answers nil, or the reason why the part is not ready.
  package func register(_ name: String, _ reason: @escaping @Sendable () async -> String?) {
    checks.withLock { $0.append(Check(name: name, reason: reason)) }
  }

  /// From now on not ready: a load balancer stops sending before the sockets close.
  package func beginDraining() { draining.store(true, ordering: .relaxed) }

  /// What stands in the way, part by part; empty when all is ready.
  package func reasons() async -> [(part: String, reason: String)] {
    var result: [(part: String, reason: String)] = []
    if draining.load(ordering: .relaxed) { result.append(("service", "it is stopping")) }
    for check in checks.withLock({ $0 }) {
      if let reason = await check.reason() { result.append((check.name, reason)) }
    }
    return result
  }
}
