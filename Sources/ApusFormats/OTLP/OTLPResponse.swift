/// The answer to an OTLP request (`ExportMetricsServiceResponse`).
package enum OTLPResponse {
  /// The `Content-Type` of request and answer.
  package static let contentType = "application/x-protobuf"

  /// The answer to a request that was decoded: empty when all of it was taken, else with `partial_success`.
  package static func encode(_ problems: IngestProblems) -> [UInt8] {
    guard !problems.isEmpty else { return [] }
    return encode(rejectedDataPoints: Int64(problems.count), message: problems.summary(unit: "data point"))
  }

  /// An answer with `partial_success`; a message without refused points is a warning.
  package static func encode(rejectedDataPoints: Int64, message: String) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.message(field: 1) { partial in
      if rejectedDataPoints != 0 { partial.int64(rejectedDataPoints, field: 1) }
      if !message.isEmpty { partial.string(message, field: 2) }
    }
    return writer.bytes
  }

  /// The body of an answer with an HTTP error status: a `google.rpc.Status`. Senders repeat 429, 502, 503 and 504 only.
  package static func status(code: Int32, message: String) -> [UInt8] {
    var writer = ProtobufWriter()
    if code != 0 { writer.varint(UInt64(UInt32(bitPattern: code)), field: 1) }
    if !message.isEmpty { writer.string(message, field: 2) }
    return writer.bytes
  }
}
