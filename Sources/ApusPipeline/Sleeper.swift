/// How the parts of the pipeline let time pass; the tests hand in one that does not.
package struct Sleeper: Sendable {
  private let body: @Sendable (Duration) async -> Void

  /// - Parameter body: returns after the time, or at once when the task is cancelled.
  package init(_ body: @escaping @Sendable (Duration) async -> Void) { self.body = body }

  package func sleep(_ duration: Duration) async { await body(duration) }

  /// Real time. It ends early when the task is cancelled; the caller sees that by asking.
  package static let system = Sleeper { duration in try? await Task.sleep(for: duration) }
}
