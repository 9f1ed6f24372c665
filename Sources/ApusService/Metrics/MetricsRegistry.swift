import Synchronization

/// Every self-metric of a process, and how `/metrics` shows them. Handed to each part at its making; there is no global.
///
/// Asking for an instrument locks and may allocate: do it once and keep the instrument. Using one is atomic and cheap.
package final class MetricsRegistry: Sendable {
  private enum Instrument {
    case counter(Counter)
    case gauge(Gauge)
    case histogram(Histogram)

    var kind: MetricFamily.Kind {
      switch self {
      case .counter: .counter
      case .gauge: .gauge
      case .histogram: .histogram
      }
    }
  }

  private struct Entry {
    var labels: [(String, String)]
    var instrument: Instrument
  }

  private struct Family {
    var help: String
    /// By the text of the labels.
    var entries: [String: Entry] = [:]
  }

  private struct State {
    var families: [String: Family] = [:]
    var collectors: [@Sendable () -> [MetricFamily]] = []
  }

  private let state = Mutex(State())

  package init() {}

  /// The counter of this name and these labels; the same one each time. The name should end in `_total`.
  /// - Precondition: the name is not taken by another type, and follows Prometheus' rule.
  package func counter(_ name: String, help: String, labels: [(String, String)] = []) -> Counter {
    let found = instrument(name, help, labels, .counter) { .counter(Counter()) }
    guard case .counter(let counter) = found else { preconditionFailure("\(name) is a \(found.kind), not a counter") }
    return counter
  }

  /// The gauge of this name and these labels.
  package func gauge(_ name: String, help: String, labels: [(String, String)] = []) -> Gauge {
    let found = instrument(name, help, labels, .gauge) { .gauge(Gauge()) }
    guard case .gauge(let gauge) = found else { preconditionFailure("\(name) is a \(found.kind), not a gauge") }
    return gauge
  }

  /// The histogram of this name and these labels. Of two callers the first decides the bounds.
  package func histogram(
    _ name: String, help: String, labels: [(String, String)] = [], buckets: [Double] = Histogram.latencyBounds
  ) -> Histogram {
    let found = instrument(name, help, labels, .histogram) { .histogram(Histogram(bounds: buckets)) }
    guard case .histogram(let histogram) = found else {
      preconditionFailure("\(name) is a \(found.kind), not a histogram")
    }
    return histogram
  }

  /// Adds values that are read only when somebody looks. The closure is called once a scrape, from any thread.
  package func collect(_ body: @escaping @Sendable () -> [MetricFamily]) {
    state.withLock { $0.collectors.append(body) }
  }

  /// The page: Prometheus text 0.0.4, families by name, series by labels.
  package func render() -> [UInt8] {
    var families: [String: MetricFamily] = [:]
    let collectors = state.withLock { state in
      for (name, family) in state.families { families[name] = MetricsRegistry.snapshot(name, family) }
      return state.collectors
    }
    // Collectors run without the lock, so they may take locks of their own or ask for instruments.
    for collector in collectors {
      for family in collector() { families[family.name, default: family.withoutSamples].samples += family.samples }
    }
    var writer = ExpositionWriter()
    for name in families.keys.sorted() {
      if let family = families[name] { writer.write(family) }
    }
    return writer.bytes
  }

  private func instrument(
    _ name: String, _ help: String, _ labels: [(String, String)], _ kind: MetricFamily.Kind, make: () -> Instrument
  ) -> Instrument {
    precondition(MetricsRegistry.isName(name, colons: true), "\"\(name)\" cannot be a metric's name")
    for label in labels {
      precondition(MetricsRegistry.isName(label.0, colons: false), "\"\(label.0)\" cannot be a label's name")
    }
    let key = ExpositionWriter.labelText(labels)
    return state.withLock { state in
      if let present = state.families[name]?.entries[key] { return present.instrument }
      if let other = state.families[name]?.entries.values.first {
        precondition(other.instrument.kind == kind, "\(name) is a \(other.instrument.kind) already")
      }
      let new = make()
      state.families[name, default: Family(help: help)].entries[key] = Entry(labels: labels, instrument: new)
      return new
    }
  }

  private static func snapshot(_ name: String, _ family: Family) -> MetricFamily {
    var result = MetricFamily(name: name, help: family.help, kind: .untyped, samples: [])
    for key in family.entries.keys.sorted() {
      guard let entry = family.entries[key] else { continue }
      result.kind = entry.instrument.kind
      switch entry.instrument {
      case .counter(let counter):
        result.samples.append(.init(labels: entry.labels, value: Double(counter.value)))
      case .gauge(let gauge): result.samples.append(.init(labels: entry.labels, value: gauge.value))
      case .histogram(let histogram): result.samples += MetricFamily.samples(of: histogram, labels: entry.labels)
      }
    }
    return result
  }

  private static func isName(_ name: String, colons: Bool) -> Bool {
    guard let first = name.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else { return false }
    return name.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"),
        UInt8(ascii: "0")...UInt8(ascii: "9"):
        true
      case UInt8(ascii: ":"): colons
      default: false
      }
    }
  }
}

extension MetricFamily {
  fileprivate var withoutSamples: MetricFamily { MetricFamily(name: name, help: help, kind: kind, samples: []) }

  fileprivate static func samples(of histogram: Histogram, labels: [(String, String)]) -> [Sample] {
    // Count and sum are not read in one instant; the count is taken from the buckets so that they agree.
    let counts = histogram.cumulativeCounts
    var result: [Sample] = []
    for (index, count) in counts.enumerated() {
      let bound = index < histogram.bounds.count ? ExpositionWriter.number(histogram.bounds[index]) : "+Inf"
      result.append(Sample(suffix: "_bucket", labels: labels + [("le", bound)], value: Double(count)))
    }
    result.append(Sample(suffix: "_sum", labels: labels, value: histogram.sum))
    result.append(Sample(suffix: "_count", labels: labels, value: Double(counts[counts.count - 1])))
    return result
  }
}
