import ApusModel

/// Writes the CSV of telemetry: the columns of `TelemetryField`, RFC 4180 quoting, lines that end in a line feed.
package enum CSVWriter {
  /// The header, with its line end.
  package static let header = Array((TelemetryField.allCases.map(\.name).joined(separator: ",") + "\n").utf8)

  /// Appends the samples of a scrape, the absent series left out.
  package static func append(_ scrape: Scrape, to bytes: inout [UInt8]) {
    for index in 0..<scrape.set.count {
      if let absent = scrape.absent, absent[index] { continue }
      TelemetryRowEncoder(scrape.set.series[index]).appendCSV(scrape.timestamp, scrape.values[index], to: &bytes)
    }
  }

  /// Appends one field, in quotes where it holds a comma, a quote or a line end.
  package static func appendField(_ text: some Collection<UInt8>, to bytes: inout [UInt8]) {
    let needsQuotes = text.contains { byte in
      byte == UInt8(ascii: ",") || byte == UInt8(ascii: "\"") || byte == 0x0a || byte == 0x0d
    }
    guard needsQuotes else {
      bytes.append(contentsOf: text)
      return
    }
    bytes.append(UInt8(ascii: "\""))
    for byte in text {
      if byte == UInt8(ascii: "\"") { bytes.append(byte) }
      bytes.append(byte)
    }
    bytes.append(UInt8(ascii: "\""))
  }
}
