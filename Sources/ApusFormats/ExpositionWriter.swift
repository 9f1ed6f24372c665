import ApusIO
import ApusModel

/// Writes samples as a page of text exposition, the lines of a metric's family together and under its HELP and TYPE.
package struct ExpositionWriter {
  package let format: ExpositionFormat
  private let families: MetricFamilies
  /// The lines of each family, in the order in which they first came.
  private var blocks: [(family: String, lines: [UInt8])] = []
  private var places: [String: Int] = [:]
  private var line: [UInt8] = []

  package init(format: ExpositionFormat = .text, descriptors: [MetricDescriptor] = []) {
    self.format = format
    families = MetricFamilies(descriptors)
  }

  /// A page of scrapes. Without timestamps the page says what is true when it is read.
  package static func page(
    of scrapes: [Scrape], format: ExpositionFormat = .text, includingTimestamps: Bool
  ) -> [UInt8] {
    var writer = ExpositionWriter(format: format, descriptors: scrapes.flatMap(\.set.descriptors))
    for scrape in scrapes { writer.append(scrape, includingTimestamp: includingTimestamps) }
    return writer.finish()
  }

  /// Appends the samples of a scrape, the absent series left out.
  package mutating func append(_ scrape: Scrape, includingTimestamp: Bool) {
    for index in 0..<scrape.set.count {
      if let absent = scrape.absent, absent[index] { continue }
      append(scrape.set.series[index], scrape.values[index], includingTimestamp ? scrape.timestamp : nil)
    }
  }

  /// Appends one sample. Labels without a metric's name cannot be written and are passed over, and so is a stale marker,
  /// which the format has no word for.
  package mutating func append(_ labels: Labels, _ value: Double, _ timestamp: Timestamp? = nil) {
    let name = labels.metricName
    if name.isEmpty || StaleMarker.isStale(value) { return }
    line.removeAll(keepingCapacity: true)
    line.append(contentsOf: name.utf8)
    appendLabels(labels)
    line.append(UInt8(ascii: " "))
    SampleValue.append(value, to: &line)
    if let timestamp {
      line.append(UInt8(ascii: " "))
      append(timestamp)
    }
    line.append(UInt8(ascii: "\n"))

    let family = families.family(ofSample: name)?.name ?? name
    let place: Int
    if let known = places[family] {
      place = known
    } else {
      place = blocks.count
      places[family] = place
      blocks.append((family, []))
    }
    blocks[place].lines.append(contentsOf: line)
  }

  /// The page.
  package consuming func finish() -> [UInt8] {
    var page: [UInt8] = []
    page.reserveCapacity(blocks.reduce(64) { $0 + $1.lines.count + 128 })
    for block in blocks {
      appendHead(of: block.family, to: &page)
      page.append(contentsOf: block.lines)
    }
    if format == .openMetrics { page.append(contentsOf: "# EOF\n".utf8) }
    return page
  }

  private mutating func appendLabels(_ labels: Labels) {
    var isFirst = true
    labels.forEach { name, value in
      if name.elementsEqual(Labels.metricNameLabel.utf8) { return }
      line.append(isFirst ? UInt8(ascii: "{") : UInt8(ascii: ","))
      isFirst = false
      line.append(contentsOf: name)
      line.append(UInt8(ascii: "="))
      line.append(UInt8(ascii: "\""))
      LabelsText.appendEscaped(value, to: &line)
      line.append(UInt8(ascii: "\""))
    }
    if !isFirst { line.append(UInt8(ascii: "}")) }
  }

  private mutating func append(_ timestamp: Timestamp) {
    switch format {
    case .text: NumberText.append(timestamp.milliseconds, to: &line)
    case .openMetrics:
      // Seconds with three places, put together from the integer so that nothing is rounded.
      if timestamp.milliseconds < 0 { line.append(UInt8(ascii: "-")) }
      let (seconds, fraction) = timestamp.milliseconds.magnitude.quotientAndRemainder(dividingBy: 1000)
      NumberText.append(unsigned: seconds, to: &line)
      if fraction == 0 { return }
      line.append(UInt8(ascii: "."))
      for divisor in [100, 10, 1] as [UInt64] { line.append(UInt8(ascii: "0") + UInt8(fraction / divisor % 10)) }
    }
  }

  private func appendHead(of name: String, to page: inout [UInt8]) {
    guard let family = families.family(ofSample: name) else { return }
    // OpenMetrics' counters are called `…_total` and their family is not; one that is called otherwise is unknown there.
    let isNamedOtherwise =
      format == .openMetrics && family.kind == .counter
      && !hasSampleNamed(name + "_total", in: name)
    let kind = isNamedOtherwise ? .unknown : family.kind
    if !family.help.isEmpty {
      page.append(contentsOf: "# HELP \(family.name) ".utf8)
      appendHelp(family.help, to: &page)
      page.append(UInt8(ascii: "\n"))
    }
    page.append(contentsOf: "# TYPE \(family.name) \(format == .text ? kind.textName : kind.openMetricsName)\n".utf8)
    if format == .openMetrics, !family.unit.isEmpty {
      page.append(contentsOf: "# UNIT \(family.name) \(family.unit)\n".utf8)
    }
  }

  private func hasSampleNamed(_ sample: String, in family: String) -> Bool {
    guard let place = places[family] else { return false }
    return blocks[place].lines.starts(with: sample.utf8)
  }

  private func appendHelp(_ help: String, to page: inout [UInt8]) {
    for byte in help.utf8 {
      switch byte {
      case UInt8(ascii: "\\"): page.append(contentsOf: "\\\\".utf8)
      case UInt8(ascii: "\n"): page.append(contentsOf: "\\n".utf8)
      case UInt8(ascii: "\"") where format == .openMetrics: page.append(contentsOf: "\\\"".utf8)
      default: page.append(byte)
      }
    }
  }
}

extension MetricDescriptor.Kind {
  /// How OpenMetrics calls the type.
  package var openMetricsName: String {
    switch self {
    case .unknown: "unknown"
    case .gauge: "gauge"
    case .counter: "counter"
    case .histogram: "histogram"
    case .summary: "summary"
    case .info: "info"
    case .stateset: "stateset"
    case .gaugehistogram: "gaugehistogram"
    }
  }

  /// How version 0.0.4 calls the type; it has no word for the newer ones.
  package var textName: String {
    switch self {
    case .gauge, .counter, .histogram, .summary: openMetricsName
    case .unknown: "untyped"
    case .info, .stateset: "gauge"
    case .gaugehistogram: "histogram"
    }
  }
}
