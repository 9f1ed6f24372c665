// Goal: whatever the power, the disk and the network do, each scrape of a replay is in the topic exactly once and in the
// store exactly once.
// Method: seeded schedules of faults over streamer, log, collector and store on one simulated disk; after each the
// content is compared with what the source said. `APUS_SEEDS=n` runs more, `APUS_SEED=n` one.
import ApusTestKit
import Foundation
import Testing

@Suite struct PipelineFaultTests {
  @Test func everyScheduleEndsWithEachScrapeOnce() async throws {
    var powerCuts = 0
    var lostAnswers = 0
    var schedules = 0
    for seed in SeedRange.schedules(120, environment: ProcessInfo.processInfo.environment) {
      let outcome = try await PipelineSimulation(seed: seed).run()
      schedules += 1
      powerCuts += outcome.powerCuts
      lostAnswers += outcome.lostAnswers
      let stored = outcome.stored == outcome.expected
      #expect(stored, "seed \(seed): the store has \(outcome.stored.count) of \(outcome.expected.count) samples")
      let published = outcome.published.count == outcome.expected.count / 3
      #expect(published, "seed \(seed): the topic has \(outcome.published.count) scrapes")
      #expect(Set(outcome.published).count == outcome.published.count, "seed \(seed): a scrape is there twice")
    }
    // A schedule without faults proves nothing.
    if schedules >= 100 { #expect(powerCuts > schedules / 4 && lostAnswers > schedules) }
  }
}
