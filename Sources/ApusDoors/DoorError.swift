import ApusBroker
import ApusIO

/// The codes of `error` frames. They are part of the protocol (docs/protocol.md, "Errors") and never change meaning.
package enum DoorErrorCode: String, CaseIterable, Sendable {
  // Of the log.
  case unknownTopic = "unknown_topic"
  case unknownPartition = "unknown_partition"
  case topicExists = "topic_exists"
  case invalidTopicName = "invalid_topic_name"
  case invalidConfiguration = "invalid_configuration"
  case offsetOutOfRange = "offset_out_of_range"
  case invalidBatch = "invalid_batch"
  case messageTooLarge = "message_too_large"
  case outOfOrderSequence = "out_of_order_sequence"
  case fencedProducer = "fenced_producer"
  case unknownProducer = "unknown_producer"
  case backpressure = "backpressure"
  case logFull = "log_full"
  case diskFull = "disk_full"
  case diskError = "disk_error"
  case corrupt = "corrupt"
  case shuttingDown = "shutting_down"
  case upstreamUnreachable = "upstream_unreachable"
  case upstreamProtocol = "upstream_protocol"
  // Of the door.
  case invalidJSON = "invalid_json"
  case unknownType = "unknown_type"
  case invalidRequest = "invalid_request"
  case partitionRequired = "partition_required"
  case unknownSubscription = "unknown_subscription"
  case tooManySubscriptions = "too_many_subscriptions"
  case tooManyFetches = "too_many_fetches"
  case tooManyConnections = "too_many_connections"
  case frameTooLarge = "frame_too_large"
  case emptyFrame = "empty_frame"
  case frameTimeout = "frame_timeout"
  case idleTimeout = "idle_timeout"
}

/// What an `error` frame says: a code for programs, a sentence for people, and the facts of the case.
package struct DoorError: Error, Hashable, Sendable {
  /// A fact of the case, under its name in `details`.
  package enum Detail: Hashable, Sendable {
    case integer(Int64)
    case text(String)
  }

  package var code: DoorErrorCode
  package var message: String
  package var details: [String: Detail]

  package init(_ code: DoorErrorCode, _ message: String, details: [String: Detail] = [:]) {
    self.code = code
    self.message = message
    self.details = details
  }

  /// A request that is not as docs/protocol.md says; names the member at fault.
  static func invalidRequest(_ field: String, _ reason: String) -> DoorError {
    DoorError(.invalidRequest, "\"\(field)\" \(reason)", details: ["field": .text(field)])
  }

  func integer(_ name: String) -> Int64? {
    if case .integer(let value)? = details[name] { return value }
    return nil
  }

  func text(_ name: String) -> String? {
    if case .text(let value)? = details[name] { return value }
    return nil
  }
}

extension DoorError {
  /// The one place where the log's errors get their codes.
  package init(_ error: LogError) {
    let code: DoorErrorCode
    var details: [String: Detail] = [:]
    switch error {
    case .unknownTopic(let topic):
      code = .unknownTopic
      details["topic"] = .text(topic)
    case .unknownPartition(let topic, let partition, let partitions):
      code = .unknownPartition
      details = [
        "topic": .text(topic), "partition": .integer(Int64(partition)), "partitions": .integer(Int64(partitions)),
      ]
    case .topicExists(let topic):
      code = .topicExists
      details["topic"] = .text(topic)
    case .invalidTopicName(let topic):
      code = .invalidTopicName
      details["topic"] = .text(topic)
    case .invalidConfiguration(let setting, let reason):
      code = .invalidConfiguration
      details = ["setting": .text(setting), "reason": .text(reason)]
    case .offsetOutOfRange(let partition, let requested, let logStart, let highWatermark):
      code = .offsetOutOfRange
      details = [
        "topic": .text(partition.topic.text), "partition": .integer(Int64(partition.partition)),
        "requested": .integer(requested), "log_start": .integer(logStart), "high_watermark": .integer(highWatermark),
      ]
    case .invalidBatch(let problem):
      code = .invalidBatch
      details = ["reason": .text(problem.reason), "position": .integer(Int64(problem.position))]
    case .messageTooLarge(let bytes, let limit):
      code = .messageTooLarge
      details = ["bytes": .integer(Int64(bytes)), "limit": .integer(Int64(limit))]
    case .outOfOrderSequence(let producer, let expected, let got):
      code = .outOfOrderSequence
      details = [
        "producer_id": .integer(producer), "expected": .integer(Int64(expected)), "got": .integer(Int64(got)),
      ]
    case .fencedProducer(let producer, let epoch, let current):
      code = .fencedProducer
      details = [
        "producer_id": .integer(producer), "epoch": .integer(Int64(epoch)), "current": .integer(Int64(current)),
      ]
    case .unknownProducer(let producer):
      code = .unknownProducer
      details["producer_id"] = .integer(producer)
    case .backpressure(let queued, let limit):
      code = .backpressure
      details = ["bytes": .integer(Int64(queued)), "limit": .integer(Int64(limit))]
    case .logFull(let bytes, let limit):
      code = .logFull
      details = ["bytes": .integer(bytes), "limit": .integer(limit)]
    case .diskFull(let disk):
      code = .diskFull
      details = DoorError.details(of: disk)
    case .disk(let disk):
      code = .diskError
      details = DoorError.details(of: disk)
    case .corrupt(let partition, let file, let position, let reason):
      code = .corrupt
      details = [
        "topic": .text(partition.topic.text), "partition": .integer(Int64(partition.partition)), "file": .text(file),
        "position": .integer(position), "reason": .text(reason),
      ]
    case .shuttingDown: code = .shuttingDown
    case .unreachable: code = .upstreamUnreachable
    case .protocolViolation: code = .upstreamProtocol
    }
    self.init(code, error.description, details: details)
  }

  private static func details(of error: DiskError) -> [String: Detail] {
    ["operation": .text(error.operation), "path": .text(error.path), "errno": .integer(Int64(error.code))]
  }

  /// The log's error that the other side had, as far as its facts came along; what only a door can say becomes
  /// `protocolViolation` (our mistake) or `unreachable` (its state).
  package var logError: LogError {
    let topic = text("topic") ?? ""
    let partition = Int32(clamping: integer("partition") ?? 0)
    let topicPartition = TopicName(topic).map { TopicPartition(topic: $0, partition: partition) }
    switch code {
    case .unknownTopic: return .unknownTopic(topic)
    case .unknownPartition:
      return .unknownPartition(
        topic: topic, partition: partition, partitions: Int32(clamping: integer("partitions") ?? 0))
    case .topicExists: return .topicExists(topic)
    case .invalidTopicName: return .invalidTopicName(topic)
    case .invalidConfiguration:
      return .invalidConfiguration(setting: text("setting") ?? "", reason: text("reason") ?? message)
    case .offsetOutOfRange:
      guard let topicPartition, let requested = integer("requested"), let logStart = integer("log_start"),
        let highWatermark = integer("high_watermark")
      else { return .protocolViolation(message) }
      return .offsetOutOfRange(
        partition: topicPartition, requested: requested, logStart: logStart, highWatermark: highWatermark)
    case .invalidBatch:
      return .invalidBatch(
        InvalidBatch(reason: text("reason") ?? message, position: Int(clamping: integer("position") ?? 0)))
    case .messageTooLarge:
      return .messageTooLarge(bytes: Int(clamping: integer("bytes") ?? 0), limit: Int(clamping: integer("limit") ?? 0))
    case .outOfOrderSequence:
      return .outOfOrderSequence(
        producer: integer("producer_id") ?? -1, expected: Int32(clamping: integer("expected") ?? -1),
        got: Int32(clamping: integer("got") ?? -1))
    case .fencedProducer:
      return .fencedProducer(
        producer: integer("producer_id") ?? -1, epoch: Int16(clamping: integer("epoch") ?? -1),
        current: Int16(clamping: integer("current") ?? -1))
    case .unknownProducer: return .unknownProducer(integer("producer_id") ?? -1)
    case .backpressure:
      return .backpressure(
        queuedBytes: Int(clamping: integer("bytes") ?? 0), limit: Int(clamping: integer("limit") ?? 0))
    case .logFull: return .logFull(bytes: integer("bytes") ?? 0, limit: integer("limit") ?? 0)
    case .diskFull: return .diskFull(diskError(.noSpace))
    case .diskError: return .disk(diskError(.other))
    case .corrupt:
      guard let topicPartition else { return .protocolViolation(message) }
      return .corrupt(
        partition: topicPartition, file: text("file") ?? "", position: integer("position") ?? 0,
        reason: text("reason") ?? message)
    case .shuttingDown: return .shuttingDown
    case .upstreamUnreachable, .tooManyConnections, .frameTimeout, .idleTimeout: return .unreachable(message)
    case .frameTooLarge:
      return .messageTooLarge(bytes: Int(clamping: integer("bytes") ?? 0), limit: Int(clamping: integer("limit") ?? 0))
    case .upstreamProtocol, .invalidJSON, .unknownType, .invalidRequest, .partitionRequired, .unknownSubscription,
      .tooManySubscriptions, .tooManyFetches, .emptyFrame:
      return .protocolViolation(message)
    }
  }

  private func diskError(_ kind: DiskError.Kind) -> DiskError {
    DiskError(
      kind: kind, operation: text("operation") ?? "", path: text("path") ?? "",
      code: Int32(clamping: integer("errno") ?? 0))
  }

  package init(_ error: FrameError) {
    switch error {
    case .tooLarge(let bytes, let limit):
      self.init(
        .frameTooLarge, error.description, details: ["bytes": .integer(Int64(bytes)), "limit": .integer(Int64(limit))])
    case .empty: self.init(.emptyFrame, error.description)
    }
  }
}
