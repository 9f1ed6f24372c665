import ApusBroker
import ApusIO

/// Writes frames of JSON, with or without a payload, one after another into one run of bytes (docs/protocol.md).
struct FrameWriter {
  private(set) var bytes: [UInt8] = []
  private var json = JSONWriter(reserving: 256)

  init() {}

  var isEmpty: Bool { bytes.isEmpty }

  /// Empties the writer; memory is kept up to 64 KiB.
  mutating func removeAll() { bytes.removeAll(keepingCapacity: bytes.capacity <= 65_536) }

  /// One frame whose object has `type`, and `id` where there is one, and what `body` adds; then the payload's parts.
  mutating func frame(
    _ type: StaticString, id: Int64?, payload: [[UInt8]] = [], _ body: (inout JSONWriter) -> Void = { _ in }
  ) {
    json.removeAll()
    json.beginObject()
    json.key("type")
    json.string(type)
    if let id {
      json.key("id")
      json.integer(id)
    }
    body(&json)
    let payloadBytes = payload.reduce(0) { $0 + $1.count }
    if !payload.isEmpty {
      json.key("payload_bytes")
      json.integer(payloadBytes)
    }
    json.endObject()
    let length = json.bytes.count + payloadBytes
    precondition(length <= Int(UInt32.max), "a frame of \(length) bytes")
    if payloadBytes > 0 { bytes.reserveCapacity(bytes.count + 4 + length) }
    withUnsafeBytes(of: UInt32(length).bigEndian) { bytes.append(contentsOf: $0) }
    bytes.append(contentsOf: json.bytes)
    for part in payload { bytes.append(contentsOf: part) }
  }

  mutating func published(
    id: Int64?, topic: TopicName, partition: Int32, baseOffset: Int64, count: Int, isDuplicate: Bool
  ) {
    frame("published", id: id) { json in
      json.key("topic")
      json.string(topic.text)
      json.key("partition")
      json.integer(Int64(partition))
      json.key("base_offset")
      json.integer(baseOffset)
      json.key("count")
      json.integer(count)
      json.key("duplicate")
      json.boolean(isDuplicate)
    }
  }

  /// - Parameter isFatal: the server closes the connection behind this frame.
  mutating func error(_ error: DoorError, id: Int64?, subscription: Int64? = nil, isFatal: Bool = false) {
    frame("error", id: id) { json in
      if let subscription {
        json.key("subscription")
        json.integer(subscription)
      }
      FrameWriter.members(of: error, &json)
      json.key("fatal")
      json.boolean(isFatal)
    }
  }

  static func members(of error: DoorError, _ json: inout JSONWriter) {
    json.key("code")
    json.string(error.code.rawValue)
    json.key("message")
    json.string(error.message)
    if error.details.isEmpty { return }
    json.key("details")
    json.beginObject()
    for name in error.details.keys.sorted() {
      json.key(name)
      switch error.details[name] {
      case .integer(let value): json.integer(value)
      case .text(let text): json.string(text)
      case nil: json.null()
      }
    }
    json.endObject()
  }

  mutating func topics(id: Int64?, _ topics: [TopicDescription]) {
    frame("topics", id: id) { json in
      json.key("topics")
      json.beginArray()
      for topic in topics { FrameWriter.topic(topic, &json) }
      json.endArray()
    }
  }

  static func topic(_ topic: TopicDescription, _ json: inout JSONWriter) {
    json.beginObject()
    json.key("topic")
    json.string(topic.name.text)
    json.key("configuration")
    json.beginObject()
    let settings: [(StaticString, Int64?)] = [
      ("partitions", Int64(topic.configuration.partitions)),
      ("retention_ms", topic.configuration.retentionMilliseconds),
      ("retention_bytes", topic.configuration.retentionBytes), ("segment_bytes", topic.configuration.segmentBytes),
      ("max_message_bytes", topic.configuration.maxMessageBytes.map { Int64($0) }),
    ]
    for (name, value) in settings {
      guard let value else { continue }
      json.key(name)
      json.integer(value)
    }
    json.endObject()
    json.key("partitions")
    json.beginArray()
    for partition in topic.partitions {
      json.beginObject()
      json.key("partition")
      json.integer(Int64(partition.index))
      json.key("log_start")
      json.integer(partition.logStart)
      json.key("high_watermark")
      json.integer(partition.highWatermark)
      json.key("bytes")
      json.integer(partition.bytes)
      json.key("segments")
      json.integer(partition.segments)
      json.endObject()
    }
    json.endArray()
    json.endObject()
  }

  /// Gives the bytes away.
  mutating func take() -> [UInt8] {
    defer { bytes = [] }
    return bytes
  }
}

extension JSONWriter {
  /// A string that needs no escapes, known when the program was written.
  mutating func string(_ text: StaticString) {
    string(utf8: UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }
}
