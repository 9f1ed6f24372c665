/// How the value of a telemetry record is written, told by the record's `content-type` header.
package enum ContentType: String, Hashable, Sendable, CaseIterable {
  /// One telemetry object or an array of them. Also what a record without the header holds.
  case json = "application/json"
  /// Prometheus' text exposition.
  case exposition = "text/plain; version=0.0.4"
  /// Prometheus' remote write.
  case remoteWrite = "application/x-protobuf"
  /// The columnar pair of set and scrape, or samples of the per-series lane (`ScrapeRecord`).
  case scrape = "application/vnd.apus.scrape"

  /// The name of the record header.
  package static let headerName = "content-type"

  /// The value of the record header, UTF-8.
  package var headerValue: [UInt8] { Array(rawValue.utf8) }

  /// The type that a header's value names, or nil for one that is not known. Case and parameters are ignored, as in
  /// HTTP: `text/plain; charset=utf-8` and OpenMetrics' type are the exposition too.
  package init?(headerValue: some Collection<UInt8>) {
    let end = headerValue.firstIndex(of: UInt8(ascii: ";")) ?? headerValue.endIndex
    let lowered = headerValue[..<end].map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
    switch String(decoding: lowered.filter { $0 != 0x20 && $0 != 0x09 }, as: UTF8.self) {
    case "application/json": self = .json
    case "text/plain", "application/openmetrics-text": self = .exposition
    case "application/x-protobuf": self = .remoteWrite
    case "application/vnd.apus.scrape": self = .scrape
    default: return nil
    }
  }

  /// As above; the names as our own programs write them are recognised by their bytes, since every record has one.
  package init?(headerValue: UnsafeRawBufferPointer) {
    if ContentType.matches(headerValue, "application/vnd.apus.scrape") {
      self = .scrape
    } else if ContentType.matches(headerValue, "application/json") {
      self = .json
    } else {
      self.init(headerValue: Array(headerValue))
    }
  }

  private static func matches(_ bytes: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
    guard bytes.count == name.utf8CodeUnitCount else { return false }
    for index in 0..<bytes.count where bytes[index] != name.utf8Start[index] { return false }
    return true
  }
}
