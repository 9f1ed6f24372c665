/// What goes wrong in a simulated fleet, and how busy it is. Read from a small file by `Scenario(parsing:)`
/// (docs/how-to/simulate.md).
package struct Scenario: Hashable, Sendable {
  /// What a fault does.
  package enum Effect: Hashable, Sendable {
    /// The air is warmer and is led away worse: the die gets hotter by about this much, at the pace of its inertia.
    case hot(celsius: Double)
    /// The code shows as the last XID until the fault ends, or for ever.
    case xid(code: Int)
    /// The GPU has fallen off the bus: its series are absent.
    case lost
    /// So many memory rows are remapped, spread over the length of the fault; or remapping fails.
    case ecc(correctable: Int, uncorrectable: Int, remapFails: Bool)
    /// The node answers no scrape.
    case stop
  }

  package struct Fault: Hashable, Sendable {
    /// After the start of the simulation.
    package var startMilliseconds: Int64
    /// Nil: to the end of the simulation.
    package var lengthMilliseconds: Int64?
    /// Nil: every node.
    package var node: String?
    /// Nil: every GPU.
    package var gpu: Int?
    package var effect: Effect
    /// Where it stands in the file, from 1; 0 when it comes from elsewhere.
    package var line: Int

    package init(
      startMilliseconds: Int64, lengthMilliseconds: Int64? = nil, node: String? = nil, gpu: Int? = nil,
      effect: Effect, line: Int = 0
    ) {
      self.startMilliseconds = startMilliseconds
      self.lengthMilliseconds = lengthMilliseconds
      self.node = node
      self.gpu = gpu
      self.effect = effect
      self.line = line
    }

    /// Whether it lasts at an instant, in milliseconds after the start.
    func isActive(at elapsed: Int64) -> Bool {
      guard elapsed >= startMilliseconds else { return false }
      guard let lengthMilliseconds else { return true }
      return elapsed - startMilliseconds < lengthMilliseconds
    }
  }

  /// The most faults of one scenario.
  package static let faultsMax = 10_000

  package var faults: [Fault]
  /// The share of GPU time that jobs take, averaged over a day: above 0 and below 1.
  package var load: Double

  package init(faults: [Fault] = [], load: Double = 0.7) {
    self.faults = faults
    self.load = load
  }

  /// Fails when a fault names a node or a GPU that the fleet does not have.
  package func check(fits shape: FleetShape) throws(PipelineError) {
    for fault in faults {
      if let node = fault.node {
        guard let number = Scenario.nodeNumber(node), number <= shape.nodes else {
          throw .invalidScenario(
            line: fault.line, reason: "there is no node \(node); the fleet has node-1 to node-\(shape.nodes)")
        }
      }
      if let gpu = fault.gpu, gpu >= shape.gpusPerNode {
        throw .invalidScenario(
          line: fault.line, reason: "there is no GPU \(gpu); every node has 0 to \(shape.gpusPerNode - 1)")
      }
    }
  }

  private static func nodeNumber(_ name: String) -> Int? {
    guard name.hasPrefix("node-"), let number = Int(name.dropFirst(5)), number >= 1, name == "node-\(number)" else {
      return nil
    }
    return number
  }
}
