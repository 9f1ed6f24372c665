import ApusBroker
import ApusFormats
import ApusIO
import ApusModel

/// Writes rounds of a simulation in a format for a file: piece by piece, so memory does not grow with the length.
///
/// ```swift
/// var writer = SimulationWriter(.csv)
/// for round in simulation { try file.append(writer.write(round)) }
/// try file.append(writer.finish())
/// ```
package struct SimulationWriter: Sendable {
  package enum Format: String, Sendable, CaseIterable {
    /// The CSV of telemetry objects, with its header.
    case csv
    /// Prometheus' text exposition, each sample with its timestamp.
    case text
    /// Record batches of columnar records, one after another, as they lie in a segment of the log.
    case frames
  }

  package let format: Format
  private var isHeaderWritten = false
  /// What does not change from row to row, by set.
  private var rows: [SeriesSetID: [TelemetryRowEncoder]] = [:]
  private var frames = RecordBatchBuilder()
  private var setOffsets: [SeriesSetID: Int64] = [:]
  private var nextOffset: Int64 = 0
  private let headers = EncodedRecordHeaders([
    RecordHeader(name: ContentType.headerName, value: ContentType.scrape.headerValue)
  ])

  package init(_ format: Format) { self.format = format }

  /// The bytes of a round, to be written behind those of the last.
  package mutating func write(_ round: Simulation.Round) throws(PipelineError) -> [UInt8] {
    var bytes: [UInt8] = []
    switch format {
    case .csv:
      if !isHeaderWritten { bytes += CSVWriter.header }
      isHeaderWritten = true
      for (_, scrape) in round.scrapes { appendRows(scrape, to: &bytes) }
    case .text:
      // HELP and TYPE stand once, before the first samples of a metric.
      var page = ExpositionWriter(descriptors: isHeaderWritten ? [] : SimulatedMetric.descriptors)
      isHeaderWritten = true
      for (_, scrape) in round.scrapes { page.append(scrape, includingTimestamp: true) }
      bytes = page.finish()
    case .frames:
      for (node, scrape) in round.scrapes { appendFrames(scrape, key: Array(node.utf8)) }
      if !frames.isEmpty { bytes += try closeBatch() }
    }
    return bytes
  }

  private mutating func appendRows(_ scrape: Scrape, to bytes: inout [UInt8]) {
    let encoders = rows[scrape.set.id] ?? scrape.set.series.map { TelemetryRowEncoder($0) }
    rows[scrape.set.id] = encoders
    for index in 0..<scrape.set.count {
      if let absent = scrape.absent, absent[index] { continue }
      encoders[index].appendCSV(scrape.timestamp, scrape.values[index], to: &bytes)
    }
  }

  private mutating func appendFrames(_ scrape: Scrape, key: [UInt8]) {
    func append(_ value: [UInt8]) {
      key.withUnsafeBytes { key in
        value.withUnsafeBytes { value in
          frames.append(timestamp: scrape.timestamp.milliseconds, key: key, value: value, headers: headers)
        }
      }
    }
    let next = nextOffset + Int64(frames.recordCount)
    if setOffsets[scrape.set.id] == nil {
      setOffsets[scrape.set.id] = next
      append(ScrapeRecord.encode(set: scrape.set))
    }
    append(ScrapeRecord.encode(scrape, setOffset: setOffsets[scrape.set.id] ?? -1))
  }

  private mutating func closeBatch() throws(PipelineError) -> [UInt8] {
    do throws(LogError) {
      var batch = try frames.finish()
      batch.baseOffset = nextOffset
      nextOffset = batch.nextOffset
      return batch.bytes
    } catch { throw .log(error) }
  }
}
