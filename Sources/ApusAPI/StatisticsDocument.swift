import ApusIO
import ApusModel
import ApusStore

/// The document of `/stats`: a member for each part of the process, each written by its part.
package struct StatisticsDocument: Sendable {
  /// A part's name and how it writes its own JSON object.
  package typealias Section = (name: String, json: @Sendable () async throws -> [UInt8])

  private let sections: [Section]

  package init(_ sections: [Section]) { self.sections = sections }

  /// The document. A part that fails says so in its member, and the others are still told.
  package func bytes() async -> [UInt8] {
    var writer = JSONWriter(reserving: 1024)
    writer.beginObject()
    for section in sections {
      writer.key(section.name)
      do {
        writer.raw(try await section.json())
      } catch {
        writer.beginObject()
        writer.member("error", "\(error)")
        writer.endObject()
      }
    }
    writer.endObject()
    return writer.bytes
  }

  /// The member of a store.
  package static func store(_ store: any Store) -> Section {
    ("store", { @Sendable in json(try await store.statistics(), positions: try await store.positions()) })
  }

  static func json(_ statistics: StoreStatistics, positions: [LogPartition: StorePosition]) -> [UInt8] {
    var writer = JSONWriter(reserving: 512)
    writer.beginObject()
    writer.member("series_in_head", statistics.seriesInHead)
    writer.member("samples_in_head", statistics.samplesInHead)
    writer.member("head_bytes", statistics.headBytes)
    writer.member("blocks", statistics.blocks)
    writer.member("samples_in_blocks", statistics.samplesInBlocks)
    writer.key("bytes_on_disk")
    writer.integer(statistics.bytesOnDisk)
    writer.key("bytes_by_part")
    writer.beginObject()
    for (part, bytes) in statistics.bytesByPart.sorted(by: { $0.key < $1.key }) {
      writer.key(part)
      writer.integer(bytes)
    }
    writer.endObject()
    writer.member("oldest_sample", time: statistics.oldestSample?.milliseconds)
    writer.member("newest_sample", time: statistics.newestSample?.milliseconds)
    writer.member("series_rejected", statistics.seriesRejected)
    writer.member("samples_out_of_order", statistics.samplesOutOfOrder)
    writer.member("samples_duplicate", statistics.samplesDuplicate)
    writer.member("blocks_quarantined", statistics.blocksQuarantined)
    writer.member("rollups", statistics.rollups)
    writer.member("rollups_made", statistics.rollupsMade)
    writer.member("rollup_answers", statistics.rollupAnswers)
    writer.member("last_failure", orNull: statistics.lastFailure)
    writer.key("positions")
    writer.beginArray()
    for (partition, position) in positions.sorted(by: {
      ($0.key.topic, $0.key.partition) < ($1.key.topic, $1.key.partition)
    }) {
      writer.beginObject()
      writer.member("topic", partition.topic)
      writer.member("partition", Int(partition.partition))
      writer.key("appended")
      writer.integer(position.appended)
      writer.key("durable")
      writer.integer(position.durable)
      writer.endObject()
    }
    writer.endArray()
    writer.endObject()
    return writer.bytes
  }
}
