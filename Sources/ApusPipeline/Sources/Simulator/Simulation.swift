import ApusModel

/// A fleet of simulated GPU nodes, scraped at a fixed interval: a sequence of rounds, each with one scrape of every node
/// that answers, all of one instant.
///
/// Deterministic: two simulations with equal arguments yield the same rounds, byte for byte. Memory is that of the nodes;
/// nothing of the past is kept. Cost: about 8 ns a sample on one core (docs/how-to/simulate.md).
package struct Simulation: Sequence, IteratorProtocol, Sendable {
  package struct Round: Sendable {
    package var timestamp: Timestamp
    /// The node's name and its scrape, by ascending number of the node; a stopped node is left out.
    package var scrapes: [(node: String, scrape: Scrape)]
  }

  package let shape: FleetShape
  package let intervalMilliseconds: Int64
  private var nodes: [SimulatedNode]
  private var instant: Int64
  /// Inclusive; nil for no end.
  private let end: Int64?

  /// - Parameters:
  ///   - start: the instant of the first round; faults are timed from it.
  ///   - end: no round is later; nil for an endless fleet.
  /// - Precondition: the interval is positive and the scenario fits the shape (`Scenario.check`).
  package init(
    _ shape: FleetShape, seed: UInt64, scenario: Scenario = Scenario(), start: Timestamp, end: Timestamp? = nil,
    intervalMilliseconds: Int64
  ) {
    precondition(intervalMilliseconds > 0, "interval of \(intervalMilliseconds) ms")
    self.shape = shape
    self.intervalMilliseconds = intervalMilliseconds
    self.end = end?.milliseconds
    instant = start.milliseconds
    nodes = (0..<shape.nodes).map {
      SimulatedNode(
        index: $0, shape: shape, seed: seed, scenario: scenario, start: start.milliseconds,
        stepMilliseconds: intervalMilliseconds)
    }
  }

  /// What does not change about the nodes.
  package var identities: [NodeIdentity] { nodes.map { $0.identity } }

  /// The instant of the next round.
  package var nextTimestamp: Timestamp { Timestamp(milliseconds: instant) }

  /// The next round; nil behind the end.
  package mutating func next() -> Round? {
    if let end, instant > end { return nil }
    defer { instant += intervalMilliseconds }
    return round(at: instant)
  }

  /// Leaves out the rounds before an instant: for a live source whose timer came late. The physics takes one long step.
  package mutating func skip(to next: Int64) { instant = Swift.max(instant, next) }

  private mutating func round(at instant: Int64) -> Round {
    var round = Round(timestamp: Timestamp(milliseconds: instant), scrapes: [])
    round.scrapes.reserveCapacity(nodes.count)
    for index in nodes.indices {
      if let scrape = nodes[index].scrape(at: instant) {
        round.scrapes.append((nodes[index].identity.name, scrape))
      }
    }
    return round
  }
}
