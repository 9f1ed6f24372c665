import ApusModel

/// What tells the series of one set of attributes apart, as the cache's suffix. The numbers of metrics are never used
/// again, so keys cannot be mistaken after metrics were forgotten.
struct OTLPSeriesKey {
  private let metric: UInt64
  private let boundBits: UInt64
  private let partNumber: UInt64

  let part: OTLPDecoder.Part
  let bound: Double

  init(metric: UInt64, part: OTLPDecoder.Part, bound: Double) {
    self.metric = metric
    self.part = part
    self.bound = bound
    boundBits = bound.bitPattern
    partNumber = UInt64(part.rawValue)
  }

  /// The key's 24 bytes.
  func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    withUnsafeBytes(of: (metric, boundBits, partNumber), body)
  }
}

extension OTLPDecoder {
  /// The number, in this batch, of the series with the attributes at hand.
  mutating func series(
    _ key: OTLPSeriesKey, attributesField: Int, _ resource: Resource, name: [UInt8]
  ) throws(SeriesFailure) -> Int32 {
    let prefix = attributes
    let known = pointEntry
    var entry = prefix.withUnsafeBytes { prefix in
      key.withBytes { cache.find(SeriesCache.Key(prefix: prefix, suffix: $0, prefixEntry: known)) }
    }
    if entry < 0 {
      let labels = try makeLabels(key, attributesField, resource, name)
      entry = prefix.withUnsafeBytes { prefix in
        key.withBytes { cache.insert(SeriesCache.Key(prefix: prefix, suffix: $0, prefixEntry: known), labels) }
      }
      pointEntry = entry
      if entry < 0 { return try addSeries(labels) }
    }
    pointEntry = entry
    cache.use(entry)
    let numbered = cache.series(of: entry)
    if numbered >= 0 { return numbered }
    let added = try addSeries(cache.labels(of: entry))
    cache.setSeries(added, of: entry)
    return added
  }

  private mutating func addSeries(_ labels: Labels) throws(SeriesFailure) -> Int32 {
    guard collector.seriesCount < FormatLimits.seriesPerSet else {
      throw .format(.tooMany(.series, limit: FormatLimits.seriesPerSet))
    }
    return collector.addSeries(labels)
  }

  /// Attributes become labels in the order of their keys; such as become one name are joined by `;`. Then come, and win,
  /// the resource's `job` and `instance`, the bucket or quantile, and the metric's name.
  private mutating func makeLabels(
    _ key: OTLPSeriesKey, _ attributesField: Int, _ resource: Resource, _ name: [UInt8]
  ) throws(SeriesFailure) -> Labels {
    labelBytes += attributes.count + name.count + resource.job.count + resource.instance.count
    guard labelBytes <= IngestLimits.labelBytesPerRequest else {
      throw .format(.tooMany(.labelBytes, limit: IngestLimits.labelBytesPerRequest))
    }
    let bytes = attributes
    var pairs: [(key: [UInt8], value: [UInt8])]
    do throws(FormatError) {
      pairs = try bytes.withUnsafeBytes { raw -> Result<[(key: [UInt8], value: [UInt8])], FormatError> in
        do throws(FormatError) {
          return .success(try OTLPDecoder.pairs(ProtobufReader(raw), field: attributesField))
        } catch { return .failure(error) }
      }.get()
    } catch { throw .format(error) }
    guard pairs.count <= FormatLimits.labelsPerSeries else {
      throw .problem(.tooManyLabels(limit: FormatLimits.labelsPerSeries))
    }
    pairs.sort { $0.key.lexicographicallyPrecedes($1.key) }
    var labels: [(name: [UInt8], value: [UInt8])] = []
    for pair in pairs {
      let label = OTLPMetricName.labelName(pair.key)
      if let index = labels.firstIndex(where: { $0.name == label }) {
        labels[index].value += [UInt8(ascii: ";")] + pair.value
      } else {
        labels.append((label, pair.value))
      }
    }
    if !resource.job.isEmpty { set("job", resource.job, in: &labels) }
    if !resource.instance.isEmpty { set("instance", resource.instance, in: &labels) }
    if let label = key.part.label { set(label, PlainDecimal.text(key.bound), in: &labels) }
    set("__name__", name + bytesOf(key.part.suffix), in: &labels)
    assembly.removeAll()
    for label in labels { assembly.add(name: label.name, value: label.value) }
    do throws(IngestProblem) { return try assembly.finish(.lenient) } catch { throw .problem(error) }
  }

  private func set(_ name: StaticString, _ value: [UInt8], in labels: inout [(name: [UInt8], value: [UInt8])]) {
    let name = bytesOf(name)
    labels.removeAll { $0.name == name }
    labels.append((name, value))
  }

  private func bytesOf(_ text: StaticString) -> [UInt8] {
    Array(UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }
}
