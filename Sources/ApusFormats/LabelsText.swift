import ApusIO
import ApusModel

/// The notation of `labels_raw`: `name="value"` pairs joined by commas, with `\\`, `\"` and `\n` escaped in the values as
/// in the exposition formats.
package enum LabelsText {
  package static func format(_ labels: Labels) -> String {
    var bytes: [UInt8] = []
    append(labels, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Appends all labels, in ascending order of their names.
  package static func append(_ labels: Labels, to bytes: inout [UInt8]) {
    bytes.reserveCapacity(bytes.count + labels.bytes.count + 32)
    var isFirst = true
    labels.forEach { name, value in
      if !isFirst { bytes.append(UInt8(ascii: ",")) }
      isFirst = false
      bytes.append(contentsOf: name)
      bytes.append(UInt8(ascii: "="))
      bytes.append(UInt8(ascii: "\""))
      appendEscaped(value, to: &bytes)
      bytes.append(UInt8(ascii: "\""))
    }
  }

  /// A label's value with a backslash before what would end it.
  static func appendEscaped(_ value: some Sequence<UInt8>, to bytes: inout [UInt8]) {
    for byte in value {
      switch byte {
      case UInt8(ascii: "\\"), UInt8(ascii: "\""):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case UInt8(ascii: "\n"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(UInt8(ascii: "n"))
      default: bytes.append(byte)
      }
    }
  }

  package static func parse(_ text: String) throws(TelemetryProblem) -> LabelsBuilder {
    var builder = LabelsBuilder()
    try parse(Array(text.utf8), into: &builder)
    return builder
  }

  /// Reads the pairs into a builder. Blanks beside commas and braces around the whole are let pass.
  static func parse(_ text: [UInt8], into builder: inout LabelsBuilder) throws(TelemetryProblem) {
    var text = text[...]
    trim(&text)
    if text.first == UInt8(ascii: "{"), text.last == UInt8(ascii: "}") {
      text = text.dropFirst().dropLast()
      trim(&text)
    }
    var value: [UInt8] = []
    var count = 0
    while !text.isEmpty {
      guard let equals = text.firstIndex(of: UInt8(ascii: "=")) else { throw .invalidLabels }
      var name = text[..<equals]
      trim(&name)
      text = text[(equals + 1)...]
      guard !name.isEmpty, text.first == UInt8(ascii: "\"") else { throw .invalidLabels }
      text = text.dropFirst()
      try takeValue(&text, into: &value)
      count += 1
      guard count <= FormatLimits.labelsPerSeries else { throw .tooManyLabels(limit: FormatLimits.labelsPerSeries) }
      builder.set(nameBytes: name, valueBytes: value)
      trim(&text)
      if text.isEmpty { break }
      guard text.first == UInt8(ascii: ",") else { throw .invalidLabels }
      text = text.dropFirst()
      trim(&text)
    }
  }

  /// From behind the opening quote to behind the closing one.
  private static func takeValue(_ text: inout ArraySlice<UInt8>, into value: inout [UInt8]) throws(TelemetryProblem) {
    value.removeAll(keepingCapacity: true)
    while let byte = text.popFirst() {
      switch byte {
      case UInt8(ascii: "\""): return
      case UInt8(ascii: "\\"):
        guard let escaped = text.popFirst() else { throw .invalidLabels }
        switch escaped {
        case UInt8(ascii: "n"): value.append(UInt8(ascii: "\n"))
        case UInt8(ascii: "\\"), UInt8(ascii: "\""): value.append(escaped)
        default: throw .invalidLabels
        }
      default: value.append(byte)
      }
    }
    throw .invalidLabels
  }

  private static func trim(_ text: inout ArraySlice<UInt8>) {
    while let byte = text.first, byte == 0x20 || byte == 0x09 { text = text.dropFirst() }
    while let byte = text.last, byte == 0x20 || byte == 0x09 { text = text.dropLast() }
  }

  /// Refuses labels beyond the bounds of `FormatLimits`, and such as are not UTF-8.
  static func checkLimits(_ labels: Labels) throws(TelemetryProblem) {
    var count = 0
    var isTooLong = false
    labels.forEach { name, value in
      count += 1
      if name.count > FormatLimits.labelNameBytes || value.count > FormatLimits.labelValueBytes { isTooLong = true }
    }
    if isTooLong { throw .fieldTooLong(.labelsRaw, limit: FormatLimits.labelValueBytes) }
    if count > FormatLimits.labelsPerSeries { throw .tooManyLabels(limit: FormatLimits.labelsPerSeries) }
  }
}
