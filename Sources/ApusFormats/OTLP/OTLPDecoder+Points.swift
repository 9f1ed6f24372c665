import ApusModel

/// Data points and the series that they make.
extension OTLPDecoder {
  /// What the data points of one metric have in common.
  struct PointContext {
    var metric: Metric
    var isDelta: Bool
    /// The temporality is neither cumulative nor delta.
    var isRefused: Bool
  }

  /// Which of a data point's series one is; part of the cache's key, so the numbers must differ.
  enum Part: UInt8 {
    case value = 0
    case sum = 1
    case count = 2
    case bucket = 3
    case quantile = 4
    case targetInfo = 5

    var suffix: StaticString {
      switch self {
      case .value, .quantile, .targetInfo: ""
      case .sum: "_sum"
      case .count: "_count"
      case .bucket: "_bucket"
      }
    }

    /// The label that tells buckets and quantiles apart.
    var label: StaticString? {
      switch self {
      case .bucket: "le"
      case .quantile: "quantile"
      case .value, .sum, .count, .targetInfo: nil
      }
    }
  }

  /// The fields that all kinds of data points share; nanoseconds since 1970.
  private struct Point {
    var start: UInt64 = 0
    var time: UInt64 = 0
    /// There is no value: the series ends here.
    var isStale = false
    var attributesField: Int

    var milliseconds: Int64 { Int64(time / 1_000_000) }
  }

  mutating func decodePoint(
    _ message: ProtobufReader, kind: Int, _ context: PointContext, _ resource: inout Resource
  ) throws(FormatError) {
    pointsSeen += 1
    let before = collector.sampleCount
    deltas.beginPoint()
    attributes.removeAll(keepingCapacity: true)
    pointEntry = -1
    do throws(SeriesFailure) {
      if context.metric.name == nil { throw .problem(.missingMetricName) }
      if context.isRefused { throw .problem(.unknownTemporality) }
      let point: Point
      switch kind {
      case 9: point = try histogramPoint(message, context, resource)
      case 10:
        batch.skipped.histograms += 1
        throw .problem(.exponentialHistogram)
      case 11: point = try summaryPoint(message, context, resource)
      default: point = try numberPoint(message, context, resource)
      }
      let time = point.milliseconds
      resource.times =
        resource.times.map { min($0.lowerBound, time)...max($0.upperBound, time) } ?? time...time
    } catch {
      switch error {
      case .format(let error): throw error
      case .problem(let problem):
        collector.truncate(toSamples: before)
        deltas.abandonPoint()
        batch.problems.add(problem, at: pointsSeen)
      }
    }
  }

  /// `NumberDataPoint`.
  private mutating func numberPoint(
    _ message: ProtobufReader, _ context: PointContext, _ resource: Resource
  ) throws(SeriesFailure) -> Point {
    var point = Point(attributesField: 7)
    var value: Double?
    do throws(FormatError) {
      var fields = message
      while true {
        let place = fields.position
        guard let field = try fields.next() else { break }
        switch field.number {
        case 2: point.start = try fields.fixed64(field)
        case 3: point.time = try fields.fixed64(field)
        case 4: value = try fields.double(field)
        case 5:
          batch.skipped.exemplars += 1
          try fields.skip(field)
        case 6: value = Double(Int64(bitPattern: try fields.fixed64(field)))
        case 7: try keepAttribute(&fields, field, from: place)
        case 8: point.isStale = try fields.varint(field) & 1 != 0
        default: try fields.skip(field)
        }
      }
    } catch { throw .format(error) }
    guard let value = point.isStale ? 0 : value else { throw .problem(.invalidDataPoint) }
    try add(value, .value, context, point, resource)
    return point
  }

  /// `HistogramDataPoint`: buckets count what is at or below their bound, so each holds those before it.
  private mutating func histogramPoint(
    _ message: ProtobufReader, _ context: PointContext, _ resource: Resource
  ) throws(SeriesFailure) -> Point {
    var point = Point(attributesField: 9)
    var count: UInt64 = 0
    var sum: Double?
    var counts: [UInt64] = []
    var bounds: [Double] = []
    do throws(FormatError) {
      var fields = message
      while true {
        let place = fields.position
        guard let field = try fields.next() else { break }
        switch field.number {
        case 2: point.start = try fields.fixed64(field)
        case 3: point.time = try fields.fixed64(field)
        case 4: count = try fields.fixed64(field)
        case 5: sum = try fields.double(field)
        case 6: try fields.fixed64s(field) { (bits) throws(FormatError) in counts.append(bits) }
        case 7: try fields.fixed64s(field) { (bits) throws(FormatError) in bounds.append(Double(bitPattern: bits)) }
        case 8:
          batch.skipped.exemplars += 1
          try fields.skip(field)
        case 9: try keepAttribute(&fields, field, from: place)
        case 10: point.isStale = try fields.varint(field) & 1 != 0
        default: try fields.skip(field)
        }
      }
    } catch { throw .format(error) }
    let isComplete = counts.count == bounds.count + 1 || (counts.isEmpty && (bounds.isEmpty || point.isStale))
    guard isComplete, isAscending(bounds) else { throw .problem(.invalidDataPoint) }
    // The count first: it tells whether a delta was added already.
    try add(Double(count), .count, context, point, resource)
    if sum != nil || point.isStale { try add(sum ?? 0, .sum, context, point, resource) }
    var total: UInt64 = 0
    for (index, bound) in bounds.enumerated() {
      if index < counts.count { total &+= counts[index] }
      try add(Double(total), .bucket, context, point, resource, bound)
    }
    // The last bucket has no bound, unless the sender wrote it out.
    if bounds.last != .infinity { try add(Double(count), .bucket, context, point, resource, .infinity) }
    return point
  }

  private func isAscending(_ bounds: [Double]) -> Bool {
    guard bounds.first?.isNaN != true else { return false }
    for index in bounds.indices.dropFirst() where !(bounds[index - 1] < bounds[index]) { return false }
    return true
  }

  /// `SummaryDataPoint`. Its counts are cumulative whatever else.
  private mutating func summaryPoint(
    _ message: ProtobufReader, _ context: PointContext, _ resource: Resource
  ) throws(SeriesFailure) -> Point {
    var point = Point(attributesField: 7)
    var count: UInt64 = 0
    var sum = 0.0
    var quantiles: [(quantile: Double, value: Double)] = []
    do throws(FormatError) {
      var fields = message
      while true {
        let place = fields.position
        guard let field = try fields.next() else { break }
        switch field.number {
        case 2: point.start = try fields.fixed64(field)
        case 3: point.time = try fields.fixed64(field)
        case 4: count = try fields.fixed64(field)
        case 5: sum = try fields.double(field)
        case 6:
          var inner = try fields.message(field)
          var pair = (quantile: 0.0, value: 0.0)
          while let part = try inner.next() {
            switch part.number {
            case 1: pair.quantile = try inner.double(part)
            case 2: pair.value = try inner.double(part)
            default: try inner.skip(part)
            }
          }
          quantiles.append(pair)
        case 7: try keepAttribute(&fields, field, from: place)
        case 8: point.isStale = try fields.varint(field) & 1 != 0
        default: try fields.skip(field)
        }
      }
    } catch { throw .format(error) }
    try add(Double(count), .count, context, point, resource)
    try add(sum, .sum, context, point, resource)
    for pair in quantiles { try add(pair.value, .quantile, context, point, resource, pair.quantile) }
    return point
  }

  /// Copies an attribute's bytes, head and all: together they are a message that only has attributes.
  private mutating func keepAttribute(
    _ fields: inout ProtobufReader, _ field: ProtobufReader.Field, from place: Int
  ) throws(FormatError) {
    _ = try fields.range(field)
    attributes.append(contentsOf: UnsafeRawBufferPointer(rebasing: fields.bytes[place..<fields.position]))
  }

  /// One sample of the data point at hand.
  private mutating func add(
    _ value: Double, _ part: Part, _ context: PointContext, _ point: Point, _ resource: Resource, _ bound: Double = 0
  ) throws(SeriesFailure) {
    let key = OTLPSeriesKey(metric: context.metric.id, part: part, bound: bound)
    let series = try series(
      key, attributesField: point.attributesField, resource, name: context.metric.name ?? [])
    var value = value
    if point.isStale {
      value = StaleMarker.value
    } else if context.isDelta {
      do throws(IngestProblem) {
        value = try deltas.add(collector.labels(of: series), value, from: point.start, to: point.time)
      } catch { throw .problem(error) }
    }
    try append(series, point.milliseconds, value)
  }

  private mutating func append(_ series: Int32, _ time: Int64, _ value: Double) throws(SeriesFailure) {
    guard collector.sampleCount < IngestLimits.samplesPerRequest else {
      throw .format(.tooMany(.samples, limit: IngestLimits.samplesPerRequest))
    }
    collector.append(series: series, timestamp: time, value: value)
  }
}

extension OTLPDecoder {
  /// How often `target_info` gets a sample, in milliseconds: half of the time for which a query looks back.
  private static let targetInfoInterval: Int64 = 150_000
  /// How many at most, the newest: half a day. A request's times are the sender's to choose.
  private static let targetInfoSamplesMax: Int64 = 288

  /// A series of 1 with the resource's other attributes as labels, where there are any and the resource is identified.
  mutating func addTargetInfo(_ resource: Resource) throws(FormatError) {
    guard let times = resource.times, !resource.job.isEmpty || !resource.instance.isEmpty else { return }
    attributes.removeAll(keepingCapacity: true)
    pointEntry = -1
    var fields = resource.message
    while true {
      let place = fields.position
      guard let field = try fields.next() else { break }
      guard field.number == 1 else {
        try fields.skip(field)
        continue
      }
      var pair = try fields.message(field)
      var isIdentity = false
      while let part = try pair.next() {
        guard part.number == 1 else {
          try pair.skip(part)
          continue
        }
        let key = try pair.data(part)
        isIdentity = OTLPDecoder.identity.contains { key.elementsEqual($0.utf8) }
      }
      if !isIdentity {
        attributes.append(contentsOf: UnsafeRawBufferPointer(rebasing: fields.bytes[place..<fields.position]))
      }
    }
    guard !attributes.isEmpty else { return }
    do throws(SeriesFailure) {
      let key = OTLPSeriesKey(metric: resource.id, part: .targetInfo, bound: 0)
      let series = try series(key, attributesField: 1, resource, name: Array("target_info".utf8))
      let span = (OTLPDecoder.targetInfoSamplesMax - 1) * OTLPDecoder.targetInfoInterval
      var time = max(times.lowerBound, times.upperBound - span)
      while time < times.upperBound {
        try append(series, time, 1)
        time += OTLPDecoder.targetInfoInterval
      }
      try append(series, times.upperBound, 1)
    } catch {
      // The resource's own labels are not a data point that could be refused: its series do without `target_info`.
      if case .format(let error) = error { throw error }
    }
  }

  private static let identity = ["service.namespace", "service.name", "service.instance.id"]
}
