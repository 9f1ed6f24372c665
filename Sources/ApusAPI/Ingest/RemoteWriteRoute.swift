import ApusFormats
import ApusPipeline
import ApusService
import HTTPTypes

/// `POST /api/v1/write`: Prometheus' remote write, 1.0 and 2.0.
extension IngestRoutes {
  var remoteWrite: Route {
    let written: [(name: String, text: String, schema: Schema)] = [
      (RemoteWriteVersion.samplesWrittenHeader, "To requests of 2.0: samples that were written.", .text()),
      (RemoteWriteVersion.histogramsWrittenHeader, "To requests of 2.0: always 0.", .text()),
      (RemoteWriteVersion.exemplarsWrittenHeader, "To requests of 2.0: always 0.", .text()),
    ]
    return Route(
      .post, "/api/v1/write", operation: "remoteWrite", tag: .ingest, summary: "Take in Prometheus' remote write",
      description:
        "Messages of remote write 1.0 and 2.0, told apart by `Content-Type`, in Snappy's block format. Labels out of order "
        + "are sorted. The answer comes when everything is durable and, in `apus up`, can be queried.",
      answers: [
        DeclaredAnswer(204, "Everything was taken.", headers: written),
        DeclaredAnswer(
          400, "Series were refused and the others taken; or nothing could be read. Not to be repeated as it is.",
          content: [("text/plain", .text()), ("application/problem+json", .reference("Problem"))], headers: written),
      ] + IngestRoutes.commonRefusals,
      body: DeclaredBody(
        "The message in Snappy's block format.", content: [("application/x-protobuf", IngestRoutes.binary)]),
      receiver: receive(\.remoteWrite) { door, metrics, request, incoming in
        try await IngestRoutes.takeRemoteWrite(door, metrics, request, incoming)
      })
  }

  private static func takeRemoteWrite(
    _ door: IngestDoor, _ metrics: IngestMetrics.Way, _ request: RouteRequest, _ incoming: IncomingBody
  ) async throws -> Answer {
    guard let version = RemoteWriteVersion(contentType: incoming.headers[.contentType] ?? "") else {
      throw Problem(
        status: 415,
        detail: "remote write is taken as \(RemoteWriteVersion.v1.contentType) or \(RemoteWriteVersion.v2.contentType)")
    }
    do {
      return try await takeRemoteWrite(door, metrics, version, incoming)
    } catch var problem as Problem where version == .v2 {
      for field in written(samples: 0, version) { problem.headers[field.name] = field.value }
      throw problem
    }
  }

  private static func takeRemoteWrite(
    _ door: IngestDoor, _ metrics: IngestMetrics.Way, _ version: RemoteWriteVersion, _ incoming: IncomingBody
  ) async throws -> Answer {
    let encoding = incoming.headers[.contentEncoding]?.lowercased() ?? "snappy"
    guard encoding == "snappy" else {
      throw Problem(status: 415, detail: "remote write is taken with Content-Encoding: snappy only")
    }
    let lease = door.lease
    let bytes = try await self.bytes(incoming, .snappyBlock, lease, metrics)
    let batch = try door.remoteWrite.use { slot in bytes.withBytes { slot.decode($0, version) } }.decoded()
    door.metrics.skippedExemplars.add(UInt64(batch.skipped.exemplars))
    door.metrics.skippedHistograms.add(UInt64(batch.skipped.histograms))
    let receipt = try await door.take(items(of: batch, sent: bytes, version, door.recordBytesMax))
    metrics.samples.add(UInt64(receipt.samplesDurable))
    var rejections = IngestAnswers.Rejections(batch.problems, unit: "series")
    rejections.add(receipt)
    metrics.rejected.add(UInt64(rejections.count))
    withExtendedLifetime(lease) {}
    let headers = written(samples: receipt.samplesDurable, version)
    if rejections.isEmpty { return Answer(status: .noContent, body: [], headers: headers, isRevalidated: false) }
    return IngestAnswers.text(.badRequest, rejections.summary(accepted: receipt.samplesDurable), headers: headers)
  }

  /// A clean message of 1.0 goes to the log as it was sent; everything else is written anew.
  private static func items(
    of batch: IngestBatch, sent: IngestBytes, _ version: RemoteWriteVersion, _ bytesMax: Int
  ) -> [TelemetryItem] {
    let key = Array(IngestWay.remoteWrite.rawValue.utf8)
    if version == .v1, batch.problems.isEmpty, sent.count <= bytesMax, case .array(let bytes) = sent {
      if batch.series.isEmpty, batch.descriptors.isEmpty { return [] }
      let value = TelemetryItem.EncodedValue(bytes: bytes, type: .remoteWrite, sampleCount: batch.sampleCount)
      return [TelemetryItem(key: key, content: .encoded(value))]
    }
    return LaneRecords.items(batch.series, descriptors: batch.descriptors, key: key, bytesMax: bytesMax)
  }

  private static func written(samples: Int, _ version: RemoteWriteVersion) -> HTTPFields {
    guard version == .v2 else { return [:] }
    var fields: HTTPFields = [:]
    for (name, value) in [
      (RemoteWriteVersion.samplesWrittenHeader, samples), (RemoteWriteVersion.histogramsWrittenHeader, 0),
      (RemoteWriteVersion.exemplarsWrittenHeader, 0),
    ] {
      if let name = HTTPField.Name(name) { fields[name] = "\(value)" }
    }
    return fields
  }
}

extension Result where Success == IngestBatch, Failure == FormatError {
  /// The batch, or the problem that the sender is told.
  func decoded() throws(Problem) -> IngestBatch {
    switch self {
    case .success(let batch): return batch
    case .failure(let error): throw IngestAnswers.problem(for: error)
    }
  }
}
