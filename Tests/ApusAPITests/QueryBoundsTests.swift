// Goal: a store that is slow or away costs its clients an answer that says so, and nobody else anything. Method: a store
// whose answers are held until the test lets them go.

import ApusAPI
import ApusModel
import ApusStore
import ApusTestKit
import HTTPTypes
import Synchronization
import Testing

@Suite struct QueryBoundsTests {
  @Test(.timeLimit(.minutes(5))) func moreRequestsThanMayWaitAreToldToComeBack() async throws {
    let gate = HeldStore(try MemoryStore(clock: ManualClock()))
    var fixture = APIFixture(store: gate)
    fixture.configuration.queriesMax = 1
    fixture.configuration.queriesWaitingMax = 1
    let metrics = fixture.metrics
    try await fixture.server().application.test(.router) { client async throws in
      gate.hold()
      try await withThrowingTaskGroup(of: Int.self) { group in
        group.addTask { try await client.get("/api/v1/gpus").status }
        await gate.waitUntilAsked()
        group.addTask { try await client.get("/api/v1/gpus").status }
        // The second one waits as soon as its gauge says so; until then a third might take its place.
        while !String(decoding: metrics.render(), as: UTF8.self).contains("gpu_telemetry_api_queries_waiting 1") {
          await Task.yield()
        }
        let refused = try await client.get("/api/v1/gpus")
        #expect(refused.status == 503)
        #expect(refused.headers[.retryAfter] == "1")
        #expect(try refused.json()["detail"]?.string?.contains("1 queries run and 1 wait") == true)
        // What does not read the store is answered.
        #expect(try await client.get("/openapi.json").status == 200)
        gate.release()
        for try await status in group { #expect(status == 200) }
      }
      #expect(try await client.get("/api/v1/gpus").status == 200)
    }
  }

  @Test(.timeLimit(.minutes(5))) func aQueryThatTakesTooLongIsGivenUpAndGivesItsPlaceBackWhenItEnds() async throws {
    let gate = HeldStore(try MemoryStore(clock: ManualClock()))
    var fixture = APIFixture(store: gate)
    fixture.configuration.queriesMax = 1
    fixture.configuration.queriesWaitingMax = 0
    fixture.configuration.queryTimeout = .milliseconds(1)
    try await fixture.server().application.test(.router) { client async throws in
      gate.hold()
      let late = try await client.get("/api/v1/gpus")
      #expect(late.status == 503)
      #expect(late.text.contains("longer than 1ms"))
      // The store has not answered yet, so the place is still taken.
      let refused = try await client.get("/api/v1/gpus")
      #expect(refused.status == 503 && refused.text.contains("which is the limit"))
      gate.release()
      // Free again as soon as the first one has ended; whether the next one is in time is not the question here.
      var text = refused.text
      while text.contains("which is the limit") { text = try await client.get("/api/v1/gpus").text }
      #expect(text == "[]" || text.contains("longer than 1ms"))
    }
  }

  @Test(arguments: [
    (StoreError.unreachable("nobody there"), 503, "nobody there"), (.closed, 503, "closed"),
    (.tooManySamples(found: 10, limit: 9), 400, "limit is 9"),
    // The cause may hold paths; it goes to the log.
    (.corrupt(file: "/secret/path", section: "s", reason: "r"), 500, "log"), (.refused("no"), 500, "log"),
  ])
  func aStoreThatFailsIsTold(_ error: StoreError, _ status: Int, _ text: String) async throws {
    let gate = HeldStore(try MemoryStore(clock: ManualClock()))
    gate.fail(with: error)
    try await APIFixture(store: gate).run { client async throws in
      for path in ["gpus", "gpus/0", "gpus/x/telemetry", "nodes", "nodes/n/metrics", "metrics/latest"] {
        let reply = try await client.get("/api/v1/\(path)")
        #expect(reply.status == status, "\(path): \(reply.text)")
        #expect(reply.text.contains(text) && !reply.text.contains("/secret"))
        #expect(reply.headers[.contentType] == "application/problem+json")
      }
      let stats = try await client.get("/stats")
      #expect(stats.status == 200)
      #expect(try stats.json()["store"]?["error"] != nil)
    }
  }
}

/// A store in front of another one whose answers can be held back, or replaced by an error.
private final class HeldStore: Store {
  private struct State {
    var isHeld = false
    var failure: StoreError?
    var held: [CheckedContinuation<Void, Never>] = []
    var watchers: [CheckedContinuation<Void, Never>] = []
  }

  private let base: any Store
  private let state = Mutex(State())

  init(_ base: any Store) { self.base = base }

  func hold() { state.withLock { $0.isHeld = true } }

  func fail(with error: StoreError) { state.withLock { $0.failure = error } }

  func release() {
    let held = state.withLock { state in
      state.isHeld = false
      defer { state.held = [] }
      return state.held
    }
    for continuation in held { continuation.resume() }
  }

  /// Returns when a call is held.
  func waitUntilAsked() async {
    await withCheckedContinuation { continuation in
      let isAsked = state.withLock { state in
        if state.held.isEmpty { state.watchers.append(continuation) }
        return !state.held.isEmpty
      }
      if isAsked { continuation.resume() }
    }
  }

  private func pass() async throws(StoreError) {
    await withCheckedContinuation { continuation in
      let (goesOn, watchers) = state.withLock { state in
        if !state.isHeld { return (true, [CheckedContinuation<Void, Never>]()) }
        state.held.append(continuation)
        defer { state.watchers = [] }
        return (false, state.watchers)
      }
      for watcher in watchers { watcher.resume() }
      if goesOn { continuation.resume() }
    }
    if let failure = state.withLock({ $0.failure }) { throw failure }
  }

  func append(_ batch: StoreBatch) async throws(StoreError) -> AppendOutcome {
    try await pass()
    return try await base.append(batch)
  }

  func positions() async throws(StoreError) -> [LogPartition: StorePosition] {
    try await pass()
    return try await base.positions()
  }

  func select(_ request: SelectRequest) async throws(StoreError) -> [SeriesColumn] {
    try await pass()
    return try await base.select(request)
  }

  func series(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [Labels] {
    try await pass()
    return try await base.series(matchers, in: range)
  }

  func labelNames(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [String] {
    try await pass()
    return try await base.labelNames(matchers, in: range)
  }

  func labelValues(_ label: String, _ matchers: [Matcher], in range: TimeRange) async throws(StoreError) -> [String] {
    try await pass()
    return try await base.labelValues(label, matchers, in: range)
  }

  func descriptors() async throws(StoreError) -> [MetricDescriptor] {
    try await pass()
    return try await base.descriptors()
  }

  func delete(_ matchers: [Matcher], in range: TimeRange) async throws(StoreError) {
    try await pass()
    try await base.delete(matchers, in: range)
  }

  @discardableResult
  func flush() async throws(StoreError) -> StoreWork {
    try await pass()
    return try await base.flush()
  }

  func snapshot(named name: SnapshotName) async throws(StoreError) -> SnapshotSummary {
    try await base.snapshot(named: name)
  }

  @discardableResult
  func compact() async throws(StoreError) -> StoreWork {
    try await pass()
    return try await base.compact()
  }

  func statistics() async throws(StoreError) -> StoreStatistics {
    try await pass()
    return try await base.statistics()
  }

  func close() async throws(StoreError) { try await base.close() }
}
