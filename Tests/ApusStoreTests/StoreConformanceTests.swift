// Goal: both stores of this module keep the protocol's promises. Method: the conformance suite of the test kit, over the
// store in memory and over the embedded one on a simulated disk, with and without threads.

import ApusIO
import ApusModel
import ApusStore
import ApusTestKit
import Testing

@Suite struct StoreConformanceTests {
  @Test func memory() async throws {
    try await StoreConformance { try MemoryStore(clock: ManualClock()) }.run()
  }

  @Test func embeddedWithThreads() async throws {
    try await StoreConformance {
      try EmbeddedStore(disk: SimulatedDisk(seed: 1), directory: "store", clock: ManualClock())
    }.run()
  }

  @Test func embeddedWithoutThreads() async throws {
    try await StoreConformance {
      var configuration = EmbeddedStore.Configuration()
      configuration.hasThreads = false
      return try EmbeddedStore(
        disk: SimulatedDisk(seed: 2), directory: "store", clock: ManualClock(), configuration: configuration)
    }.run()
  }

  @Test func embeddedWithSmallParts() async throws {
    try await StoreConformance {
      var configuration = EmbeddedStore.Configuration()
      configuration.hasThreads = false
      configuration.blockSamplesMin = 10
      configuration.partitionMilliseconds = 60_000
      configuration.compactionSamplesMax = 1000
      return try EmbeddedStore(
        disk: SimulatedDisk(seed: 3), directory: "store", clock: ManualClock(), configuration: configuration)
    }.run()
  }

  @Test func embeddedWithRollups() async throws {
    try await StoreConformance {
      var configuration = EmbeddedStore.Configuration()
      configuration.hasThreads = false
      configuration.blockSamplesMin = 10
      configuration.rollups = [50, 200].map { RollupLevel(resolutionMilliseconds: $0) }
      configuration.rollupSpanMilliseconds = 400
      configuration.rollupDelayMilliseconds = 0
      configuration.rollupSamplesMin = 1
      configuration.rollupSamplesPerBucketMin = 0
      return try EmbeddedStore(
        disk: SimulatedDisk(seed: 4), directory: "store", clock: ManualClock(), configuration: configuration)
    }.run()
  }
}
