// Goal: every answer is exact while several tasks append, seal, merge, delete and drop: it holds all that was acknowledged
// before the question, nothing that was not begun when it was answered, and of each partition one moment, not a mixture.
// Method: a real store with its threads; appenders whose every value says which record it came from; readers that work out
// from an answer which records it may be the state after, and find none or one that cannot be.

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Foundation
import Synchronization
import Testing

@Suite struct StoreConcurrencyTests {
  enum Ground: CaseIterable, Sendable {
    case memory, folder
  }

  @Test(arguments: Ground.allCases) func answersAreExactWhileEverythingHappens(_ ground: Ground) async throws {
    var template = Array("/tmp/apus-store-XXXXXX".utf8CString)
    let made = template.withUnsafeMutableBufferPointer { mkdtemp($0.baseAddress!) != nil }
    try #require(made)
    let folder = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let disk: any Disk = ground == .memory ? SimulatedDisk(seed: 1) : try PosixDisk(root: folder)
    let traffic = ConcurrentTraffic(disk: disk)
    let store = try traffic.open(hasThreads: true)
    try await traffic.prepare(store)
    try await withThrowingTaskGroup(of: Void.self) { group in
      for partition in 0..<ConcurrentTraffic.partitions {
        group.addTask { try await traffic.append(partition, to: store) }
      }
      for reader in 0..<3 { group.addTask { try await traffic.read(store, reader: reader) } }
      group.addTask { try await traffic.whileRunning { try await store.flush() } }
      group.addTask { try await traffic.whileRunning { try await store.compact() } }
      group.addTask { try await traffic.deleteVictims(store) }
      group.addTask { try await traffic.whileRunning { _ = try await store.statistics() } }
      try await group.waitForAll()
    }
    #expect(traffic.reads > 0)
    #expect(try await store.statistics().blocks > 0)
    try await traffic.checkTheEnd(store)
    try await store.flush()
    try await store.compact()
    try await traffic.checkTheEnd(store)
    try await store.close()
    let again = try traffic.open(hasThreads: false)
    try await traffic.checkTheEnd(again)
    try await again.close()
  }

  /// The checker is checked: answers that mix moments, lack a sample or have one too many are found out.
  @Test func theCheckerNotices() async throws {
    let traffic = ConcurrentTraffic(disk: SimulatedDisk(seed: 1))
    let store = try traffic.open(hasThreads: false)
    try await traffic.prepare(store)
    let range = TimeRange.all
    func problem(_ change: (inout [SeriesColumn]) -> Void) async throws -> String? {
      let before = traffic.moment()
      var answer = try await store.select(SelectRequest([], in: range))
      change(&answer)
      return traffic.problem(answer, range, before, traffic.moment())
    }
    #expect(try await problem { _ in } == nil)
    for _ in 0..<20 { try await traffic.appendOne(0, to: store) }
    #expect(try await problem { _ in } == nil)
    #expect(try await problem { $0[0].values[0] += 1 } != nil)
    #expect(try await problem { $0.removeLast() } != nil)
    #expect(
      try await problem {
        $0[0].timestamps.removeLast()
        $0[0].values.removeLast()
      } != nil)
    // One series as it was a record earlier.
    let earlier = try await store.select(SelectRequest([], in: range))
    let before = traffic.moment()
    for _ in 0..<3 { try await traffic.appendOne(0, to: store) }
    var mixed = try await store.select(SelectRequest([], in: range))
    #expect(traffic.problem(mixed, range, before, traffic.moment()) == nil)
    let index = try #require(mixed.indices.first { mixed[$0].values.count != earlier[$0].values.count })
    mixed[index] = earlier[index]
    #expect(traffic.problem(mixed, range, before, traffic.moment()) != nil)
    try await store.close()
  }
}
