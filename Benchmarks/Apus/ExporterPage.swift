/// Pages as dcgm-exporter writes them: 20 metrics of a node's GPUs, seven labels a series, about 250 bytes a sample.
enum ExporterPage {
  private static let metrics: [(name: String, kind: String, help: String, range: ClosedRange<Int>, decimals: Int)] = [
    ("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).", 345...1980, 0),
    ("DCGM_FI_DEV_MEM_CLOCK", "gauge", "Memory clock frequency (in MHz).", 2619...2619, 0),
    ("DCGM_FI_DEV_MEMORY_TEMP", "gauge", "Memory temperature (in C).", 40...90, 0),
    ("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C).", 30...85, 0),
    ("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W).", 60_000...700_000, 3),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Total energy since boot (in mJ).", 1...999_999_999_999, 0),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries.", 0...0, 0),
    ("DCGM_FI_DEV_GPU_UTIL", "gauge", "GPU utilization (in %).", 0...100, 0),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "gauge", "Memory utilization (in %).", 0...100, 0),
    ("DCGM_FI_DEV_ENC_UTIL", "gauge", "Encoder utilization (in %).", 0...0, 0),
    ("DCGM_FI_DEV_DEC_UTIL", "gauge", "Decoder utilization (in %).", 0...0, 0),
    ("DCGM_FI_DEV_XID_ERRORS", "gauge", "Value of the last XID error encountered.", 0...0, 0),
    ("DCGM_FI_DEV_FB_FREE", "gauge", "Framebuffer memory free (in MiB).", 0...81_000, 0),
    ("DCGM_FI_DEV_FB_USED", "gauge", "Framebuffer memory used (in MiB).", 0...81_000, 0),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "counter", "Total NVLink bandwidth counters.", 0...999_999_999, 0),
    ("DCGM_FI_DEV_VGPU_LICENSE_STATUS", "gauge", "vGPU License status", 0...0, 0),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "counter", "Remapped rows for uncorrectable errors", 0...0, 0),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "counter", "Remapped rows for correctable errors", 0...0, 0),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "gauge", "Whether remapping of rows has failed", 0...0, 0),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gauge", "Ratio of time the graphics engine is active.", 0...1_000_000, 6),
  ]

  static let metricCount = metrics.count

  /// The page of one node; the same node always has the same series, the seed chooses the values.
  static func text(node: Int, gpus: Int, seed: UInt64) -> [UInt8] {
    var random = BenchmarkRandom(seed: seed &* 1_000_003 &+ UInt64(node))
    var page = ""
    page.reserveCapacity(metrics.count * gpus * 256)
    for metric in metrics {
      page += "# HELP \(metric.name) \(metric.help)\n# TYPE \(metric.name) \(metric.kind)\n"
      for gpu in 0..<gpus {
        page += "\(metric.name){gpu=\"\(gpu)\",UUID=\"\(uuid(node: node, gpu: gpu))\","
        page += "pci_bus_id=\"00000000:0\(gpu):00.0\",device=\"nvidia\(gpu)\",modelName=\"NVIDIA H100 80GB HBM3\","
        page += "Hostname=\"node-\(node)\",DCGM_FI_DRIVER_VERSION=\"535.129.03\"} "
        page += decimal(Int.random(in: metric.range, using: &random), metric.decimals) + "\n"
      }
    }
    return Array(page.utf8)
  }

  static func uuid(node: Int, gpu: Int) -> String {
    let number = String(100_000_000 + node * 64 + gpu)
    return "GPU-\(number.suffix(8))-4a5b-8c7d-9e0f-0123456789ab"
  }

  private static func decimal(_ value: Int, _ decimals: Int) -> String {
    guard decimals > 0 else { return "\(value)" }
    var factor = 1
    for _ in 0..<decimals { factor *= 10 }
    let fraction = String(factor + value % factor).dropFirst()
    return "\(value / factor).\(fraction)"
  }
}

/// Numbers that look random and are the same every time: SplitMix64.
struct BenchmarkRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
