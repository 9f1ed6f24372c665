/// Which message a remote write request carries, and the headers by which both sides say so (docs/reference/ways-in.md).
package enum RemoteWriteVersion: String, Hashable, Sendable, CaseIterable {
  /// `prometheus.WriteRequest`, remote write 1.0.
  case v1 = "prometheus.WriteRequest"
  /// `io.prometheus.write.v2.Request`, remote write 2.0.
  case v2 = "io.prometheus.write.v2.Request"

  /// The `Content-Type` of a request with this message.
  package var contentType: String { "application/x-protobuf;proto=\(rawValue)" }

  /// What a `Content-Type` names, or nil where it names neither: then the answer is 415. Without a `proto` parameter it is
  /// 1.0, whose senders do not write it.
  package init?(contentType: String) {
    let parts = contentType.split(separator: ";", omittingEmptySubsequences: false).map(RemoteWriteVersion.trim)
    guard let type = parts.first, type.lowercased() == "application/x-protobuf" else { return nil }
    for part in parts.dropFirst() {
      let sides = part.split(separator: "=", maxSplits: 1).map(RemoteWriteVersion.trim)
      guard sides.count == 2, sides[0].lowercased() == "proto" else { continue }
      guard let version = RemoteWriteVersion(rawValue: sides[1]) else { return nil }
      self = version
      return
    }
    self = .v1
  }

  private static func trim(_ text: Substring) -> String {
    var bytes = Substring(text).utf8
    while let byte = bytes.first, byte == 0x20 || byte == 0x09 || byte == 0x22 { bytes = bytes.dropFirst() }
    while let byte = bytes.last, byte == 0x20 || byte == 0x09 || byte == 0x22 { bytes = bytes.dropLast() }
    return String(Substring(bytes))
  }

  /// Sent by 2.0 receivers with every answer, partial and refused ones too: how many samples were written.
  package static let samplesWrittenHeader = "X-Prometheus-Remote-Write-Samples-Written"
  /// As above, for native histograms: always 0 here.
  package static let histogramsWrittenHeader = "X-Prometheus-Remote-Write-Histograms-Written"
  /// As above, for exemplars: always 0 here.
  package static let exemplarsWrittenHeader = "X-Prometheus-Remote-Write-Exemplars-Written"
  /// Sent by senders: `0.1.0` with 1.0 and `2.0.0` with 2.0. Not looked at: the message is told by the content type.
  package static let versionHeader = "X-Prometheus-Remote-Write-Version"
}
