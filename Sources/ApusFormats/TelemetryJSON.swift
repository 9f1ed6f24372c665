import ApusIO
import ApusModel

/// Telemetry objects as JSON: one object, or an array of them.
package enum TelemetryJSON {
  /// What became of a text: the objects that can be used, and those that cannot, by the byte where each begins.
  package struct Decoded: Sendable {
    package var objects: [TelemetryObject] = []
    package var errors: [FormatError] = []
  }

  /// Decodes an object or an array of objects. A text that is not JSON throws; an object that is no telemetry costs only
  /// itself. Unknown fields are skipped; a text field may be a number, and null is the same as nothing.
  package static func decode(_ bytes: UnsafeRawBufferPointer) throws(FormatError) -> Decoded {
    var decoded = Decoded()
    do throws(JSONError) {
      var scanner = JSONScanner(bytes)
      if try scanner.peekKind() == .array {
        try scanner.beginArray()
        while try scanner.nextElement() { try decodeObject(&scanner, into: &decoded) }
      } else {
        try decodeObject(&scanner, into: &decoded)
      }
      try scanner.finish()
    } catch { throw .json(error) }
    return decoded
  }

  package static func decode(_ bytes: [UInt8]) throws(FormatError) -> Decoded {
    let result = bytes.withUnsafeBytes { bytes -> Result<Decoded, FormatError> in
      do throws(FormatError) { return .success(try decode(bytes)) } catch { return .failure(error) }
    }
    return try result.get()
  }

  private static func decodeObject(_ scanner: inout JSONScanner, into decoded: inout Decoded) throws(JSONError) {
    let kind = try scanner.peekKind()
    let start = scanner.position
    guard kind == .object else { throw JSONError(kind: .expected(.object), offset: start) }
    let fields = try TelemetryJSONFields(&scanner)
    do throws(TelemetryProblem) {
      let object = try fields.object()
      _ = try object.labels()
      decoded.objects.append(object)
    } catch {
      decoded.errors.append(.telemetry(error, position: start))
    }
  }

  /// Appends one object, its fields in the order of `TelemetryField`, empty texts included.
  package static func append(_ object: TelemetryObject, to writer: inout JSONWriter) {
    writer.beginObject()
    for field in TelemetryField.allCases {
      writer.key(field.name)
      switch field {
      case .timestamp:
        if let timestamp = object.timestamp { append(timestamp, to: &writer) } else { writer.null() }
      case .value: writer.double(object.value)
      default: writer.string(object[field])
      }
    }
    writer.endObject()
  }

  package static func encode(_ objects: [TelemetryObject]) -> [UInt8] {
    var writer = JSONWriter(reserving: objects.count * 512)
    writer.beginArray()
    for object in objects { append(object, to: &writer) }
    writer.endArray()
    return writer.bytes
  }

  /// A scrape as an array of telemetry objects, the absent series left out.
  package static func encode(_ scrape: Scrape) -> [UInt8] {
    var writer = JSONWriter(reserving: scrape.sampleCount * 512)
    writer.beginArray()
    for index in 0..<scrape.set.count {
      if let absent = scrape.absent, absent[index] { continue }
      let encoder = TelemetryRowEncoder(scrape.set.series[index])
      encoder.appendJSON(scrape.timestamp, scrape.values[index], to: &writer)
    }
    writer.endArray()
    return writer.bytes
  }

  static func append(_ timestamp: Timestamp, to writer: inout JSONWriter) {
    var text: [UInt8] = []
    text.reserveCapacity(RFC3339.maxLength)
    RFC3339.append(timestamp.milliseconds, to: &text)
    text.withUnsafeBytes { writer.string(utf8: $0) }
  }
}
