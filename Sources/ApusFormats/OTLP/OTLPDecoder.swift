import ApusIO
import ApusModel

/// Decodes OpenTelemetry's metrics (`ExportMetricsServiceRequest` of OTLP 1.x, protocol buffers) into the series that
/// Prometheus' OTLP receiver would make of them.
///
/// Gauges and sums become one series each, histograms `_bucket`, `_sum` and `_count`, summaries quantiles; the resource
/// gives `job`, `instance` and a `target_info` series. Deltas are added up (`DeltaAccumulator`). Data points that cannot
/// be taken are told in the batch's problems, for `OTLPResponse`; the rest is taken.
///
/// One decoder serves the whole door, one request at a time from `decode` to `commit` or `rollback`, because the deltas of
/// one series may come over several connections.
package struct OTLPDecoder: ~Copyable {
  /// How many metrics and resources are remembered; beyond, all are forgotten and learned anew.
  static let contextsMax = 50_000

  /// What the data points of one metric share.
  struct Metric {
    /// Unique in this decoder for ever, for the cache's keys.
    var id: UInt64
    /// The name without `_bucket` and its like; nil when there is none.
    var name: [UInt8]?
  }

  /// The resource at hand.
  struct Resource {
    var id: UInt64 = 0
    var message: ProtobufReader
    /// Empty where the resource does not tell.
    var job: [UInt8] = []
    var instance: [UInt8] = []
    /// The first and last time of its data points, in milliseconds.
    var times: ClosedRange<Int64>?
  }

  var cache: SeriesCache
  var collector = SampleCollector()
  var assembly = LabelAssembly()
  var deltas = DeltaAccumulator()
  var batch = IngestBatch()
  var labelBytes = 0
  /// Data points of the request so far, for the problems' positions.
  var pointsSeen = 0
  /// The bytes of the attributes of the data point at hand.
  var attributes: [UInt8] = []
  /// The entry of another series of the data point at hand, or -1.
  var pointEntry = -1
  private var resourceIDs: [[UInt8]: UInt64] = [:]
  private var metrics: [[UInt8]: Metric] = [:]
  private var nextID: UInt64 = 1
  private var described: Set<String> = []

  /// `seed` keeps outsiders from choosing attributes that collide in the cache.
  package init(seed: UInt64 = 0) { cache = SeriesCache(seed: seed) }

  /// Everything that one body holds. When it is durable call `commit`, when it could not be made so `rollback`; a decode
  /// before either rolls back.
  package mutating func decode(_ body: UnsafeRawBufferPointer) throws(FormatError) -> IngestBatch {
    cache.beginBatch()
    deltas.rollback()
    batch = IngestBatch()
    labelBytes = 0
    pointsSeen = 0
    described.removeAll(keepingCapacity: true)
    do throws(FormatError) {
      var request = ProtobufReader(body)
      while let field = try request.next() {
        if field.number == 1 {
          try decodeResource(try request.message(field))
        } else {
          try request.skip(field)
        }
      }
    } catch {
      _ = collector.finish()
      deltas.rollback()
      throw error
    }
    batch.sampleCount = collector.sampleCount
    batch.series = collector.finish()
    defer { batch = IngestBatch() }
    return batch
  }

  /// Whether the last decoded request had deltas, which wait for `commit` or `rollback`.
  package var hasPendingDeltas: Bool { deltas.hasPending }

  /// The last decoded request is durable: its deltas count.
  package mutating func commit() { deltas.commit() }

  /// The last decoded request was lost: its deltas may come again.
  package mutating func rollback() { deltas.rollback() }

  /// `ResourceMetrics`: the resource first, wherever it stands, then its metrics.
  private mutating func decodeResource(_ message: ProtobufReader) throws(FormatError) {
    var fields = message
    var resource = Resource(message: ProtobufReader(UnsafeRawBufferPointer(start: nil, count: 0)))
    while let field = try fields.next() {
      if field.number == 1 {
        resource.message = try fields.message(field)
      } else {
        try fields.skip(field)
      }
    }
    try identify(&resource)
    fields = message
    while let field = try fields.next() {
      guard field.number == 2 else {
        try fields.skip(field)
        continue
      }
      var scope = try fields.message(field)
      while let part = try scope.next() {
        if part.number == 2 {
          try decodeMetric(try scope.message(part), &resource)
        } else {
          try scope.skip(part)
        }
      }
    }
    try addTargetInfo(resource)
  }

  private mutating func identify(_ resource: inout Resource) throws(FormatError) {
    let bytes = Array(resource.message.bytes[resource.message.position..<resource.message.end])
    if let known = resourceIDs[bytes] {
      resource.id = known
    } else {
      if resourceIDs.count >= OTLPDecoder.contextsMax { resourceIDs.removeAll() }
      resource.id = nextID
      nextID += 1
      // What is very long would fill memory with few entries; it gets a new number each time.
      if bytes.count <= FormatLimits.labelValueBytes { resourceIDs[bytes] = resource.id }
    }
    var namespace: [UInt8] = []
    var name: [UInt8] = []
    for attribute in try OTLPDecoder.pairs(resource.message, field: 1) {
      if attribute.key.elementsEqual("service.namespace".utf8) {
        namespace = attribute.value
      } else if attribute.key.elementsEqual("service.name".utf8) {
        name = attribute.value
      } else if attribute.key.elementsEqual("service.instance.id".utf8) {
        resource.instance = attribute.value
      }
    }
    resource.job = name.isEmpty || namespace.isEmpty ? name : namespace + [UInt8(ascii: "/")] + name
  }

  /// `Metric`: its name, and then its data, which may stand before it.
  private mutating func decodeMetric(
    _ message: ProtobufReader, _ resource: inout Resource
  ) throws(FormatError) {
    var fields = message
    var name = UnsafeRawBufferPointer(start: nil, count: 0)
    var help = UnsafeRawBufferPointer(start: nil, count: 0)
    var unit = UnsafeRawBufferPointer(start: nil, count: 0)
    var data: (number: Int, message: ProtobufReader)?
    while let field = try fields.next() {
      switch field.number {
      case 1: name = try fields.data(field)
      case 2: help = try fields.data(field)
      case 3: unit = try fields.data(field)
      case 5, 7, 9, 10, 11: data = (field.number, try fields.message(field))
      default: try fields.skip(field)
      }
    }
    guard let data else { return }
    var temporality: UInt64 = 0
    var isMonotonic = false
    if data.number != 5, data.number != 11 {
      var kind = data.message
      while let field = try kind.next() {
        switch field.number {
        case 2: temporality = try kind.varint(field)
        case 3 where data.number == 7: isMonotonic = try kind.varint(field) != 0
        default: try kind.skip(field)
        }
      }
    }
    let form: OTLPMetricName.Form = data.number == 5 ? .gauge : data.number == 7 && isMonotonic ? .counter : .other
    let metric = metricContext(resource.id, form, name: name, unit: unit)
    describe(metric, data.number, isMonotonic, help: help, unit: unit)
    let points = PointContext(
      metric: metric, isDelta: temporality == 1,
      isRefused: data.number == 7 || data.number == 9 ? temporality != 1 && temporality != 2 : false)
    var kind = data.message
    while let field = try kind.next() {
      guard field.number == 1 else {
        try kind.skip(field)
        continue
      }
      let point = try kind.message(field)
      try decodePoint(point, kind: data.number, points, &resource)
    }
  }

  private mutating func metricContext(
    _ resource: UInt64, _ form: OTLPMetricName.Form, name: UnsafeRawBufferPointer, unit: UnsafeRawBufferPointer
  ) -> Metric {
    var key = ByteWriter(reserving: name.count + unit.count + 20)
    key.write(resource)
    key.write(form.rawValue)
    key.writeVarint(UInt64(name.count))
    key.write(name)
    key.write(unit)
    if let known = metrics[key.bytes] { return known }
    if metrics.count >= OTLPDecoder.contextsMax { metrics.removeAll() }
    let metric = Metric(id: nextID, name: OTLPMetricName.make(name: Array(name), unit: Array(unit), form: form))
    nextID += 1
    if key.count <= FormatLimits.labelNameBytes * 4 { metrics[key.bytes] = metric }
    return metric
  }

  private mutating func describe(
    _ metric: Metric, _ number: Int, _ isMonotonic: Bool, help: UnsafeRawBufferPointer, unit: UnsafeRawBufferPointer
  ) {
    guard let bytes = metric.name, let name = String(validating: bytes, as: UTF8.self), number != 10,
      bytes.count <= FormatLimits.labelValueBytes, batch.descriptors.count < FormatLimits.descriptorsPerSet,
      described.insert(name).inserted
    else { return }
    let kind: MetricDescriptor.Kind =
      switch number {
      case 7: isMonotonic ? .counter : .gauge
      case 9: .histogram
      case 11: .summary
      default: .gauge
      }
    let help = help.count <= FormatLimits.helpBytes ? String(validating: help, as: UTF8.self) ?? "" : ""
    let unit = unit.count <= FormatLimits.unitBytes ? OTLPMetricName.unitName(Array(unit)) : ""
    batch.descriptors.append(MetricDescriptor(name: name, kind: kind, help: help, unit: unit))
  }

  /// The attributes (`KeyValue`s in a field) of a message.
  static func pairs(
    _ message: ProtobufReader, field wanted: Int
  ) throws(FormatError) -> [(key: [UInt8], value: [UInt8])] {
    var fields = message
    var result: [(key: [UInt8], value: [UInt8])] = []
    while let field = try fields.next() {
      guard field.number == wanted else {
        try fields.skip(field)
        continue
      }
      var pair = try fields.message(field)
      var key: [UInt8] = []
      var value: [UInt8] = []
      while let part = try pair.next() {
        switch part.number {
        case 1: key = Array(try pair.data(part))
        case 2: value = try OTLPValue.text(try pair.message(part))
        default: try pair.skip(part)
        }
      }
      result.append((key, value))
    }
    return result
  }
}
