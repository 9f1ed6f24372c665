import ApusModel

/// What does not change about a simulated node: its name, its place, its GPUs' UUIDs and the set of its series.
package struct NodeIdentity: Sendable {
  package let name: String
  package let datacenter: String
  package let uuids: [String]
  /// Family by family and in each GPU by GPU, as dcgm-exporter prints: metric `m` of GPU `g` is at `m * gpus + g`.
  package let set: SeriesSet

  static let driverVersion = "570.86.15"
  static let modelName = "NVIDIA H100 80GB HBM3"

  /// - Parameter index: 0 for `node-1`.
  init(index: Int, gpus: Int, seed: UInt64) {
    let name = "node-\(index + 1)"
    let datacenter = index % 2 == 0 ? "dc-1" : "dc-2"
    // A stream of its own, so that the UUIDs of a fleet do not change when the physics draws more or less.
    var generator = SeededGenerator(seed: seed ^ 0x5555_4944, stream: UInt64(index))
    let uuids = (0..<gpus).map { _ in NodeIdentity.uuid(&generator) }
    var series: [Labels] = []
    series.reserveCapacity(SimulatedMetric.count * gpus)
    for metric in SimulatedMetric.allCases {
      for gpu in 0..<gpus {
        series.append(
          Labels([
            (Labels.metricNameLabel, metric.descriptor.name),
            ("DCGM_FI_DRIVER_VERSION", NodeIdentity.driverVersion),
            ("Hostname", name),
            ("UUID", uuids[gpu]),
            ("datacenter", datacenter),
            ("device", "nvidia\(gpu)"),
            ("gpu", "\(gpu)"),
            ("instance", "\(name):9400"),
            ("job", "dcgm-exporter"),
            ("modelName", NodeIdentity.modelName),
            ("pci_bus_id", NodeIdentity.busID(gpu)),
          ]))
      }
    }
    self.name = name
    self.datacenter = datacenter
    self.uuids = uuids
    set = SeriesSet(series: series, descriptors: SimulatedMetric.descriptors)
  }

  /// A random (version 4) UUID with NVIDIA's prefix.
  private static func uuid(_ generator: inout SeededGenerator) -> String {
    let high = (generator.next() & 0xffff_ffff_ffff_0fff) | 0x4000
    let low = (generator.next() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000
    let digits = Array((hex(high, 16) + hex(low, 16)).utf8)
    let parts = [0..<8, 8..<12, 12..<16, 16..<20, 20..<32].map { String(decoding: digits[$0], as: UTF8.self) }
    return "GPU-" + parts.joined(separator: "-")
  }

  /// The buses of an eight-GPU HGX board first, then made-up ones.
  private static func busID(_ gpu: Int) -> String {
    let board: [UInt64] = [0x18, 0x2a, 0x3a, 0x5d, 0x9a, 0xab, 0xba, 0xdb]
    let bus = hex(gpu < board.count ? board[gpu] : UInt64(gpu) & 0xff, 2).uppercased()
    return "0000\(hex(UInt64(gpu / 256) + (gpu < board.count ? 0 : 1), 4)):\(bus):00.0"
  }

  private static func hex(_ value: UInt64, _ width: Int) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
  }
}
