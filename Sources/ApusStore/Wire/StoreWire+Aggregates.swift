import ApusIO
import ApusModel

extension StoreWire {
  /// The windows, origin and functions of an aggregate request; its matchers and range are a question of their own.
  package static func frame(ofWindows request: AggregateRequest) -> Frame {
    var writer = ByteWriter()
    writer.writeVarint(UInt64(request.step))
    writer.writeZigzag(request.origin)
    writer.write(mask(request.functions))
    return Frame(kind: .windows, payload: writer.bytes)
  }

  /// Puts an aggregate request together from its question and its windows.
  package static func decodeWindows(
    _ payload: [UInt8], _ question: StoreQuestion
  ) throws(ByteReaderError) -> AggregateRequest {
    try decode(payload) { reader throws(ByteReaderError) in
      let step = Int64(try reader.readCount(max: .max))
      guard step > 0 else { throw ByteReaderError(kind: .outOfBounds, offset: 0) }
      let origin = try reader.readZigzag()
      return AggregateRequest(
        question.matchers, in: question.range, step: step, origin: origin, functions: try functions(&reader),
        maxSamples: question.maxSamples)
    }
  }

  private static func mask(_ functions: Set<AggregateFunction>) -> UInt8 {
    functions.reduce(0) { $0 | 1 << $1.rawValue }
  }

  static func functions(_ reader: inout ByteReader) throws(ByteReaderError) -> Set<AggregateFunction> {
    let mask = try reader.read(UInt8.self)
    guard mask & 0x80 == 0 else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position - 1) }
    return Set(AggregateFunction.allCases.filter { mask & 1 << $0.rawValue != 0 })
  }

  /// Windows of one series in one entry of a frame; a series with more has several entries.
  private static let windowsPerEntry = 16_384

  /// The frames of an answer: the spans and what was read, then the series.
  package static func frames(of answer: AggregateAnswer) -> [Frame] {
    var writer = ByteWriter()
    writer.writeVarint(UInt64(answer.samplesRead))
    for span in answer.spans {
      writer.writeZigzag(span.range.start.milliseconds)
      writer.writeZigzag(span.range.end.milliseconds)
      writer.writeVarint(UInt64(span.resolution ?? 0))
    }
    var result = [Frame(kind: .spans, payload: writer.bytes)]
    writer.bytes.removeAll()
    for series in answer.series {
      var first = 0
      while first < series.starts.count {
        let rows = first..<min(series.starts.count, first + windowsPerEntry)
        write(series, rows, &writer)
        first = rows.upperBound
        if writer.count >= listBytesPerFrame {
          result.append(Frame(kind: .aggregates, payload: writer.bytes))
          writer.bytes.removeAll()
        }
      }
    }
    if writer.count > 0 { result.append(Frame(kind: .aggregates, payload: writer.bytes)) }
    return result
  }

  private static func write(_ series: AggregateSeries, _ rows: Range<Int>, _ writer: inout ByteWriter) {
    writer.writeLengthPrefixed(series.labels.bytes)
    writer.write(mask(Set(series.columns.keys)))
    writer.writeVarint(UInt64(rows.count))
    var previous: Int64 = 0
    for row in rows {
      // Wrapping, and undone by wrapping: no instant is out of range.
      writer.writeZigzag(series.starts[row] &- previous)
      writer.writeZigzag(series.lastInstants[row] &- series.starts[row])
      previous = series.starts[row]
    }
    for function in AggregateFunction.allCases {
      guard let column = series.columns[function] else { continue }
      column[rows].withUnsafeBytes { writer.write($0) }
    }
  }
}

/// Puts an answer together again from its frames.
package struct StoreAggregateAssembly: Sendable {
  private var answer = AggregateAnswer(series: [], spans: [])
  private var hasSpans = false
  private var windows = 0
  /// The most windows to take; more is an error.
  private let maxWindows: Int

  package init(maxWindows: Int) { self.maxWindows = maxWindows }

  /// Takes one frame; nil when it is right, else what is wrong with it.
  package mutating func take(_ frame: StoreWire.Frame) -> String? {
    do throws(ByteReaderError) {
      switch frame.kind {
      case .spans where !hasSpans:
        hasSpans = true
        try readSpans(frame.payload)
      case .aggregates where hasSpans: try readSeries(frame.payload)
      default: return "it is no frame of aggregates, or not in its place"
      }
      return nil
    } catch { return error.description }
  }

  /// Must be called at the end of the message; nil when a part is missing.
  package func finish() -> AggregateAnswer? { hasSpans ? answer : nil }

  private mutating func readSpans(_ payload: [UInt8]) throws(ByteReaderError) {
    answer = try StoreWire.decode(payload) { reader throws(ByteReaderError) in
      var found = AggregateAnswer(series: [], spans: [])
      found.samplesRead = try reader.readCount(max: .max)
      while !reader.isAtEnd {
        let start = Timestamp(milliseconds: try reader.readZigzag())
        let end = Timestamp(milliseconds: try reader.readZigzag())
        let resolution = Int64(try reader.readCount(max: .max))
        found.spans.append(
          AggregateAnswer.Span(
            range: TimeRange(start: start, end: end), resolution: resolution == 0 ? nil : resolution))
      }
      return found
    }
  }

  private mutating func readSeries(_ payload: [UInt8]) throws(ByteReaderError) {
    var series = answer.series
    var windows = windows
    let maxWindows = maxWindows
    try StoreWire.decode(payload) { reader throws(ByteReaderError) in
      while !reader.isAtEnd {
        let bytes = try reader.readLengthPrefixed(max: StoreWire.frameBytesMax)
        guard let labels = Labels(validating: bytes) else { throw ByteReaderError(kind: .outOfBounds, offset: 0) }
        let functions = try StoreWire.functions(&reader)
        let count = try reader.readCount(max: reader.remaining)
        windows += count
        guard windows <= maxWindows else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
        if series.last?.labels != labels {
          let empty = functions.map { ($0, [Double]()) }
          series.append(
            AggregateSeries(
              labels: labels, starts: [], lastInstants: [], columns: Dictionary(uniqueKeysWithValues: empty)))
        }
        let last = series.count - 1
        guard Set(series[last].columns.keys) == functions else {
          throw ByteReaderError(kind: .outOfBounds, offset: reader.position)
        }
        var previous: Int64 = 0
        for _ in 0..<count {
          previous &+= try reader.readZigzag()
          series[last].starts.append(previous)
          series[last].lastInstants.append(previous &+ (try reader.readZigzag()))
        }
        for function in AggregateFunction.allCases where functions.contains(function) {
          for _ in 0..<count { series[last].columns[function]?.append(try reader.readDouble()) }
        }
      }
    }
    answer.series = series
    self.windows = windows
  }
}
