// Goal: a scenario file means what its page says, and a wrong one is refused with the line and the reason.
// Method: a table of texts with the faults or the message expected of each.
import Testing

@testable import ApusPipeline

@Suite struct ScenarioTests {
  @Test func everyFaultIsRead() throws {
    let scenario = try Scenario(
      parsing: """
        # a comment
        load 0.4

        at 10m for 15m hot node-2/3 celsius=25   # the rest is a comment
        at 1h30m xid node-1 code=79
        at 0s lost */7
        at 5s for 1m ecc *  correctable=4 failure=1
        at 2m stop node-4
        """)
    #expect(scenario.load == 0.4)
    typealias Fault = Scenario.Fault
    #expect(
      scenario.faults == [
        Fault(
          startMilliseconds: 600_000, lengthMilliseconds: 900_000, node: "node-2", gpu: 3, effect: .hot(celsius: 25),
          line: 4),
        Fault(startMilliseconds: 5_400_000, node: "node-1", effect: .xid(code: 79), line: 5),
        Fault(startMilliseconds: 0, gpu: 7, effect: .lost, line: 6),
        Fault(
          startMilliseconds: 5000, lengthMilliseconds: 60_000,
          effect: .ecc(correctable: 4, uncorrectable: 0, remapFails: true), line: 7),
        Fault(startMilliseconds: 120_000, node: "node-4", effect: .stop, line: 8),
      ])
    try scenario.check(fits: #require(FleetShape(nodes: 4, gpusPerNode: 8)))
  }

  @Test(arguments: [
    ("load 2", 1, "is not a share"),
    ("at 10 hot node-1", 1, "has no unit"),
    ("\nat 5m melt node-1", 2, "is not a fault"),
    ("at 5m", 1, "ends where"),
    ("at 5m hot", 1, "ends where"),
    ("at 5m xid node-1/0", 1, "needs code="),
    ("at 5m xid node-1/0 code=7.5", 1, "whole number"),
    ("at 5m hot node-1/x", 1, "not a GPU's index"),
    ("at 5m hot node-1 color=3", 1, "does not know"),
    ("at 5m hot node-1 celsius=1 celsius=2", 1, "twice"),
    ("at 5m stop node-1/0", 1, "a node stops"),
    ("at 5m ecc node-1/0", 1, "needs correctable"),
    ("every 5m hot node-1", 1, "begins with"),
  ])
  func wrongLinesAreNamed(text: String, line: Int, reason: String) {
    do throws(PipelineError) {
      _ = try Scenario(parsing: text)
      Issue.record("accepted: \(text)")
    } catch {
      guard case .invalidScenario(let found, let why) = error else {
        Issue.record("another error: \(error)")
        return
      }
      #expect(found == line)
      #expect(why.contains(reason), "\(why)")
    }
  }

  @Test func faultsMustFitTheFleet() throws {
    let shape = try #require(FleetShape(nodes: 2, gpusPerNode: 4))
    for text in ["at 1s hot node-3", "at 1s hot node-1/4", "at 1s hot node-01/0", "at 1s lost rack-1"] {
      let scenario = try Scenario(parsing: text)
      #expect(throws: PipelineError.self, "\(text)") { try scenario.check(fits: shape) }
    }
  }

  @Test func shapesAreNodesTimesGPUs() throws {
    #expect(try FleetShape(parsing: "4x8") == FleetShape(nodes: 4, gpusPerNode: 8))
    for text in ["", "4", "4x", "x8", "0x8", "4x0", "4x8x2", "-1x8", "1000000x8", "a x b", "1x65"] {
      #expect(throws: PipelineError.self, "\(text)") { try FleetShape(parsing: text) }
    }
  }
}
