import ApusModel
import ApusStore

extension StoreModel {
  /// The answer that a store should give, worked out window by window in the plainest way.
  package func aggregate(_ request: AggregateRequest) -> [AggregateSeries] {
    select(SelectRequest(request.matchers, in: request.range)).map { column in
      var windows: [(start: Int64, samples: [(instant: Int64, value: Double)])] = []
      for (instant, value) in zip(column.timestamps, column.values) {
        let start = StoreModel.window(of: instant, request)
        if windows.last?.start != start { windows.append((start, [])) }
        windows[windows.count - 1].samples.append((instant, value))
      }
      var columns: [AggregateFunction: [Double]] = [:]
      for function in request.functions {
        columns[function] = windows.map { window in
          function == .last
            ? StoreModel.last(window.samples).value : StoreModel.value(function, window.samples.map(\.value))
        }
      }
      return AggregateSeries(
        labels: column.labels, starts: windows.map(\.start),
        lastInstants: windows.map { StoreModel.last($0.samples).instant },
        columns: columns)
    }
  }

  private static func window(of instant: Int64, _ request: AggregateRequest) -> Int64 {
    // In 128 bits nothing overflows; the answer's start is cut where 64 bits end.
    let distance = Int128(instant) - Int128(request.origin)
    var number = distance / Int128(request.step)
    if distance < 0 && number * Int128(request.step) != distance { number -= 1 }
    return Int64(clamping: Int128(request.origin) + number * Int128(request.step))
  }

  private static func last(_ samples: [(instant: Int64, value: Double)]) -> (instant: Int64, value: Double) {
    samples.last { !StaleMarker.isStale($0.value) } ?? samples[samples.count - 1]
  }

  private static func value(_ function: AggregateFunction, _ samples: [Double]) -> Double {
    let numbers = samples.filter { !$0.isNaN }
    switch function {
    case .minimum: return numbers.min() ?? .nan
    case .maximum: return numbers.max() ?? .nan
    case .sum: return numbers.sorted { $0.magnitude < $1.magnitude }.reduce(0, +)
    case .count: return Double(numbers.count)
    case .last: return samples[samples.count - 1]
    case .first: return numbers.first ?? .nan
    case .increase:
      guard let first = numbers.first else { return .nan }
      var total = 0.0
      var previous = first
      for number in numbers.dropFirst() {
        total += number < previous ? number : number - previous
        previous = number
      }
      return total
    }
  }

  /// The first difference between an answer and the right one, as a sentence; nil when there is none. Everything is
  /// compared exactly but sums and increases, which may differ by 1e-12 of the magnitudes that went into them.
  package func difference(_ answer: AggregateAnswer, _ request: AggregateRequest) -> String? {
    let wanted = aggregate(request)
    for (index, want) in wanted.enumerated() {
      guard index < answer.series.count else { return "series \(want.labels) is missing" }
      let have = answer.series[index]
      if have.labels != want.labels { return "series \(have.labels) where \(want.labels) should be" }
      if have.starts != want.starts { return "\(want.labels) has windows \(have.starts), should have \(want.starts)" }
      if have.lastInstants != want.lastInstants {
        return "\(want.labels) has last instants \(have.lastInstants), should have \(want.lastInstants)"
      }
      for function in request.functions {
        let columns = (have.columns[function] ?? [], want.columns[function] ?? [])
        guard columns.0.count == columns.1.count else { return "\(want.labels) lacks values of \(function)" }
        for (row, values) in zip(columns.0, columns.1).enumerated()
        where !isSame(values.0, values.1, function, want.labels, at: want.starts[row], request) {
          return "\(function) of \(want.labels) at \(want.starts[row]) is \(values.0) where \(values.1) should be"
        }
      }
    }
    if answer.series.count > wanted.count { return "series \(answer.series[wanted.count].labels) should not be there" }
    return nil
  }

  private func isSame(
    _ have: Double, _ want: Double, _ function: AggregateFunction, _ labels: Labels, at start: Int64,
    _ request: AggregateRequest
  ) -> Bool {
    if have == want || have.isNaN && want.isNaN { return true }
    guard function == .sum || function == .increase else { return false }
    let magnitude = (samples[labels] ?? [:]).filter {
      request.range.contains(Timestamp(milliseconds: $0.key)) && StoreModel.window(of: $0.key, request) == start
    }.map { Double(bitPattern: $0.value).magnitude }.filter { !$0.isNaN }.reduce(0, +)
    // Where adding overflows, the order decides what comes out.
    return magnitude > 1e306 || (have - want).magnitude <= magnitude * 1e-12
  }
}
