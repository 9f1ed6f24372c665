import ApusModel

/// Puts the answer to an aggregate request together from parts that come in ascending order of time.
struct AggregateCollector {
  private struct Building {
    var labels: Labels
    var starts: [Int64] = []
    var windows: [Aggregate] = []
  }

  private let functions: Set<AggregateFunction>
  private let limit: Int
  private var read = 0
  private var numbers: [Labels: Int] = [:]
  private var series: [Building] = []
  private var spans: [AggregateAnswer.Span] = []

  init(_ request: AggregateRequest) {
    functions = request.functions
    limit = request.maxSamples ?? .max
  }

  /// Counts samples or buckets that have been read.
  mutating func count(_ more: Int) throws(StoreError) {
    read += more
    guard read <= limit else { throw .tooManySamples(found: read, limit: limit) }
  }

  /// How much has been read so far.
  var readSoFar: Int { read }

  /// A series' number for `add`.
  mutating func number(of labels: Labels) -> Int {
    if let known = numbers[labels] { return known }
    numbers[labels] = series.count
    series.append(Building(labels: labels))
    return series.count - 1
  }

  /// Adds a part of the window that begins at `start`: the series' last one, or a later one.
  mutating func add(_ part: Aggregate, start: Int64, to number: Int) {
    if part.isEmpty { return }
    let last = series[number].starts.count - 1
    if last >= 0 && series[number].starts[last] == start {
      series[number].windows[last].add(part)
    } else {
      series[number].starts.append(start)
      series[number].windows.append(part)
    }
  }

  /// Notes that a part of the range has been answered from samples (nil) or buckets of this length.
  mutating func note(_ range: TimeRange, resolution: Int64?) {
    if let last = spans.last, last.resolution == resolution,
      range.start.milliseconds > .min, last.range.end.milliseconds >= range.start.milliseconds - 1
    {
      spans[spans.count - 1].range.end = range.end
    } else {
      spans.append(AggregateAnswer.Span(range: range, resolution: resolution))
    }
  }

  func finish() -> AggregateAnswer {
    let order = series.indices.filter { !series[$0].starts.isEmpty }
      .sorted { series[$0].labels.precedes(series[$1].labels) }
    let answers = order.map { index in
      let found = series[index]
      var columns: [AggregateFunction: [Double]] = [:]
      for function in functions { columns[function] = found.windows.map { $0.value(function) } }
      return AggregateSeries(
        labels: found.labels, starts: found.starts, lastInstants: found.windows.map(\.lastInstant), columns: columns)
    }
    var answer = AggregateAnswer(series: answers, spans: spans)
    answer.samplesRead = read
    return answer
  }
}

extension Store {
  /// Computed from all samples of the range: for stores that keep nothing coarser. Cost: that of `select`.
  package func aggregate(_ request: AggregateRequest) async throws(StoreError) -> AggregateAnswer {
    let columns = try await select(
      SelectRequest(request.matchers, in: request.range, maxSamples: request.maxSamples))
    var collector = AggregateCollector(request)
    let grid = request.grid
    for column in columns {
      try collector.count(column.values.count)
      let number = collector.number(of: column.labels)
      for segment in grid.segments(column.timestamps) {
        var window = Aggregate()
        for row in segment.rows { window.add(column.values[row], at: column.timestamps[row]) }
        collector.add(window, start: segment.start, to: number)
      }
    }
    if !columns.isEmpty { collector.note(request.range, resolution: nil) }
    return collector.finish()
  }
}
