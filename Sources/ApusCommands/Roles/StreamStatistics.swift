import ApusIO
import ApusPipeline

/// The document of a streamer's `/stats`.
enum StreamStatistics {
  static func json(_ streamers: [Streamer], progress: [ReplayProgress]) -> [UInt8] {
    var json = JSONWriter(reserving: 256)
    json.beginObject()
    json.key("pending_items")
    json.integer(Int64(streamers.reduce(0) { $0 + $1.pendingItems }))
    json.key("pending_bytes")
    json.integer(Int64(streamers.reduce(0) { $0 + $1.pendingBytes }))
    json.key("replays")
    json.beginArray()
    for count in progress.map(\.current) {
      json.beginObject()
      json.key("rows")
      json.integer(Int64(count.rows))
      json.key("rows_skipped")
      json.integer(Int64(count.skipped))
      json.key("bytes")
      json.integer(count.bytes)
      json.key("bytes_total")
      json.integer(count.totalBytes)
      json.endObject()
    }
    json.endArray()
    json.endObject()
    return json.bytes
  }
}
