import ApusBroker
import ApusIO

/// A frame from the server, as far as the client of our own needs it (docs/protocol.md, "Answers").
struct Answer: Sendable {
  enum Kind: String, Sendable {
    case published
    case fetched
    case producerRegistered = "producer_registered"
    case topicCreated = "topic_created"
    case topicDeleted = "topic_deleted"
    case topics
    case offset
    case pong
    case error
  }

  /// Nil for a type that this client does not know.
  var kind: Kind?
  var id: Int64?
  var baseOffset: Int64?
  var count: Int64?
  var isDuplicate = false
  var highWatermark: Int64?
  var logStart: Int64?
  var offset: Int64?
  var producerID: Int64?
  var epoch: Int64?
  var batches: Int64?
  var topics: [TopicDescription] = []
  var error: DoorError?
  var isFatal = false
  /// Where the payload begins in the frame.
  var payloadStart = 0

  /// Reads the JSON object of a frame; a nil `LogError` member means that the frame breaks the protocol.
  init(_ frame: UnsafeRawBufferPointer) throws(LogError) {
    do {
      try read(frame)
    } catch let error as JSONError {
      throw .protocolViolation(error.description)
    } catch let error as LogError {
      throw error
    } catch {
      preconditionFailure("unexpected \(error)")
    }
  }

  private mutating func read(_ frame: UnsafeRawBufferPointer) throws {
    var scanner = JSONScanner(frame)
    var code: String?
    var message = ""
    var details: [String: DoorError.Detail] = [:]
    var payloadBytes: Int64 = 0
    try scanner.beginObject()
    while let key = try scanner.nextKey() {
      switch key {
      case "type": kind = Kind(rawValue: try scanner.readString().string)
      case "id": id = try scanner.readInteger()
      case "base_offset": baseOffset = try scanner.readInteger()
      case "count": count = try scanner.readInteger()
      case "duplicate": isDuplicate = try scanner.readBoolean()
      case "high_watermark": highWatermark = try scanner.readInteger()
      case "log_start": logStart = try scanner.readInteger()
      case "offset": offset = try scanner.readInteger()
      case "producer_id": producerID = try scanner.readInteger()
      case "epoch": epoch = try scanner.readInteger()
      case "batches" where try scanner.peekKind() == .number: batches = try scanner.readInteger()
      case "payload_bytes": payloadBytes = try scanner.readInteger()
      case "topics": try readTopics(&scanner)
      case "code": code = try scanner.readString().string
      case "message" where try scanner.peekKind() == .string: message = try scanner.readString().string
      case "details": details = try Answer.readDetails(&scanner)
      case "fatal": isFatal = try scanner.readBoolean()
      default: try scanner.skipValue()
      }
    }
    payloadStart = scanner.position
    guard Int64(frame.count - payloadStart) == payloadBytes else {
      throw LogError.protocolViolation(
        "a frame says that \(payloadBytes) bytes follow and has \(frame.count - payloadStart)")
    }
    if kind == .error {
      if let code = code.flatMap({ DoorErrorCode(rawValue: $0) }) {
        error = DoorError(code, message, details: details)
      } else {
        throw LogError.protocolViolation("the broker answered with the error \"\(code ?? "")\": \(message)")
      }
    }
  }

  private static func readDetails(_ scanner: inout JSONScanner) throws -> [String: DoorError.Detail] {
    var details: [String: DoorError.Detail] = [:]
    try scanner.beginObject()
    while let key = try scanner.nextKey() {
      switch try scanner.peekKind() {
      case .number: details[key.string] = .integer(try scanner.readInteger())
      case .string: details[key.string] = .text(try scanner.readString().string)
      default: try scanner.skipValue()
      }
    }
    return details
  }

  private mutating func readTopics(_ scanner: inout JSONScanner) throws {
    try scanner.beginArray()
    while try scanner.nextElement() {
      var name = ""
      var configuration = TopicConfiguration()
      var partitions: [TopicDescription.Partition] = []
      try scanner.beginObject()
      while let key = try scanner.nextKey() {
        switch key {
        case "topic": name = try scanner.readString().string
        case "configuration": configuration = try Answer.readConfiguration(&scanner)
        case "partitions":
          try scanner.beginArray()
          while try scanner.nextElement() { partitions.append(try Answer.readPartition(&scanner)) }
        default: try scanner.skipValue()
        }
      }
      guard let name = TopicName(name) else { throw LogError.protocolViolation("\"\(name)\" is no topic's name") }
      topics.append(TopicDescription(name: name, configuration: configuration, partitions: partitions))
    }
  }

  private static func readConfiguration(_ scanner: inout JSONScanner) throws -> TopicConfiguration {
    var result = TopicConfiguration()
    try scanner.beginObject()
    while let key = try scanner.nextKey() {
      switch key {
      case "partitions": result.partitions = Int32(clamping: try scanner.readInteger())
      case "retention_ms": result.retentionMilliseconds = try scanner.readInteger()
      case "retention_bytes": result.retentionBytes = try scanner.readInteger()
      case "segment_bytes": result.segmentBytes = try scanner.readInteger()
      case "max_message_bytes": result.maxMessageBytes = Int(clamping: try scanner.readInteger())
      default: try scanner.skipValue()
      }
    }
    return result
  }

  private static func readPartition(_ scanner: inout JSONScanner) throws -> TopicDescription.Partition {
    var result = TopicDescription.Partition(index: 0, logStart: 0, highWatermark: 0, bytes: 0, segments: 0)
    try scanner.beginObject()
    while let key = try scanner.nextKey() {
      switch key {
      case "partition": result.index = Int32(clamping: try scanner.readInteger())
      case "log_start": result.logStart = try scanner.readInteger()
      case "high_watermark": result.highWatermark = try scanner.readInteger()
      case "bytes": result.bytes = try scanner.readInteger()
      case "segments": result.segments = Int(clamping: try scanner.readInteger())
      default: try scanner.skipValue()
      }
    }
    return result
  }
}
