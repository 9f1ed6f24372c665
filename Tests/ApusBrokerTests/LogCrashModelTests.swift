// Goal: what was acknowledged is read back exactly once, in order and unchanged, whatever the disk does; what was not
// is absent or whole; what the disk has spoilt is reported and never served; retention and deletion take what they may
// and nothing else.
// Method: seeded schedules of appends, failures, flipped bits, power cuts, deletions and restarts over a simulated disk,
// compared with a plain model in memory (`LogSchedule`). A failing seed is named; run it alone with APUS_SEED=n.

import ApusBroker
import ApusIO
import ApusTestKit
import Foundation
import Testing

@Suite struct LogCrashModelTests {
  /// Seeds that found something once, before there were flips, retention and deletion.
  static let pinned: [UInt64] = [135, 143, 154, 1992]

  @Test func everyAcknowledgedRecordSurvives() throws {
    try run(40, pinned: Self.pinned) { _ in .every }
  }

  @Test func weakerDurabilityLosesOnlyTheEndAndNeverReusesAnOffset() throws {
    try run(24, pinned: Self.pinned) { $0 % 2 == 0 ? .none : .interval(.milliseconds(50)) }
  }

  private func run(_ count: Int, pinned: [UInt64], _ durability: (UInt64) -> Durability) throws {
    let environment = ProcessInfo.processInfo.environment
    let schedules =
      pinned.map { LogSchedule(seed: $0, durability: durability($0), features: LogSchedule.Features()) }
      + SeedRange.schedules(count, environment: environment).map { LogSchedule(seed: $0, durability: durability($0)) }
    for var schedule in schedules {
      let problem = schedule.run()
      #expect(problem == nil, "seed \(schedule.seed) (\(schedule.features)): \(problem ?? "")")
      if problem != nil { break }
    }
  }

  /// The checker is checked: a log that forgets is found out, also where bits are flipped and segments dropped.
  @Test func theModelNoticesALoss() throws {
    for flips in [false, true] {
      for retention in [LogSchedule.Retention.none, .size] {
        var schedule = LogSchedule(
          seed: 3, durability: .every, features: LogSchedule.Features(flips: flips, retention: retention))
        schedule.forgets = true
        #expect(schedule.run() != nil, "flips \(flips), retention \(retention)")
      }
    }
  }

  /// What the schedules are for happens in them: bits flip in every kind of file, damage is found, batches are lost to it,
  /// segments are dropped and topics deleted.
  @Test func theSchedulesReachWhatTheyAreFor() throws {
    var counts = LogSchedule.Counts()
    for seed in UInt64(0)..<60 {
      var schedule = LogSchedule(seed: seed, durability: .every)
      _ = schedule.run()
      counts.add(schedule.counts)
    }
    for kind in ["log", "index", "timeindex", "producers", "topic", "checkpoint", "identities"] {
      #expect(counts.flips[kind] ?? 0 > 0, "no bit of a file of the kind \(kind) was flipped")
    }
    #expect(counts.corruptions > 5 && counts.lostToFlips > 5, "\(counts)")
    #expect(counts.dropped > 20 && counts.deletions > 5, "\(counts)")
  }
}
