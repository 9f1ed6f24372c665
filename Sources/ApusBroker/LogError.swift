import ApusIO

/// Why the log refused or failed. Each door translates these into its own codes in one exhaustive switch.
package enum LogError: Error, Sendable {
  case unknownTopic(String)
  case unknownPartition(topic: String, partition: Int32, partitions: Int32)
  case topicExists(String)
  case invalidTopicName(String)
  /// A setting of a topic that cannot be; the reason as a clause.
  case invalidConfiguration(setting: String, reason: String)
  case offsetOutOfRange(partition: TopicPartition, requested: Int64, logStart: Int64, highWatermark: Int64)
  /// A batch that is not a valid record batch: what is wrong with it, at which byte.
  case invalidBatch(InvalidBatch)
  case messageTooLarge(bytes: Int, limit: Int)
  /// The producer's sequence does not follow the last one (Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER).
  case outOfOrderSequence(producer: Int64, expected: Int32, got: Int32)
  /// A newer holder of the producer's id has registered.
  case fencedProducer(producer: Int64, epoch: Int16, current: Int16)
  case unknownProducer(Int64)
  /// More bytes wait to be made durable than the bound allows; try again later.
  case backpressure(queuedBytes: Int, limit: Int)
  /// The retention's size bound is reached and nothing may be dropped yet, because no store covers it.
  case logFull(bytes: Int64, limit: Int64)
  /// The disk is full. Readers go on; writing resumes when space returns.
  case diskFull(DiskError)
  case disk(DiskError)
  /// Stored bytes do not match their checksum. They are never served.
  case corrupt(partition: TopicPartition, file: String, position: Int64, reason: String)
  case shuttingDown
  /// The broker on the other side of a connection cannot be reached or went away; the sentence says why.
  case unreachable(String)
  /// The other side answered something that its protocol does not allow.
  case protocolViolation(String)
}

/// What is wrong with a record batch.
package struct InvalidBatch: Hashable, Sendable {
  package var reason: String
  /// Bytes from the start of the batch.
  package var position: Int

  package init(reason: String, position: Int) {
    self.reason = reason
    self.position = position
  }
}

extension LogError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unknownTopic(let name):
      "there is no topic \"\(name)\"; create it with: apus topics create \(name)"
    case .unknownPartition(let topic, let partition, let partitions):
      "topic \"\(topic)\" has no partition \(partition); it has 0 to \(partitions - 1)"
    case .topicExists(let name): "there is a topic \"\(name)\" already"
    case .invalidTopicName(let name):
      "\"\(name)\" cannot be a topic's name; use 1 to 249 of the characters a-z A-Z 0-9 . _ -"
    case .invalidConfiguration(let setting, let reason): "\(setting) \(reason)"
    case .offsetOutOfRange(let partition, let requested, let logStart, let highWatermark):
      "\(partition) has no offset \(requested); it has \(logStart) to \(highWatermark)"
    case .invalidBatch(let problem): "invalid record batch: \(problem.reason), at byte \(problem.position)"
    case .messageTooLarge(let bytes, let limit): "the batch has \(bytes) bytes; the limit is \(limit)"
    case .outOfOrderSequence(let producer, let expected, let got):
      "producer \(producer) sent sequence \(got) where \(expected) was expected"
    case .fencedProducer(let producer, let epoch, let current):
      "producer \(producer) with epoch \(epoch) was replaced by one with epoch \(current)"
    case .unknownProducer(let id): "producer \(id) is not known here; register again"
    case .backpressure(let queued, let limit):
      "\(queued) bytes wait to be made durable, the limit is \(limit); try again in a moment"
    case .logFull(let bytes, let limit):
      "the log holds \(bytes) bytes that no store has taken in yet and the limit is \(limit);"
        + " start the collector or raise --log-retention-size"
    case .diskFull(let error): error.description
    case .disk(let error): error.description
    case .corrupt(let partition, let file, let position, let reason):
      "\(partition): \(file) is corrupt at byte \(position): \(reason)"
    case .shuttingDown: "the log is shutting down"
    case .unreachable(let reason): reason
    case .protocolViolation(let reason): "the broker's answer is not understood: \(reason)"
    }
  }
}
