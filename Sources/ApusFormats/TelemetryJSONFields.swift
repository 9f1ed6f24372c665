import ApusIO
import ApusModel

/// The fields of one telemetry object of a JSON text, still in place.
///
/// Invariant (unsafe memory): valid for as long as the bytes that are scanned.
struct TelemetryJSONFields {
  /// What a field holds; of two with one name the later.
  enum Content {
    case text(JSONText)
    case number(JSONNumber)
    case wrongType
  }

  /// By `TelemetryField`'s raw value; nil for what is absent or null.
  private(set) var timestamp: Content?
  private(set) var value: Content?
  /// The time or the value came twice.
  private var hasRepeats = false
  private var texts:
    (
      metricName: Content?, gpuID: Content?, device: Content?, uuid: Content?, modelName: Content?, hostname: Content?,
      container: Content?, pod: Content?, namespace: Content?, labelsRaw: Content?
    ) = (nil, nil, nil, nil, nil, nil, nil, nil, nil, nil)

  /// Reads the object that comes next, to behind its closing brace.
  init(_ scanner: inout JSONScanner) throws(JSONError) {
    try scanner.beginObject()
    while let key = try scanner.nextKey() {
      switch key {
      case "timestamp":
        hasRepeats = hasRepeats || timestamp != nil
        timestamp = try TelemetryJSONFields.content(&scanner)
      case "value":
        hasRepeats = hasRepeats || value != nil
        value = try TelemetryJSONFields.content(&scanner)
      case "metric_name": texts.metricName = try TelemetryJSONFields.content(&scanner)
      case "gpu_id": texts.gpuID = try TelemetryJSONFields.content(&scanner)
      case "device": texts.device = try TelemetryJSONFields.content(&scanner)
      case "uuid": texts.uuid = try TelemetryJSONFields.content(&scanner)
      case "modelName": texts.modelName = try TelemetryJSONFields.content(&scanner)
      case "Hostname": texts.hostname = try TelemetryJSONFields.content(&scanner)
      case "container": texts.container = try TelemetryJSONFields.content(&scanner)
      case "pod": texts.pod = try TelemetryJSONFields.content(&scanner)
      case "namespace": texts.namespace = try TelemetryJSONFields.content(&scanner)
      case "labels_raw": texts.labelsRaw = try TelemetryJSONFields.content(&scanner)
      default: try scanner.skipValue()
      }
    }
  }

  /// The object, its values checked but not its labels.
  func object() throws(TelemetryProblem) -> TelemetryObject {
    var object = TelemetryObject(timestamp: try readTimestamp(), metricName: "", gpuID: "", value: try readValue())
    try take(texts.metricName, .metricName, into: &object)
    try take(texts.gpuID, .gpuID, into: &object)
    try take(texts.device, .device, into: &object)
    try take(texts.uuid, .uuid, into: &object)
    try take(texts.modelName, .modelName, into: &object)
    try take(texts.hostname, .hostname, into: &object)
    try take(texts.container, .container, into: &object)
    try take(texts.pod, .pod, into: &object)
    try take(texts.namespace, .namespace, into: &object)
    try take(texts.labelsRaw, .labelsRaw, into: &object)
    return object
  }

  func readTimestamp() throws(TelemetryProblem) -> Timestamp? {
    let milliseconds: Int64?
    switch timestamp {
    case nil: return nil
    case .number(let number): milliseconds = TimeNotation.milliseconds(unix: number.double)
    case .text(let text):
      if text.bytes.isEmpty { return nil }
      milliseconds = text.hasEscapes ? TimeNotation.parse(text.string) : TimeNotation.parse(text.bytes)
    case .wrongType: throw .wrongType(.timestamp)
    }
    guard let milliseconds else { throw .invalidTimestamp }
    return Timestamp(milliseconds: milliseconds)
  }

  func readValue() throws(TelemetryProblem) -> Double {
    switch value {
    case nil: throw .missingValue
    case .number(let number): return number.double
    case .text(let text):
      if text.bytes.isEmpty { throw .missingValue }
      let parsed =
        text.hasEscapes ? Array(text.string.utf8).withUnsafeBytes(SampleValue.parse) : SampleValue.parse(text.bytes)
      guard let parsed else { throw .invalidValue }
      return parsed
    case .wrongType: throw .wrongType(.value)
    }
  }

  /// Where the time and the value stand in the text, in their order; nil when one is missing, has escapes, or came twice
  /// (then the bytes between hold more than the labels).
  func tokens(in text: UnsafeRawBufferPointer) -> (first: Range<Int>, second: Range<Int>, isValueFirst: Bool)? {
    guard !hasRepeats, let time = TelemetryJSONFields.range(of: timestamp, in: text),
      let value = TelemetryJSONFields.range(of: value, in: text)
    else { return nil }
    let isValueFirst = value.lowerBound < time.lowerBound
    return isValueFirst ? (value, time, true) : (time, value, false)
  }

  private static func range(of content: Content?, in text: UnsafeRawBufferPointer) -> Range<Int>? {
    let bytes: UnsafeRawBufferPointer
    switch content {
    case .text(let text) where !text.hasEscapes: bytes = text.bytes
    case .number(let number): bytes = number.bytes
    default: return nil
    }
    guard let base = text.baseAddress, let start = bytes.baseAddress, !bytes.isEmpty else { return nil }
    let offset = base.distance(to: start)
    return offset..<offset + bytes.count
  }

  private func take(
    _ content: Content?, _ field: TelemetryField, into object: inout TelemetryObject
  ) throws(TelemetryProblem) {
    switch content {
    case nil: break
    case .text(let text): object[field] = text.string
    case .number(let number): object[field] = String(decoding: number.bytes, as: UTF8.self)
    case .wrongType: throw .wrongType(field)
    }
    if object[field].utf8.count > FormatLimits.labelValueBytes {
      throw .fieldTooLong(field, limit: FormatLimits.labelValueBytes)
    }
  }

  private static func content(_ scanner: inout JSONScanner) throws(JSONError) -> Content? {
    switch try scanner.peekKind() {
    case .string: return .text(try scanner.readString())
    case .number: return .number(try scanner.readNumber())
    case .null:
      try scanner.readNull()
      return nil
    case .object, .array, .boolean:
      try scanner.skipValue()
      return .wrongType
    }
  }
}
