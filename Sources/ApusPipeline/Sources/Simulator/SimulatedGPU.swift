/// One simulated GPU: a few numbers of state, moved along by one step for each scrape.
///
/// The chain is that of the real part: the job sets utilization, utilization and clocks set power, power heats the
/// die and the memory each with its own inertia, and a die too hot or a board over its power limit lowers the clocks.
/// What is shown is rounded as the driver rounds it, and no shown value is an exact function of another one.
struct SimulatedGPU: Sendable {
  static let memoryTotalMiB: Double = 81_559
  static let powerLimitWatts: Double = 700
  static let clockMaxMHz: Double = 1_980
  static let clockIdleMHz: Double = 345
  static let throttleCelsius: Double = 84

  /// What differs from board to board.
  private let idleWatts: Double
  private let celsiusPerWatt: Double
  private let memoryCelsiusPerWatt: Double
  private let reservedBaseMiB: Double
  private let replaysPerSecond: Double

  /// The true state.
  private var powerWatts: Double
  private(set) var dieCelsius: Double
  private var memoryCelsius: Double
  private var clockMHz: Double
  private var energyMillijoules: Double
  private var nvlinkMegabytes: Double
  private var pcieReplays: Double = 0
  private var memoryUsedMiB: Double = 4
  private var contextMiB: Double = 0
  /// Slow random walk around 0 of the load, in standard deviations.
  private var drift: Double = 0
  private var secondsIdle: Double = 600
  private var correctableRows: Double
  private var uncorrectableRows: Double = 0
  private var remapFailed = false
  private var xid: Double = 0

  init(inlet: Double, generator: inout SeededGenerator) {
    idleWatts = generator.uniform(66, 76)
    celsiusPerWatt = generator.uniform(0.056, 0.066)
    memoryCelsiusPerWatt = generator.uniform(0.066, 0.08)
    reservedBaseMiB = generator.uniform(548, 562)
    // One board in sixteen has a link that retries now and then.
    replaysPerSecond = generator.below(16) == 0 ? generator.uniform(0.0002, 0.002) : 0.000_000_5
    correctableRows = generator.below(24) == 0 ? Double(1 + generator.below(3)) : 0
    powerWatts = idleWatts
    dieCelsius = inlet + idleWatts * celsiusPerWatt
    memoryCelsius = inlet + 4 + idleWatts * memoryCelsiusPerWatt
    clockMHz = SimulatedGPU.clockIdleMHz
    // Both are whole numbers, as the driver counts; what is added to them is rounded too.
    energyMillijoules = generator.uniform(1e9, 5e12).rounded()
    nvlinkMegabytes = generator.uniform(0, 1e9).rounded()
  }

  /// Everything that works on a GPU from outside during one step.
  struct Surroundings {
    var instant: Int64
    var seconds: Double
    var job: JobSchedule.Job?
    var inletCelsius: Double
    var fault: GPUFault
  }

  /// Moves along, then writes the 20 values into a column of a scrape: the first to `column[0]`, each next `stride` on.
  @inline(__always)
  mutating func step(
    _ around: Surroundings, into column: UnsafeMutablePointer<Double>, stride: Int,
    _ generator: inout SeededGenerator
  ) {
    let seconds = around.seconds
    // Implicit Euler keeps every inertia stable at any step and needs no exponential.
    drift += (-drift * seconds / 40 + generator.normal() * (seconds / 20).squareRoot()) / (1 + seconds / 40)
    let load = SimulatedGPU.load(of: around.job, at: around.instant, drift: drift, &generator)
    secondsIdle = load.utilization > 0 || around.job != nil ? 0 : secondsIdle + seconds

    // Clocks: what the job asks for, less what heat and the power limit take away.
    let wanted = around.job != nil || secondsIdle < 20 ? SimulatedGPU.clockMaxMHz : SimulatedGPU.clockIdleMHz
    let demand = idleWatts + load.utilization / 100 * load.intensity * (SimulatedGPU.powerLimitWatts * 1.02 - idleWatts)
    var ceiling = SimulatedGPU.clockMaxMHz
    if demand > SimulatedGPU.powerLimitWatts { ceiling *= SimulatedGPU.powerLimitWatts / demand }
    if dieCelsius > SimulatedGPU.throttleCelsius {
      ceiling = max(900, ceiling - 60 * (dieCelsius - SimulatedGPU.throttleCelsius))
    }
    clockMHz += (min(wanted, ceiling) - clockMHz) * seconds / (seconds + 0.5)

    let busy = load.utilization > 2
    let scale = busy ? min(1, clockMHz / SimulatedGPU.clockMaxMHz) : 1
    let target = min(idleWatts + (demand - idleWatts) * scale, SimulatedGPU.powerLimitWatts)
    let before = powerWatts
    powerWatts += (target - powerWatts) * seconds / (seconds + 2)
    let shownPower = max(30, powerWatts + generator.normal() * (busy ? 12 : 0.25))

    // Heat. A failed fan or a blocked duct shows as a hotter inlet and a worse path from die to air.
    let inlet = around.inletCelsius + around.fault.heatCelsius
    dieCelsius += (inlet + powerWatts * celsiusPerWatt - dieCelsius) * seconds / (seconds + 25)
    memoryCelsius += (inlet + 4 + powerWatts * memoryCelsiusPerWatt - memoryCelsius) * seconds / (seconds + 60)

    // The board's own meter sees every ripple, so the energy is not the shown power times the time.
    let meanWatts = max(20, (before + powerWatts) / 2 + generator.normal() * (busy ? 3 : 0.1))
    energyMillijoules += (meanWatts * seconds * 1000).rounded()
    if load.nvlinkRate > 0 {
      nvlinkMegabytes += (load.nvlinkRate * seconds * max(0.05, 1 + 0.1 * generator.normal())).rounded()
    }
    if generator.unit() < replaysPerSecond * seconds { pcieReplays += 1 }

    // Memory fills up while a job loads, and the context's bookkeeping is held by the driver.
    let wantedMiB = around.job.map { $0.memoryMiB } ?? 4
    let wantedContext = around.job != nil ? wantedMiB / 1024 : 0
    memoryUsedMiB += (wantedMiB - memoryUsedMiB) * seconds / (seconds + (wantedMiB > memoryUsedMiB ? 20 : 1))
    contextMiB += (wantedContext - contextMiB) * seconds / (seconds + 3)
    let breathing = around.job?.kind == .inference ? drift * 120 : 0
    let reserved = (reservedBaseMiB + contextMiB).rounded()
    let used = min(max(0, (memoryUsedMiB + breathing).rounded()), SimulatedGPU.memoryTotalMiB - reserved)

    apply(around.fault)

    func put(_ metric: SimulatedMetric, _ value: Double) { column[metric.rawValue * stride] = value }
    put(.smClock, (clockMHz / 15).rounded() * 15)
    put(.memoryClock, secondsIdle < 150 ? 2_619 : 1_593)
    put(.memoryTemperature, memoryCelsius.rounded())
    put(.gpuTemperature, dieCelsius.rounded())
    put(.powerUsage, (shownPower * 1000).rounded() / 1000)
    put(.totalEnergy, energyMillijoules)
    put(.pcieReplays, pcieReplays)
    put(.gpuUtilization, load.utilization.rounded())
    put(.memoryCopyUtilization, load.memoryUtilization.rounded())
    put(.encoderUtilization, load.encoder.rounded())
    put(.decoderUtilization, load.decoder.rounded())
    put(.xid, xid)
    put(.framebufferFree, SimulatedGPU.memoryTotalMiB - used - reserved)
    put(.framebufferUsed, used)
    put(.framebufferReserved, reserved)
    put(.uncorrectableRemappedRows, uncorrectableRows)
    put(.correctableRemappedRows, correctableRows)
    put(.rowRemapFailure, remapFailed ? 1 : 0)
    put(.nvlinkBandwidth, nvlinkMegabytes)
    put(.vgpuLicense, 0)
  }

  /// What a fault that began or ended since the last step leaves behind.
  private mutating func apply(_ fault: GPUFault) {
    if let code = fault.xid { xid = Double(code) }
    if fault.clearsXID { xid = 0 }
    correctableRows += Double(fault.newCorrectableRows)
    uncorrectableRows += Double(fault.newUncorrectableRows)
    if fault.remapFails { remapFailed = true }
  }

  private struct Load {
    var utilization = 0.0
    var intensity = 0.0
    var memoryUtilization = 0.0
    var encoder = 0.0
    var decoder = 0.0
    var nvlinkRate = 0.0
  }

  /// What the job does at this instant.
  @inline(__always)
  private static func load(
    of job: JobSchedule.Job?, at instant: Int64, drift: Double, _ generator: inout SeededGenerator
  ) -> Load {
    guard let job else { return Load() }
    var load = Load(intensity: job.intensity)
    let paused =
      job.pausePeriod > 0
      && floorModulo(instant - job.startMilliseconds, job.pausePeriod) >= job.pausePeriod - job.pauseLength
    switch job.kind {
    case .training:
      load.utilization = paused ? 3 + 2 * generator.unit() : job.utilization + drift * 0.8
      load.nvlinkRate = paused ? 0 : job.nvlinkRate
    case .inference:
      load.utilization = job.utilization * min(1, JobSchedule.dayFactor(at: instant)) + drift * 9
    case .interactive:
      load.utilization = paused ? 0 : job.utilization + drift * 6
    case .video:
      load.utilization = job.utilization + drift * 4
      load.decoder = min(100, max(0, 62 + 9 * generator.normal()))
      load.encoder = min(100, max(0, 41 + 7 * generator.normal()))
    }
    load.utilization = min(100, max(0, load.utilization))
    load.memoryUtilization = min(100, max(0, load.utilization * job.memoryShare + generator.normal() * 1.5))
    if load.utilization == 0 { load.memoryUtilization = 0 }
    return load
  }
}

/// What the scenario does to one GPU in one step.
struct GPUFault: Sendable {
  var heatCelsius = 0.0
  /// A code raised in this step.
  var xid: Int?
  var clearsXID = false
  var newCorrectableRows = 0
  var newUncorrectableRows = 0
  var remapFails = false
  var isLost = false

  static let none = GPUFault()
}
