/// The labels of a generated fleet, as a scrape adds them.
package struct FleetLabels: Sendable {
  package static let job = "dgx_dcgm_exporter"
  package static let model = "NVIDIA H100 80GB HBM3"
  private let shape: FleetShape

  package init(_ shape: FleetShape) { self.shape = shape }

  package func hostname(_ host: Int) -> String {
    let number = String(1000 + host)
    return "gpu-node-\(number)"
  }

  /// The first eight digits tell the GPU's number to `gpu(ofUUID:)`; all of it looks like chance.
  package func uuid(gpu: Int) -> String {
    let first = UInt32(truncatingIfNeeded: gpu) &* 2_654_435_761
    let rest = FleetRandom.mix(UInt64(gpu) &+ 77)
    let last = FleetRandom.mix(rest)
    func hex(_ value: UInt64, _ digits: Int) -> String {
      let text = String(value, radix: 16)
      return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
    return "GPU-\(hex(UInt64(first), 8))-\(hex(rest >> 48, 4))-\(hex(rest >> 32 & 0xffff, 4))"
      + "-\(hex(rest >> 16 & 0xffff, 4))-\(hex(last >> 16, 12))"
  }

  /// The number of the GPU with this UUID, nil when it is none of the fleet's.
  package func gpu(ofUUID uuid: String) -> Int? {
    guard uuid.hasPrefix("GPU-"), let first = UInt32(uuid.dropFirst(4).prefix(8), radix: 16) else { return nil }
    // The inverse of the factor, modulo 2^32.
    let gpu = Int(first &* 244_002_641)
    return gpu < shape.gpus && self.uuid(gpu: gpu) == uuid ? gpu : nil
  }

  package func pod(gpu: Int, number: Int) -> String {
    "train-\(FleetRandom.mix(UInt64(gpu)) % 100_000)-\(gpu)-\(number)"
  }

  /// The labels of a GPU but for the metric's name, sorted by name.
  package func sorted(gpu: Int, pod number: Int) -> [(name: String, value: String)] {
    let host = hostname(gpu / shape.gpusPerHost)
    let index = gpu % shape.gpusPerHost
    var labels = [("Hostname", host), ("UUID", uuid(gpu: gpu))]
    if shape.pods != .none { labels.append(("container", "main")) }
    labels += [
      ("device", "nvidia\(index)"), ("gpu", "\(index)"), ("instance", "\(host):9400"), ("job", FleetLabels.job),
      ("modelName", FleetLabels.model),
    ]
    if shape.pods != .none { labels += [("namespace", "ml"), ("pod", pod(gpu: gpu, number: number))] }
    return labels
  }

  /// The labels as a page shows them, from the opening brace to the blank behind the closing one: the exporter's order,
  /// then what the scrape added.
  package func page(gpu: Int, pod number: Int) -> String {
    let host = hostname(gpu / shape.gpusPerHost)
    let index = gpu % shape.gpusPerHost
    var text =
      "{gpu=\"\(index)\",UUID=\"\(uuid(gpu: gpu))\",device=\"nvidia\(index)\",modelName=\"\(FleetLabels.model)\""
    text += ",Hostname=\"\(host)\""
    if shape.pods != .none {
      text += ",container=\"main\",namespace=\"ml\",pod=\"\(pod(gpu: gpu, number: number))\""
    }
    return text + ",instance=\"\(host):9400\",job=\"\(FleetLabels.job)\"} "
  }
}
