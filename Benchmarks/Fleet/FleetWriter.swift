import ApusIO

/// Writes what a host sends at a scrape, as exposition text, remote write 1.0 or line protocol.
///
/// Labels are put together once and copied from then on, so that a page costs little more than its bytes.
package final class FleetWriter {
  package enum Format: String, Sendable, CaseIterable {
    /// Prometheus' text with timestamps.
    case text
    /// Prometheus' remote write 1.0, compressed by Snappy.
    case remoteWrite = "remote-write"
    /// InfluxDB's line protocol; to be read with a precision of milliseconds.
    case line
  }

  private let fleet: Fleet
  private let format: Format
  private let labels: FleetLabels
  /// By GPU: the labels, in two halves around the metric's name where the format sorts it between them.
  private var before: [[UInt8]]
  private var after: [[UInt8]]
  private var pods: [Int]
  private let heads: [[UInt8]]
  private let names: [[UInt8]]
  /// The numbers of all series, in an order that has nothing to do with their sources.
  private lazy var shuffled: [Int32] = FleetWriter.shuffle(fleet.shape.series)
  private var plain: [UInt8] = []

  package init(_ fleet: Fleet, _ format: Format) {
    self.fleet = fleet
    self.format = format
    labels = FleetLabels(fleet.shape)
    before = Array(repeating: [], count: fleet.shape.gpus)
    after = before
    pods = Array(repeating: -1, count: fleet.shape.gpus)
    heads = FleetMetric.all.map { Array("# HELP \($0.name) \($0.help)\n# TYPE \($0.name) \($0.kind)\n".utf8) }
    names = FleetMetric.all.map { metric in
      format == .remoteWrite ? FleetWriter.protobufLabel("__name__", metric.name) : Array(metric.name.utf8)
    }
  }

  /// Appends the body that these hosts send at a scrape.
  package func write(hosts: Range<Int>, scrape: Int, to bytes: inout [UInt8]) {
    let gpus = hosts.lowerBound * fleet.shape.gpusPerHost..<hosts.upperBound * fleet.shape.gpusPerHost
    for gpu in gpus { refresh(gpu, scrape) }
    if format == .remoteWrite {
      plain.removeAll(keepingCapacity: true)
      for host in hosts {
        for metric in names.indices {
          for gpu in host * fleet.shape.gpusPerHost..<(host + 1) * fleet.shape.gpusPerHost {
            writeSeries(gpu: gpu, metric: metric, scrape: scrape)
          }
        }
      }
      plain.withUnsafeBytes { Snappy.compress($0, appendingTo: &bytes) }
      return
    }
    for host in hosts {
      for metric in names.indices {
        if format == .text { bytes += heads[metric] }
        for gpu in host * fleet.shape.gpusPerHost..<(host + 1) * fleet.shape.gpusPerHost {
          bytes += names[metric]
          bytes += before[gpu]
          write(fleet.scaledValue(gpu: gpu, metric: metric, scrape: scrape), FleetMetric.all[metric].places, to: &bytes)
          bytes.append(UInt8(ascii: " "))
          NumberText.append(fleet.shape.time(scrape: scrape, gpu: gpu, metric: metric), to: &bytes)
          bytes.append(UInt8(ascii: "\n"))
        }
      }
    }
  }

  /// Appends a body of remote write with some of all series in an order without sense: what a sender makes that shares
  /// series out by their hashes.
  package func writeShuffled(series: Range<Int>, scrape: Int, to bytes: inout [UInt8]) {
    plain.removeAll(keepingCapacity: true)
    for place in series {
      let number = Int(shuffled[place])
      let gpu = number / names.count
      refresh(gpu, scrape)
      writeSeries(gpu: gpu, metric: number % names.count, scrape: scrape)
    }
    plain.withUnsafeBytes { Snappy.compress($0, appendingTo: &bytes) }
  }

  private static func shuffle(_ count: Int) -> [Int32] {
    var numbers = (0..<count).map { Int32($0) }
    var random = FleetRandom(seed: 99)
    for index in stride(from: count - 1, to: 0, by: -1) {
      numbers.swapAt(index, Int(random.next() % UInt64(index + 1)))
    }
    return numbers
  }

  private func refresh(_ gpu: Int, _ scrape: Int) {
    let pod = fleet.shape.pod(gpu: gpu, scrape: scrape)
    guard pods[gpu] != pod else { return }
    pods[gpu] = pod
    switch format {
    case .text: before[gpu] = Array(labels.page(gpu: gpu, pod: pod).utf8)
    case .line:
      let tags = labels.sorted(gpu: gpu, pod: pod).map { label in
        "," + label.name + "=" + label.value.map { $0 == " " || $0 == "," || $0 == "=" ? "\\\($0)" : "\($0)" }.joined()
      }
      before[gpu] = Array((tags.joined() + " value=").utf8)
    case .remoteWrite:
      var halves: ([UInt8], [UInt8]) = ([], [])
      for label in labels.sorted(gpu: gpu, pod: pod) {
        let encoded = FleetWriter.protobufLabel(label.name, label.value)
        if label.name < "__name__" { halves.0 += encoded } else { halves.1 += encoded }
      }
      (before[gpu], after[gpu]) = halves
    }
  }

  /// A number as the exporter prints it: whole, or with six places.
  private func write(_ scaled: Int64, _ places: Int, to bytes: inout [UInt8]) {
    guard places > 0 else {
      NumberText.append(scaled, to: &bytes)
      return
    }
    let factor = Int64(FleetMetric.powersOfTen[places])
    NumberText.append(scaled / factor, to: &bytes)
    bytes.append(UInt8(ascii: "."))
    var rest = scaled % factor
    var digit = factor / 10
    while digit > 0 {
      bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest / digit))
      rest %= digit
      digit /= 10
    }
    for _ in places..<6 where format == .text { bytes.append(UInt8(ascii: "0")) }
  }

  /// One `TimeSeries` with one sample (proto/ draws the message).
  private func writeSeries(gpu: Int, metric: Int, scrape: Int) {
    let time = fleet.shape.time(scrape: scrape, gpu: gpu, metric: metric)
    let sampleBytes = 9 + 1 + FleetWriter.varintBytes(UInt64(time))
    let length = before[gpu].count + names[metric].count + after[gpu].count + 2 + sampleBytes
    plain.append(0x0a)
    FleetWriter.appendVarint(UInt64(length), to: &plain)
    plain += before[gpu]
    plain += names[metric]
    plain += after[gpu]
    plain.append(0x12)
    plain.append(UInt8(sampleBytes))
    plain.append(0x09)
    let bits = fleet.value(gpu: gpu, metric: metric, scrape: scrape).bitPattern.littleEndian
    withUnsafeBytes(of: bits) { plain.append(contentsOf: $0) }
    plain.append(0x10)
    FleetWriter.appendVarint(UInt64(time), to: &plain)
  }

  private static func protobufLabel(_ name: String, _ value: String) -> [UInt8] {
    func field(_ tag: UInt8, _ bytes: [UInt8]) -> [UInt8] {
      var field: [UInt8] = [tag]
      appendVarint(UInt64(bytes.count), to: &field)
      return field + bytes
    }
    return field(0x0a, field(0x0a, Array(name.utf8)) + field(0x12, Array(value.utf8)))
  }

  private static func varintBytes(_ value: UInt64) -> Int { max(1, (64 - value.leadingZeroBitCount + 6) / 7) }

  private static func appendVarint(_ value: UInt64, to bytes: inout [UInt8]) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }
}
