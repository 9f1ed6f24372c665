import ApusModel

/// What a roll-up keeps of each bucket. A roll-up is a block whose series are the columns: the labels of the series that
/// was rolled up and, last, a label that says which column it is. Its name is the byte 0xFF, which is in no UTF-8 and so
/// in no label of a series. A series' columns lie side by side in one group, in this order.
///
/// A bucket's row stands at the instant of its last sample, which says both which bucket it is and when that was: series
/// that are sampled together then share their rows, and the instants cost next to nothing.
enum RollupColumn: UInt8, CaseIterable {
  case last = 1
  case minimum = 2
  case maximum = 3
  case sum = 4
  case count = 5
  // Of counters only; each has a value only where it says something.
  /// The first number, where there is one.
  case first = 6
  /// The sum of the values from which the counter fell, where that is not 0.
  case resets = 7
  /// The last number, where the last sample is none.
  case lastNumber = 8

  static let gauge: [RollupColumn] = [.last, .minimum, .maximum, .sum, .count]
  static let counter = RollupColumn.allCases
  static let labelName: UInt8 = 0xff
  /// Length and byte of the name, length and byte of the value.
  private static let suffixBytes = 4

  /// How many rows lie between the first column of a series and this one.
  var place: Int { Int(rawValue) - 1 }

  /// The label set of the column.
  func labels(of series: Labels) -> Labels {
    Labels(canonicalBytes: series.bytes + [1, RollupColumn.labelName, 1, rawValue])
  }

  /// The series that a column belongs to.
  static func series(of labels: Labels) -> Labels {
    Labels(canonicalBytes: Array(labels.bytes.dropLast(suffixBytes)))
  }

  /// Finds the columns of this kind.
  var matcher: CompiledMatcher { CompiledMatcher(label: [RollupColumn.labelName], value: [rawValue]) }

  /// Whether a series has a label that would stand where a column's does: it cannot be rolled up.
  static func isInTheWay(of series: Labels) -> Bool {
    var isReserved = false
    series.forEach { name, _ in isReserved = isReserved || name.first == labelName }
    return isReserved
  }

  /// The function's columns.
  static func needed(for functions: Set<AggregateFunction>) -> Set<RollupColumn> {
    var result: Set<RollupColumn> = [.last, .count]
    for function in functions {
      switch function {
      case .minimum: result.insert(.minimum)
      case .maximum: result.insert(.maximum)
      case .sum: result.insert(.sum)
      case .last, .count: break
      case .first: result.insert(.first)
      case .increase: result.formUnion([.first, .resets, .lastNumber])
      }
    }
    return result
  }
}

/// Tells the counters among the series: by what is known of the metric, else by its name.
struct CounterRule {
  private static let suffixes = ["_total", "_count", "_sum", "_bucket"]
  private let descriptors: [String: MetricDescriptor]
  private var known: [String: Bool] = [:]

  init(_ descriptors: [String: MetricDescriptor]) { self.descriptors = descriptors }

  mutating func isCounter(_ series: Labels) -> Bool {
    let name = series.metricName
    if let answer = known[name] { return answer }
    let answer: Bool
    switch descriptors[name]?.kind {
    case .counter: answer = true
    case .gauge, .info, .stateset, .gaugehistogram: answer = false
    case .unknown, .histogram, .summary, nil: answer = CounterRule.suffixes.contains { name.hasSuffix($0) }
    }
    known[name] = answer
    return answer
  }
}
