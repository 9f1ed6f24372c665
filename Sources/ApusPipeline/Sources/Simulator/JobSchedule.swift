/// The jobs of one simulated node: they arrive more often by day than by night, take one to all of its GPUs, and end.
///
/// Decisions fall once a minute of simulated time, from a random stream that nothing else draws from, so the jobs of a
/// node are the same whatever the interval of its scrapes.
struct JobSchedule: Sendable {
  /// What a job does to its GPUs.
  enum Kind: Sendable {
    /// All its GPUs at full load in step, with pauses to write checkpoints.
    case training
    /// One GPU; load follows the time of day and the moment.
    case inference
    /// One GPU; bursts of work and long thought.
    case interactive
    /// One GPU; decodes and encodes video beside some compute.
    case video
  }

  struct Job: Sendable {
    var kind: Kind
    var startMilliseconds: Int64
    var endMilliseconds: Int64
    /// Percent of the time with a kernel running, when at work.
    var utilization: Double
    /// How much of the board's power the job's kernels take when running, 0 to 1.
    var intensity: Double
    /// Memory traffic as a share of the utilization.
    var memoryShare: Double
    var memoryMiB: Double
    /// MB/s over NVLink at full load.
    var nvlinkRate: Double
    /// Milliseconds between two pauses, and how long one is.
    var pausePeriod: Int64
    var pauseLength: Int64
  }

  private static let tickMilliseconds: Int64 = 60_000
  private static let warmUpTicks: Int64 = 24 * 60

  /// The job of each GPU, nil for none.
  private(set) var jobs: [Job?]
  private var generator: SeededGenerator
  private var nextTick: Int64
  /// The share of GPU time that jobs take, averaged over a day; above 0 and below 1.
  private let load: Double

  /// Runs a day of arrivals before `start`, so that the node has a usual number of jobs from the first scrape on.
  init(gpus: Int, start: Int64, load: Double, generator: SeededGenerator) {
    jobs = [Job?](repeating: nil, count: gpus)
    self.generator = generator
    self.load = load
    let firstTick = start - floorModulo(start, JobSchedule.tickMilliseconds)
    nextTick = firstTick - JobSchedule.warmUpTicks * JobSchedule.tickMilliseconds
    advance(to: start)
  }

  /// Lets jobs end and begin up to an instant.
  mutating func advance(to instant: Int64) {
    while nextTick <= instant {
      tick(at: nextTick)
      nextTick += JobSchedule.tickMilliseconds
    }
  }

  private mutating func tick(at instant: Int64) {
    var free = 0
    for gpu in jobs.indices {
      if let job = jobs[gpu], job.endMilliseconds <= instant { jobs[gpu] = nil }
      if jobs[gpu] == nil { free += 1 }
    }
    guard free > 0 else { return }
    // The mean job lasts 75 minutes, so a GPU must wait 75 × (1 - load) / load minutes for its next.
    let pressure = load / ((1 - load) * 75) * JobSchedule.dayFactor(at: instant)
    guard generator.unit() < min(1, pressure * Double(free) / 2) else { return }
    place(makeJob(at: instant, free: free), at: instant)
  }

  private mutating func makeJob(at instant: Int64, free: Int) -> (job: Job, width: Int) {
    let choice = generator.below(100)
    // Lengths of 10, 20, 40, 80 or 160 minutes, give or take a quarter.
    let minutes = Double(10 << generator.below(5)) * generator.uniform(0.75, 1.5)
    let end = instant + Int64(minutes * 60_000)
    switch choice {
    case ..<45:
      var width = 1 << generator.below(4)
      while width > free { width /= 2 }
      let job = Job(
        kind: .training, startMilliseconds: instant, endMilliseconds: end,
        utilization: generator.uniform(92, 99.5), intensity: generator.uniform(0.62, 1.04),
        memoryShare: generator.uniform(0.25, 0.6), memoryMiB: generator.uniform(30_000, 78_000),
        nvlinkRate: width > 1 ? generator.uniform(15_000, 180_000) : 0,
        pausePeriod: Int64(generator.uniform(240_000, 900_000)), pauseLength: Int64(generator.uniform(8_000, 30_000)))
      return (job, width)
    case ..<80:
      return (
        Job(
          kind: .inference, startMilliseconds: instant, endMilliseconds: end,
          utilization: generator.uniform(25, 80), intensity: generator.uniform(0.3, 0.7),
          memoryShare: generator.uniform(0.4, 0.9), memoryMiB: generator.uniform(12_000, 72_000), nvlinkRate: 0,
          pausePeriod: 0, pauseLength: 0), 1
      )
    case ..<93:
      return (
        Job(
          kind: .interactive, startMilliseconds: instant, endMilliseconds: end,
          utilization: generator.uniform(40, 95), intensity: generator.uniform(0.25, 0.6),
          memoryShare: generator.uniform(0.2, 0.5), memoryMiB: generator.uniform(2_000, 30_000), nvlinkRate: 0,
          pausePeriod: Int64(generator.uniform(60_000, 400_000)), pauseLength: Int64(generator.uniform(30_000, 200_000))
        ), 1
      )
    default:
      return (
        Job(
          kind: .video, startMilliseconds: instant, endMilliseconds: end,
          utilization: generator.uniform(15, 45), intensity: generator.uniform(0.2, 0.4),
          memoryShare: generator.uniform(0.2, 0.4), memoryMiB: generator.uniform(1_500, 9_000), nvlinkRate: 0,
          pausePeriod: 0, pauseLength: 0), 1
      )
    }
  }

  private mutating func place(_ request: (job: Job, width: Int), at instant: Int64) {
    var left = request.width
    for gpu in jobs.indices where left > 0 && jobs[gpu] == nil {
      jobs[gpu] = request.job
      left -= 1
    }
  }

  /// How busy the time of day is, about 0.45 at night and 1.3 in the early afternoon (UTC): a parabola, because a sine
  /// from the C library need not be the same on every machine.
  static func dayFactor(at instant: Int64) -> Double {
    let hour = Double(floorModulo(instant, 86_400_000)) / 3_600_000
    var distance = (hour - 14) / 12
    if distance < -1 { distance += 2 }
    return 0.45 + 0.85 * (1 - distance * distance)
  }
}

/// The remainder that is never negative, for instants before 1970.
func floorModulo(_ value: Int64, _ divisor: Int64) -> Int64 {
  let remainder = value % divisor
  return remainder < 0 ? remainder + divisor : remainder
}
