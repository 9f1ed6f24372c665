/// What a generated fleet looks like. Two shapes that are equal have the same series and the same samples, bit by bit.
package struct FleetShape: Hashable, Sendable {
  /// How the pods on the GPUs come and go; a series has the labels `container`, `namespace` and `pod` where they do.
  package enum Pods: String, Hashable, Sendable, CaseIterable {
    /// No pods: labels never change.
    case none
    /// At each scrape one GPU gets another pod.
    case onePerScrape = "one"
    /// On the hour every GPU gets another pod.
    case hourly
  }

  package var hosts = 125
  package var gpusPerHost = 8
  package var scrapes = 360
  package var intervalMilliseconds: Int64 = 10_000
  /// The time of the first scrape, in milliseconds since 1970.
  package var start: Int64 = 1_767_225_600_000
  package var seed: UInt64 = 1
  package var pods = Pods.none
  /// Every series has an offset of its own within the interval, so that no scrape is left.
  package var isSpread = false

  package init() {}

  package var gpus: Int { hosts * gpusPerHost }
  package var series: Int { gpus * FleetMetric.all.count }
  package var samples: Int { series * scrapes }

  /// When a sample was taken.
  package func time(scrape: Int, gpu: Int, metric: Int) -> Int64 {
    start + Int64(scrape) * intervalMilliseconds + offset(gpu: gpu, metric: metric)
  }

  /// The scrape of a time, nil where none was taken then.
  package func scrape(at time: Int64, gpu: Int, metric: Int) -> Int? {
    let past = time - start - offset(gpu: gpu, metric: metric)
    guard past >= 0, past % intervalMilliseconds == 0 else { return nil }
    let scrape = Int(past / intervalMilliseconds)
    return scrape < scrapes ? scrape : nil
  }

  private func offset(gpu: Int, metric: Int) -> Int64 {
    guard isSpread else { return 0 }
    return Int64(FleetRandom.mix(seed ^ UInt64(gpu * 64 + metric)) % UInt64(intervalMilliseconds))
  }

  /// Which of its pods a GPU has at a scrape, from 0.
  package func pod(gpu: Int, scrape: Int) -> Int {
    switch pods {
    case .none: return 0
    case .hourly: return Int(Int64(scrape) * intervalMilliseconds / 3_600_000)
    case .onePerScrape:
      // At scrape s it is the turn of GPU s - 1, round and round.
      return scrape <= gpu ? 0 : (scrape - gpu - 1) / gpus + 1
    }
  }
}

/// A metric as dcgm-exporter ships it by default, in the order of its page.
package struct FleetMetric: Sendable {
  package var name: String
  package var kind: String
  package var help: String
  /// Decimal places of a value; the page shows six where there are any, as the exporter does.
  package var places: Int

  package static let all: [FleetMetric] = [
    FleetMetric(name: "DCGM_FI_DEV_SM_CLOCK", kind: "gauge", help: "SM clock frequency (in MHz).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_MEM_CLOCK", kind: "gauge", help: "Memory clock frequency (in MHz).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_MEMORY_TEMP", kind: "gauge", help: "Memory temperature (in C).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_GPU_TEMP", kind: "gauge", help: "GPU temperature (in C).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_POWER_USAGE", kind: "gauge", help: "Power draw (in W).", places: 3),
    FleetMetric(
      name: "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", kind: "counter", help: "Energy since boot (in mJ).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_PCIE_REPLAY_COUNTER", kind: "counter", help: "PCIe retries.", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_GPU_UTIL", kind: "gauge", help: "GPU utilization (in %).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_MEM_COPY_UTIL", kind: "gauge", help: "Memory utilization (in %).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_ENC_UTIL", kind: "gauge", help: "Encoder utilization (in %).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_DEC_UTIL", kind: "gauge", help: "Decoder utilization (in %).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_XID_ERRORS", kind: "gauge", help: "The last XID error.", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_FB_FREE", kind: "gauge", help: "Framebuffer memory free (in MiB).", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_FB_USED", kind: "gauge", help: "Framebuffer memory used (in MiB).", places: 0),
    FleetMetric(
      name: "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", kind: "counter", help: "NVLink traffic of all lanes.", places: 0),
    FleetMetric(
      name: "DCGM_FI_DEV_POWER_VIOLATION", kind: "counter", help: "Throttled by the power limit (in us).", places: 0),
    FleetMetric(
      name: "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", kind: "counter", help: "Rows remapped, uncorrectable.",
      places: 0),
    FleetMetric(
      name: "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", kind: "counter", help: "Rows remapped, correctable.", places: 0),
    FleetMetric(name: "DCGM_FI_DEV_ROW_REMAP_FAILURE", kind: "gauge", help: "A remapping failed.", places: 0),
    FleetMetric(
      name: "DCGM_FI_PROF_GR_ENGINE_ACTIVE", kind: "gauge", help: "Time the graphics engine is active.", places: 6),
  ]

  /// The number of a metric by its name.
  package static let numbers: [String: Int] = Dictionary(
    uniqueKeysWithValues: all.enumerated().map { ($1.name, $0) })

  package static let powersOfTen: [Double] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000]
}

/// Numbers that look random and are the same every time: SplitMix64.
package struct FleetRandom: Sendable {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    return FleetRandom.mix(state)
  }

  /// From 0 up to 1.
  package mutating func unit() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// As good as normally distributed, with the mean 0 and the deviation 1: the sum of twelve uniform numbers of 10
  /// bits, from two draws.
  package mutating func normal() -> Double {
    var sum: UInt64 = 0
    for _ in 0..<2 {
      var bits = next()
      for _ in 0..<6 {
        sum += bits & 0x3ff
        bits >>= 10
      }
    }
    return Double(sum) / 1024 - 5.994
  }

  package mutating func chance(_ probability: Double) -> Bool { unit() < probability }

  package static func mix(_ value: UInt64) -> UInt64 {
    var mixed = value
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
