// Goal: the embedded log is a `RecordLog` in every respect, at every durability, from memory and from disk.
// Method: the conformance suite over a simulated disk; with no tail in memory and small segments every read of the
// second configuration goes through the segment reader.

import ApusBroker
import ApusIO
import ApusTestKit
import Testing

@Suite struct EmbeddedLogConformanceTests {
  enum Form: CaseIterable, Sendable {
    case plain, fromDisk, interval, none

    var configuration: EmbeddedLog.Configuration {
      var configuration = EmbeddedLog.Configuration()
      switch self {
      case .plain: break
      case .fromDisk:
        configuration.tailBytes = 0
        configuration.segmentBytes = 4096
        configuration.openFilesMax = 2
      case .interval: configuration.durability = .interval(.milliseconds(5))
      case .none: configuration.durability = .none
      }
      return configuration
    }
  }

  @Test(arguments: Form.allCases, RecordLogConformance.checks)
  func conforms(_ form: Form, _ check: RecordLogConformance.Check) async throws {
    var configuration = form.configuration
    configuration.createsTopics = false
    let log = try EmbeddedLog(disk: SimulatedDisk(seed: 1), clock: SystemClock(), configuration: configuration)
    do { try await RecordLogConformance(log: log, prefix: "t").run(check) } catch {
      try await log.close()
      throw error
    }
    try await log.close()
  }
}
