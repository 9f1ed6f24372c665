import ApusIO
import ApusModel
import Synchronization

/// A simulated fleet as a live source: one round of scrapes at every interval.
///
/// With `Pace.count` it is as fast as it is asked, each round an interval after the last one: for filling a store with a
/// past, and for measuring.
package final class SimulatorSource: Source {
  package enum Pace: Sendable {
    /// At every interval of the clock. Missed rounds are left out.
    case live
    /// At once, this many rounds.
    case count(Int)
  }

  private struct State {
    var simulation: Simulation
    var roundsLeft: Int?
  }

  package let name: String
  package let isLive: Bool
  private let state: Mutex<State>
  private let clock: any WallClock
  private let sleeper: Sleeper
  private let keys: [String: [UInt8]]

  /// - Parameter simulation: for a live source it begins at the clock's time, at a whole interval.
  package init(
    _ simulation: Simulation, pace: Pace, name: String = "simulator", clock: any WallClock = SystemClock(),
    sleeper: Sleeper = .system
  ) {
    self.name = name
    self.clock = clock
    self.sleeper = sleeper
    switch pace {
    case .live:
      isLive = true
      state = Mutex(State(simulation: simulation, roundsLeft: nil))
    case .count(let rounds):
      isLive = false
      state = Mutex(State(simulation: simulation, roundsLeft: rounds))
    }
    keys = Dictionary(uniqueKeysWithValues: simulation.identities.map { ($0.name, Array($0.name.utf8)) })
  }

  package func next() async throws(PipelineError) -> SourceBatch? {
    if !isLive {
      let round: Simulation.Round? = state.withLock { state in
        guard let left = state.roundsLeft, left > 0 else { return nil }
        state.roundsLeft = left - 1
        return state.simulation.next()
      }
      return round.map { batch($0) }
    }
    while !Task.isCancelled {
      let now = clock.now
      let round: Simulation.Round?? = state.withLock { state in
        let due = state.simulation.nextTimestamp.milliseconds
        if due > now { return .none }
        let interval = state.simulation.intervalMilliseconds
        state.simulation.skip(to: due + (now - due) / interval * interval)
        return .some(state.simulation.next())
      }
      if let round { return round.map { batch($0) } }
      let due = state.withLock { $0.simulation.nextTimestamp.milliseconds }
      await sleeper.sleep(.milliseconds(max(1, due - now)))
    }
    return nil
  }

  /// A simulated fleet has no past to go back to: it begins anew.
  package func resume(from position: SourcePosition) async throws(PipelineError) {}

  private func batch(_ round: Simulation.Round) -> SourceBatch {
    var items: [TelemetryItem] = []
    items.reserveCapacity(round.scrapes.count)
    var rows = 0
    for (node, scrape) in round.scrapes {
      items.append(TelemetryItem(key: keys[node] ?? Array(node.utf8), content: .scrape(scrape)))
      rows += scrape.sampleCount
    }
    var batch = SourceBatch(items: items, rows: rows)
    batch.round = round.timestamp
    return batch
  }
}
