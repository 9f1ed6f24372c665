import ApusFormats
import ApusModel
import ApusStore

/// Reads record values that are not columnar: the formats that other programs publish. Pure.
struct RecordValueDecoder {
  /// What a value held, with what had to be left out of it.
  struct Value {
    var contents: [StoreBatch.Item.Content]
    /// Why a part of the value could not be used; nil when all of it was.
    var problem: String?
  }

  /// Keys whose last page is remembered; beyond it all are forgotten, which costs a full parse of the next page of each.
  static let pagesMax = 1000

  private var pages: [[UInt8]: ExpositionParser] = [:]

  /// Reads a value. `timestamp` is the record's, for samples that have none of their own; `key` tells the sources of
  /// text apart.
  mutating func decode(
    _ value: UnsafeRawBufferPointer, type: ContentType, key: UnsafeRawBufferPointer?, timestamp: Int64
  ) throws(FormatError) -> Value {
    switch type {
    case .json: return try RecordValueDecoder.json(value, timestamp: timestamp)
    case .exposition: return exposition(value, key: key.map { [UInt8]($0) } ?? [], timestamp: timestamp)
    case .remoteWrite, .scrape: preconditionFailure("\(type) is read elsewhere")
    }
  }

  private mutating func exposition(_ page: UnsafeRawBufferPointer, key: [UInt8], timestamp: Int64) -> Value {
    if pages.count >= RecordValueDecoder.pagesMax, pages[key] == nil { pages.removeAll() }
    let result = pages[key, default: ExpositionParser()].parse(page, now: Timestamp(milliseconds: timestamp))
    var contents: [StoreBatch.Item.Content] = result.scrapes.map { .scrape($0) }
    if !result.samples.isEmpty { contents.append(.samples(result.samples)) }
    let problem = result.errors.first.map { "\(result.errorCount) of its lines cannot be used: \($0)" }
    return Value(contents: contents, problem: problem)
  }

  private static func json(
    _ value: UnsafeRawBufferPointer, timestamp: Int64
  ) throws(FormatError) -> Value {
    let decoded = try TelemetryJSON.decode(value)
    var series = SeriesGrouping()
    for object in decoded.objects {
      let labels: Labels
      do throws(TelemetryProblem) { labels = try object.labels() } catch { throw .telemetry(error, position: 0) }
      series.add(labels, timestamp: object.timestamp?.milliseconds ?? timestamp, value: object.value)
    }
    let problem = decoded.errors.first.map { "\(decoded.errors.count) of its objects cannot be used: \($0)" }
    return Value(contents: decoded.objects.isEmpty ? [] : [.samples(series.finish())], problem: problem)
  }
}

/// Puts single samples together by series. The order of two samples of one instant is kept.
struct SeriesGrouping {
  private var index: [Labels: Int] = [:]
  private var series: [SeriesSamples] = []
  private var isSorted = true

  mutating func add(_ labels: Labels, timestamp: Int64, value: Double) {
    if let position = index[labels] {
      if let last = series[position].timestamps.last, last > timestamp { isSorted = false }
      series[position].timestamps.append(timestamp)
      series[position].values.append(value)
    } else {
      index[labels] = series.count
      series.append(SeriesSamples(labels: labels, timestamps: [timestamp], values: [value]))
    }
  }

  mutating func add(_ samples: [SeriesSamples]) {
    for series in samples {
      for (timestamp, value) in zip(series.timestamps, series.values) {
        add(series.labels, timestamp: timestamp, value: value)
      }
    }
  }

  /// The series in the order of their first sample, each ascending by time.
  consuming func finish() -> [SeriesSamples] {
    if isSorted { return series }
    return series.map { samples in
      let order = samples.timestamps.indices.sorted {
        (samples.timestamps[$0], $0) < (samples.timestamps[$1], $1)
      }
      return SeriesSamples(
        labels: samples.labels, timestamps: order.map { samples.timestamps[$0] },
        values: order.map { samples.values[$0] }
      )
    }
  }
}
