/// One GPU over time, as it shows itself to dcgm-exporter. The values are whole numbers, scaled by the places of their
/// metric. No metric is an exact function of others: counters add up what happened between the scrapes, gauges are what
/// a moment showed, and the memory that the driver keeps for itself is not among the metrics.
struct GPUModel {
  /// What the node's GPUs are used for at a time.
  enum Work: Int {
    case idle, training, inference
  }

  private static let memoryMiB = 81_559

  private var random: FleetRandom
  private var work = Work.idle
  private let idleWatts: Double
  private let trainingWatts: Double
  private let warmth: Double
  private let decodes: Bool
  private var load = 0.5
  private var temperature: Double
  private var usedMiB = 4
  private var reservedMiB = 551
  private var energy: Int64
  private var traffic: Int64
  private var throttled: Int64
  private var replays: Int64
  private var xid: Int64 = 0
  private var uncorrectable: Int64
  private var correctable: Int64

  init(seed: UInt64) {
    random = FleetRandom(seed: seed)
    idleWatts = 66 + random.unit() * 10
    trainingWatts = 560 + random.unit() * 110
    warmth = random.normal() * 3
    decodes = random.chance(0.1)
    temperature = 30 + warmth
    energy = Int64(1e9 + random.unit() * 9e12)
    traffic = Int64(random.unit() * 4e11)
    throttled = Int64(random.unit() * 1e11)
    replays = random.chance(0.05) ? Int64(random.unit() * 40) : 0
    uncorrectable = random.chance(0.01) ? 1 : 0
    correctable = random.chance(0.03) ? 1 + Int64(random.unit() * 4) : 0
  }

  /// The values of one scrape, in the order of `FleetMetric.all`, written with a stride.
  mutating func scrape(_ now: Work, seconds: Double, into values: UnsafeMutablePointer<Int64>, stride: Int) {
    if now != work { begin(now) }
    var place = 0
    func put(_ value: Int64) {
      values[place] = value
      place += stride
    }
    let watts = max(1, power())
    settle(seconds)
    rareEvents()
    put(clock())
    put(2619)
    put(Int64(temperature + 9 + random.normal() * 0.5))
    put(Int64(temperature + random.normal() * 0.4))
    put(Int64((watts * 1000).rounded()))
    energy += Int64((meanPower() * seconds * 1000).rounded())
    put(energy)
    put(replays)
    let busy = utilization()
    put(Int64(busy))
    put(memoryUtilization(busy))
    put(0)
    put(decodes && work == .inference ? Int64(max(0, 12 + random.normal() * 3)) : 0)
    put(xid)
    put(Int64(GPUModel.memoryMiB - usedMiB - reservedMiB))
    put(Int64(usedMiB))
    if work == .training { traffic += Int64(max(0, 152_000 + random.normal() * 6000) * seconds / 10) }
    put(traffic)
    if work == .training, random.chance(0.4) { throttled += Int64(random.unit() * 200_000 * seconds) }
    put(throttled)
    put(uncorrectable)
    put(correctable)
    put(0)
    put(engineActive(busy))
  }

  private mutating func begin(_ next: Work) {
    work = next
    load = 0.3 + random.unit() * 0.5
    switch next {
    case .idle: usedMiB = random.chance(0.5) ? 4 : 7
    case .training: usedMiB = 30_000 + Int(random.unit() * 46_000)
    case .inference: usedMiB = 15_000 + Int(random.unit() * 55_000)
    }
  }

  /// What a second's average shows: a deviation of 0.25 W at rest, of 12 W at work.
  private mutating func power() -> Double {
    switch work {
    case .idle: idleWatts + random.normal() * 0.25
    case .training: trainingWatts + random.normal() * 12
    case .inference: 140 + load * 420 + random.normal() * 12
    }
  }

  /// The mean between two scrapes, which the counter of energy adds up.
  private mutating func meanPower() -> Double {
    switch work {
    case .idle: idleWatts + random.normal() * 0.08
    case .training: trainingWatts + random.normal() * 4
    case .inference: 140 + load * 420 + random.normal() * 4
    }
  }

  private mutating func settle(_ seconds: Double) {
    if work == .inference { load = min(0.95, max(0.1, load + random.normal() * 0.03)) }
    let aim: Double =
      switch work {
      case .idle: 29 + warmth
      case .training: 62 + warmth
      case .inference: 36 + load * 22 + warmth
      }
    temperature += (aim - temperature) * min(1, seconds / 90) + random.normal() * 0.15
  }

  private mutating func rareEvents() {
    if random.chance(2e-5) { replays += 1 }
    if random.chance(1e-5) { xid = [13, 31, 43, 45, 48, 63, 79, 94][Int(random.unit() * 8)] }
    if random.chance(1e-6) { uncorrectable += 1 }
    if random.chance(3e-6) { correctable += 1 }
    if random.chance(0.002) { reservedMiB += random.chance(0.5) ? 1 : -1 }
    let changes =
      switch work {
      case .idle: 0.0
      case .training: 0.01
      case .inference: 0.1
      }
    if changes > 0, random.chance(changes) {
      usedMiB = min(80_000, max(1000, usedMiB + Int(random.normal() * 120)))
    }
  }

  private mutating func clock() -> Int64 {
    switch work {
    case .idle: 345
    case .inference: random.chance(0.95) ? 1980 : 1965
    case .training: random.chance(0.7) ? 1980 : 1980 - 15 * Int64(1 + random.unit() * random.unit() * 8)
    }
  }

  private mutating func utilization() -> Double {
    switch work {
    case .idle: return 0
    case .inference: return min(100, max(0, (load * 100 + random.normal() * 5).rounded(.down)))
    case .training:
      let draw = random.unit()
      return draw < 0.75 ? 100 : draw < 0.9 ? 99 : (94 + random.unit() * 5).rounded(.down)
    }
  }

  private mutating func memoryUtilization(_ busy: Double) -> Int64 {
    switch work {
    case .idle: 0
    case .training: Int64(max(0, 48 + random.normal() * 3))
    case .inference: Int64(max(0, busy * 0.5 + random.normal() * 4))
    }
  }

  private mutating func engineActive(_ busy: Double) -> Int64 {
    switch work {
    case .idle: 0
    case .training: min(1_000_000, Int64(985_000 + random.normal() * 8000))
    case .inference: min(1_000_000, max(0, Int64(busy * 10_000 + random.normal() * 20_000)))
    }
  }
}

/// What a node does: training over hours on half of them, inference on a fifth, nothing on the rest, and now and then a
/// change.
struct NodeModel {
  private var random: FleetRandom
  private(set) var work: GPUModel.Work

  init(seed: UInt64) {
    random = FleetRandom(seed: seed)
    work = NodeModel.choose(&random)
  }

  mutating func advance(seconds: Double) {
    // Three hours on average.
    if random.chance(seconds / 10_800) { work = NodeModel.choose(&random) }
  }

  private static func choose(_ random: inout FleetRandom) -> GPUModel.Work {
    let draw = random.unit()
    return draw < 0.5 ? .training : draw < 0.7 ? .inference : .idle
  }
}
