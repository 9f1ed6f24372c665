import ApusIO
import ApusModel

/// Writes the samples of one series as telemetry objects or CSV rows. What does not change from sample to sample is made
/// once, so that a row costs a copy and two numbers.
package struct TelemetryRowEncoder: Sendable {
  /// `{"timestamp":"`.
  private static let jsonHead = Array(#"{"timestamp":""#.utf8)
  /// From behind the timestamp to before the value.
  private let jsonMiddle: [UInt8]
  private let jsonTail: [UInt8]
  private let csvMiddle: [UInt8]
  private let csvTail: [UInt8]

  package init(_ labels: Labels) {
    var json = JSONWriter(reserving: 512)
    json.beginObject()
    var csv: [UInt8] = []
    csv.reserveCapacity(512)
    for field in TelemetryField.allCases where field.label != nil {
      let text = labels.text(of: field)
      json.key(field.name)
      json.string(text)
      csv.append(UInt8(ascii: ","))
      CSVWriter.appendField(text.utf8, to: &csv)
    }
    csv.append(UInt8(ascii: ","))
    // The brace that began the object becomes the end of the timestamp.
    jsonMiddle = Array("\",".utf8) + json.bytes.dropFirst() + Array(",\"value\":".utf8)

    var raw: [UInt8] = []
    LabelsText.append(labels, to: &raw)
    var tail = JSONWriter(reserving: raw.count + 64)
    raw.withUnsafeBytes { tail.string(utf8: $0) }
    jsonTail = Array(",\"labels_raw\":".utf8) + tail.bytes + Array("}".utf8)
    csvMiddle = csv
    csv = [UInt8(ascii: ",")]
    CSVWriter.appendField(raw, to: &csv)
    csv.append(UInt8(ascii: "\n"))
    csvTail = csv
  }

  /// Appends one telemetry object; nothing for a stale marker, which is no sample and would be read back as one.
  package func appendJSON(_ timestamp: Timestamp, _ value: Double, to writer: inout JSONWriter) {
    if StaleMarker.isStale(value) { return }
    writer.raw(TelemetryRowEncoder.jsonHead)
    RFC3339.append(timestamp.milliseconds, to: &writer.bytes)
    writer.bytes.append(contentsOf: jsonMiddle)
    if value.isFinite {
      NumberText.append(value, to: &writer.bytes)
    } else {
      writer.bytes.append(UInt8(ascii: "\""))
      SampleValue.append(value, to: &writer.bytes)
      writer.bytes.append(UInt8(ascii: "\""))
    }
    writer.bytes.append(contentsOf: jsonTail)
  }

  /// Appends one row of the CSV, with its line end; nothing for a stale marker.
  package func appendCSV(_ timestamp: Timestamp, _ value: Double, to bytes: inout [UInt8]) {
    if StaleMarker.isStale(value) { return }
    RFC3339.append(timestamp.milliseconds, to: &bytes)
    bytes.append(contentsOf: csvMiddle)
    SampleValue.append(value, to: &bytes)
    bytes.append(contentsOf: csvTail)
  }
}
