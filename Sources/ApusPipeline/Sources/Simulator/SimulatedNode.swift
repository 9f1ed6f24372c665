import ApusModel

/// One simulated node: its GPUs, its jobs and the air it breathes. Every node has random streams of its own, so a node's
/// numbers do not depend on how many others there are.
struct SimulatedNode: Sendable {
  let identity: NodeIdentity
  private var gpus: [SimulatedGPU]
  private var schedule: JobSchedule
  private var generator: SeededGenerator
  private var inletCelsius: Double
  private let inletMeanCelsius: Double
  /// The faults of the scenario that name this node.
  private let faults: [Scenario.Fault]
  private let start: Int64
  private var previous: Int64

  init(index: Int, shape: FleetShape, seed: UInt64, scenario: Scenario, start: Int64, stepMilliseconds: Int64) {
    identity = NodeIdentity(index: index, gpus: shape.gpusPerNode, seed: seed)
    schedule = JobSchedule(
      gpus: shape.gpusPerNode, start: start, load: scenario.load,
      generator: SeededGenerator(seed: seed ^ 0x4a4f_4253, stream: UInt64(index)))
    var generator = SeededGenerator(seed: seed, stream: UInt64(index))
    let mean = generator.uniform(24, 28)
    inletMeanCelsius = mean
    inletCelsius = mean
    gpus = []
    for _ in 0..<shape.gpusPerNode { gpus.append(SimulatedGPU(inlet: mean, generator: &generator)) }
    self.generator = generator
    let name = identity.name
    faults = scenario.faults.filter { $0.node == nil || $0.node == name }
    self.start = start
    previous = start - stepMilliseconds
    warmUp()
  }

  /// Ten minutes under the jobs that run at the start, so that the first scrape shows warm boards.
  private mutating func warmUp() {
    let step: Int64 = 10_000
    var column = [Double](repeating: 0, count: identity.set.count)
    for tick in 0..<60 {
      let instant = start - step * Int64(60 - tick)
      advance(to: instant, seconds: 10, faults: [], into: &column)
    }
  }

  /// Moves along to an instant and says what a scrape finds there; nil when the node does not answer.
  mutating func scrape(at instant: Int64) -> Scrape? {
    let seconds = Double(max(1, instant - previous)) / 1000
    let elapsed = instant - start
    var absent: Bitmap?
    var answers = true
    if !faults.isEmpty {
      answers = !faults.contains { $0.effect == .stop && $0.isActive(at: elapsed) }
      absent = absentSeries(at: elapsed)
    }
    schedule.advance(to: instant)
    let values = [Double](unsafeUninitializedCapacity: identity.set.count) { buffer, filled in
      step(to: instant, seconds: seconds, faults: faults, into: buffer.baseAddress!)
      filled = identity.set.count
    }
    previous = instant
    guard answers else { return nil }
    return Scrape(
      set: identity.set, timestamp: Timestamp(milliseconds: instant), values: values, absent: absent)
  }

  private mutating func advance(
    to instant: Int64, seconds: Double, faults: [Scenario.Fault], into column: inout [Double]
  ) {
    column.withUnsafeMutableBufferPointer { step(to: instant, seconds: seconds, faults: faults, into: $0.baseAddress!) }
  }

  private mutating func step(
    to instant: Int64, seconds: Double, faults: [Scenario.Fault], into column: UnsafeMutablePointer<Double>
  ) {
    inletCelsius +=
      ((inletMeanCelsius + 1.5 * (JobSchedule.dayFactor(at: instant) - 0.9) - inletCelsius) * seconds / 900
        + 0.02 * generator.normal() * seconds.squareRoot()) / (1 + seconds / 900)
    let count = gpus.count
    for index in 0..<count {
      let fault = faults.isEmpty ? GPUFault.none : fault(of: index, at: instant - start, since: previous - start)
      let around = SimulatedGPU.Surroundings(
        instant: instant, seconds: seconds, job: fault.isLost ? nil : schedule.jobs[index],
        inletCelsius: inletCelsius, fault: fault)
      gpus[index].step(around, into: column + index, stride: count, &generator)
    }
  }

  /// What the scenario does to one GPU between two steps; both times after the start.
  private func fault(of gpu: Int, at elapsed: Int64, since before: Int64) -> GPUFault {
    var result = GPUFault.none
    for fault in faults where fault.gpu == nil || fault.gpu == gpu {
      let isActive = fault.isActive(at: elapsed)
      let wasActive = fault.isActive(at: before)
      switch fault.effect {
      case .hot(let celsius): if isActive { result.heatCelsius += celsius }
      case .xid(let code):
        if isActive { result.xid = code } else if wasActive { result.clearsXID = true }
      case .lost: if isActive { result.isLost = true }
      case .ecc(let correctable, let uncorrectable, let remapFails):
        let (now, then) = (fault.share(at: elapsed), fault.share(at: before))
        result.newCorrectableRows += Int(Double(correctable) * now) - Int(Double(correctable) * then)
        result.newUncorrectableRows += Int(Double(uncorrectable) * now) - Int(Double(uncorrectable) * then)
        if remapFails, isActive { result.remapFails = true }
      case .stop: break
      }
    }
    return result
  }

  private func absentSeries(at elapsed: Int64) -> Bitmap? {
    var absent: Bitmap?
    for fault in faults where fault.effect == .lost && fault.isActive(at: elapsed) {
      var bitmap = absent ?? Bitmap(count: identity.set.count)
      for gpu in gpus.indices where fault.gpu == nil || fault.gpu == gpu {
        for metric in 0..<SimulatedMetric.count { bitmap[metric * gpus.count + gpu] = true }
      }
      absent = bitmap
    }
    return absent
  }
}

extension Scenario.Fault {
  /// How much of it has happened: 0 before, 1 from its end on. One without a length happens at once.
  fileprivate func share(at elapsed: Int64) -> Double {
    guard elapsed >= startMilliseconds else { return 0 }
    guard let lengthMilliseconds, lengthMilliseconds > 0 else { return 1 }
    return min(1, Double(elapsed - startMilliseconds) / Double(lengthMilliseconds))
  }
}
