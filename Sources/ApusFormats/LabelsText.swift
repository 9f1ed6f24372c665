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
    var text = text
    var problem: TelemetryProblem?
    text.withUTF8 { text in
      do throws(TelemetryProblem) {
        try parse(UnsafeRawBufferPointer(text), into: &builder)
      } catch { problem = error }
    }
    if let problem { throw problem }
    return builder
  }

  /// Reads the pairs into a builder. Blanks beside commas and braces around the whole are let pass.
  static func parse(_ text: UnsafeRawBufferPointer, into builder: inout LabelsBuilder) throws(TelemetryProblem) {
    var rest = trimmed(text, 0..<text.count)
    if rest.count >= 2, text[rest.lowerBound] == UInt8(ascii: "{"), text[rest.upperBound - 1] == UInt8(ascii: "}") {
      rest = trimmed(text, rest.lowerBound + 1..<rest.upperBound - 1)
    }
    var unescaped: [UInt8] = []
    var count = 0
    var position = rest.lowerBound
    let end = rest.upperBound
    while position < end {
      guard let equals = text[position..<end].firstIndex(of: UInt8(ascii: "=")) else { throw .invalidLabels }
      let name = trimmed(text, position..<equals)
      guard !name.isEmpty, equals + 1 < end, text[equals + 1] == UInt8(ascii: "\"") else { throw .invalidLabels }
      let start = equals + 2
      let (closing, hasEscapes) = try endOfValue(text, start, end)
      count += 1
      guard count <= FormatLimits.labelsPerSeries else { throw .tooManyLabels(limit: FormatLimits.labelsPerSeries) }
      let nameBytes = UnsafeRawBufferPointer(rebasing: text[name])
      if hasEscapes {
        unescape(text, start..<closing, into: &unescaped)
        unescaped.withUnsafeBytes { builder.set(name: nameBytes, value: $0) }
      } else {
        builder.set(name: nameBytes, value: UnsafeRawBufferPointer(rebasing: text[start..<closing]))
      }
      position = skipBlanks(text, closing + 1, end)
      if position == end { break }
      guard text[position] == UInt8(ascii: ",") else { throw .invalidLabels }
      position = skipBlanks(text, position + 1, end)
    }
  }

  /// Where the closing quote of a value stands, and whether a backslash stands before it.
  private static func endOfValue(
    _ text: UnsafeRawBufferPointer, _ start: Int, _ end: Int
  ) throws(TelemetryProblem) -> (closing: Int, hasEscapes: Bool) {
    var position = start
    var hasEscapes = false
    while position < end {
      switch text[position] {
      case UInt8(ascii: "\""): return (position, hasEscapes)
      case UInt8(ascii: "\\"):
        hasEscapes = true
        guard position + 1 < end else { throw .invalidLabels }
        switch text[position + 1] {
        case UInt8(ascii: "n"), UInt8(ascii: "\\"), UInt8(ascii: "\""): position += 2
        default: throw .invalidLabels
        }
      default: position += 1
      }
    }
    throw .invalidLabels
  }

  private static func unescape(_ text: UnsafeRawBufferPointer, _ range: Range<Int>, into bytes: inout [UInt8]) {
    bytes.removeAll(keepingCapacity: true)
    var position = range.lowerBound
    while position < range.upperBound {
      if text[position] == UInt8(ascii: "\\") {
        position += 1
        bytes.append(text[position] == UInt8(ascii: "n") ? UInt8(ascii: "\n") : text[position])
      } else {
        bytes.append(text[position])
      }
      position += 1
    }
  }

  private static func skipBlanks(_ text: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> Int {
    var position = start
    while position < end, text[position] == 0x20 || text[position] == 0x09 { position += 1 }
    return position
  }

  private static func trimmed(_ text: UnsafeRawBufferPointer, _ range: Range<Int>) -> Range<Int> {
    let start = skipBlanks(text, range.lowerBound, range.upperBound)
    var end = range.upperBound
    while end > start, text[end - 1] == 0x20 || text[end - 1] == 0x09 { end -= 1 }
    return start..<end
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
