/// How the streamer writes telemetry to the log.
package enum Encoding: String, Hashable, Sendable, CaseIterable {
  /// The columnar pair of set and scrape: about 8 bytes a sample, and nothing to parse.
  case frame
  /// An array of telemetry objects, for people and programs that read the topic with other tools.
  case json
  /// Prometheus' text exposition with timestamps.
  case text
}
