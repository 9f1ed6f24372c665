import ApusFormats
import ApusPipeline
import ApusService
import HTTPTypes

/// `POST /v1/metrics`: OpenTelemetry's metrics.
extension IngestRoutes {
  var otlp: Route {
    let content: [(mediaType: String, schema: Schema)] = [(OTLPResponse.contentType, IngestRoutes.binary)]
    let receiver = receive(\.otlp) { door, metrics, _, incoming in
      try await IngestRoutes.takeOTLP(door, metrics, incoming)
    }
    return Route(
      .post, "/v1/metrics", operation: "exportMetrics", tag: .ingest, summary: "Take in OTLP",
      description:
        "An `ExportMetricsServiceRequest` as a protocol buffer: gauges, sums, histograms and summaries, named as Prometheus' "
        + "receiver names them; deltas are added up. The answer comes when everything is durable and, in `apus up`, can be "
        + "queried. Errors are a `google.rpc.Status`.",
      answers: [
        DeclaredAnswer(
          200, "An `ExportMetricsServiceResponse`; `partial_success` tells how many data points were refused and why.",
          content: content),
        DeclaredAnswer(400, "The body cannot be read.", content: content),
        DeclaredAnswer(
          413, "The body is larger than `--ingest-body-limit`, or holds more than a request may.",
          content: content + [("application/problem+json", .reference("Problem"))]),
        DeclaredAnswer(415, "The content type or the content encoding is not one that is taken.", content: content),
        .problem(500, "The request failed; the server's log has the cause."),
        DeclaredAnswer(
          503, "The log cannot take more now, or the process has none; `Retry-After` says when to try again.",
          content: content, headers: [("Retry-After", "Seconds to wait.", .integer(minimum: 0))]),
      ],
      body: DeclaredBody("The request, as it is or compressed.", content: content),
      receiver: { request, incoming in
        do { return try await receiver(request, incoming) } catch let problem as Problem {
          // The codes of google.rpc: 14 unavailable, 3 invalid argument.
          let body = OTLPResponse.status(code: problem.status == .serviceUnavailable ? 14 : 3, message: problem.detail)
          return Answer(
            status: problem.status, mediaType: OTLPResponse.contentType, body: body, headers: problem.headers,
            isRevalidated: false)
        }
      })
  }

  private static func takeOTLP(
    _ door: IngestDoor, _ metrics: IngestMetrics.Way, _ incoming: IncomingBody
  ) async throws -> Answer {
    guard incoming.mediaType == OTLPResponse.contentType else {
      throw Problem(status: 415, detail: "OTLP is taken as \(OTLPResponse.contentType)")
    }
    let coding = try incoming.coding()
    if case .snappyBlock = coding { throw Problem(status: 415, detail: "OTLP is taken plain, gzip or zstd") }
    let lease = door.lease
    let bytes = try await self.bytes(incoming, coding, lease, metrics)
    let (problems, receipt) = try await publish(bytes, door)
    metrics.samples.add(UInt64(receipt.samplesDurable))
    var rejections = IngestAnswers.Rejections(problems, unit: "data point")
    rejections.add(receipt)
    metrics.rejected.add(UInt64(rejections.count))
    withExtendedLifetime(lease) {}
    let lost = problems.count + receipt.samplesTooLarge + receipt.samplesOverSeriesLimit + receipt.samplesTooOld
    let body =
      rejections.isEmpty
      ? []
      : OTLPResponse.encode(
        rejectedDataPoints: Int64(lost), message: rejections.summary(accepted: receipt.samplesDurable))
    return Answer(mediaType: OTLPResponse.contentType, body: body, isRevalidated: false)
  }

  /// Decodes a request and makes it durable. While deltas are pending nobody else decodes.
  private static func publish(
    _ bytes: IngestBytes, _ door: IngestDoor
  ) async throws(Problem) -> (IngestProblems, Ingester.Receipt) {
    await door.otlp.enter()
    var isMine = true
    defer { if isMine { door.otlp.leave() } }
    let batch = try bytes.withBytes { door.otlp.decode($0) }.decoded()
    let items = LaneRecords.items(
      batch.series, descriptors: batch.descriptors, key: Array(IngestWay.otlp.rawValue.utf8),
      bytesMax: door.recordBytesMax)
    guard door.otlp.hasPendingDeltas else {
      door.otlp.leave()
      isMine = false
      return (batch.problems, try await door.take(items))
    }
    do throws(Ingester.Refusal) {
      let receipt = try await door.ingester.take(items)
      door.otlp.commit()
      return (batch.problems, receipt)
    } catch {
      // What is durable counts, visible or not.
      if case .notVisible = error { door.otlp.commit() } else { door.otlp.rollback() }
      throw IngestDoor.problem(for: error)
    }
  }
}
