/// How many nodes a simulated fleet has and how many GPUs each of them, written `4x8`.
package struct FleetShape: Hashable, Sendable, CustomStringConvertible {
  /// The most GPUs that may be simulated in one fleet; each costs about 400 bytes of state and 160 a scrape.
  package static let gpusMax = 1_000_000
  /// The most GPUs of one node. Real ones end at 16; beyond it a scrape grows without a use.
  package static let gpusPerNodeMax = 64

  package let nodes: Int
  package let gpusPerNode: Int

  /// Nil when a count is not positive or above the bounds.
  package init?(nodes: Int, gpusPerNode: Int) {
    guard nodes > 0, gpusPerNode > 0, gpusPerNode <= FleetShape.gpusPerNodeMax,
      nodes <= FleetShape.gpusMax / gpusPerNode
    else { return nil }
    self.nodes = nodes
    self.gpusPerNode = gpusPerNode
  }

  /// Takes `NODESxGPUS`, such as `4x8`.
  package init(parsing text: String) throws(PipelineError) {
    let parts = text.split(separator: "x", omittingEmptySubsequences: false)
    guard parts.count == 2, let nodes = Int(parts[0]), let gpus = Int(parts[1]) else {
      throw .invalidConfiguration(
        setting: "--simulate \(text)", reason: "must be NODESxGPUS, two whole numbers, for example 4x8")
    }
    guard let shape = FleetShape(nodes: nodes, gpusPerNode: gpus) else {
      throw .invalidConfiguration(
        setting: "--simulate \(text)",
        reason: "must have at least 1 node, 1 to \(FleetShape.gpusPerNodeMax) GPUs a node"
          + " and at most \(FleetShape.gpusMax) GPUs in all")
    }
    self = shape
  }

  package var gpus: Int { nodes * gpusPerNode }

  package var description: String { "\(nodes)x\(gpusPerNode)" }
}
