import ApusFormats
import ApusModel
import ApusStore

/// Reads record values that are not columnar: the formats that other programs publish. Pure.
struct RecordValueDecoder: ~Copyable {
  /// What a value held, with what had to be left out of it.
  struct Value {
    var contents: [StoreBatch.Item.Content]
    /// What it tells of metrics.
    var descriptors: [MetricDescriptor] = []
    /// Why a part of the value could not be used; nil when all of it was.
    var problem: String?
  }

  /// Keys whose last page is remembered; beyond it all are forgotten, which costs a full parse of the next page of each.
  static let pagesMax = 1000

  private var pages: [[UInt8]: ExpositionParser] = [:]
  /// Series of JSON objects that are known by their bytes; when there are more, all are forgotten.
  private var objects = TelemetryJSONReader(seriesMax: 200_000)
  /// As lenient as the doors: what they let through is in the log as it was sent.
  private var remoteWrite = RemoteWriteDecoder(isLenient: true)

  /// Reads a value. `timestamp` is the record's, for samples that have none of their own; `key` tells the sources of
  /// text apart.
  mutating func decode(
    _ value: UnsafeRawBufferPointer, type: ContentType, key: UnsafeRawBufferPointer?, timestamp: Int64
  ) throws(FormatError) -> Value {
    switch type {
    case .json: return try json(value, timestamp: timestamp)
    case .exposition: return exposition(value, key: key.map { [UInt8]($0) } ?? [], timestamp: timestamp)
    case .remoteWrite: return try remoteWrite(value)
    case .scrape: preconditionFailure("\(type) is read elsewhere")
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

  /// A 1.0 request as it is before compression.
  private mutating func remoteWrite(_ value: UnsafeRawBufferPointer) throws(FormatError) -> Value {
    let batch = try remoteWrite.decode(value, version: .v1)
    let problem =
      batch.problems.isEmpty
      ? nil : "\(batch.problems.count) of its series cannot be used: \(batch.problems.summary(unit: "series"))"
    return Value(
      contents: batch.series.isEmpty ? [] : [.samples(batch.series)], descriptors: batch.descriptors, problem: problem)
  }

  private mutating func json(_ value: UnsafeRawBufferPointer, timestamp: Int64) throws(FormatError) -> Value {
    try objects.read(value, now: Timestamp(milliseconds: timestamp))
    let batch = objects.take()
    let problem = batch.errors.first.map { "\(batch.errorCount) of its objects cannot be used: \($0)" }
    return Value(contents: batch.samples.isEmpty ? [] : [.samples(batch.samples)], problem: problem)
  }
}
