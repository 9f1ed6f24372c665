import ApusBroker
import ApusIO
import ApusService

/// The state of a broker as `/stats` and `/metrics` show it: its topics, its log, and who reads how far behind.
package struct BrokerStatus: Sendable {
  private let statistics: @Sendable () -> LogStatistics
  private let subscribers: SubscriberRegistry
  private let metrics: BrokerMetrics

  /// - Parameter statistics: of the embedded log; called once a question, so it must be cheap.
  package init(
    statistics: @escaping @Sendable () -> LogStatistics, subscribers: SubscriberRegistry, metrics: BrokerMetrics
  ) {
    self.statistics = statistics
    self.subscribers = subscribers
    self.metrics = metrics
  }

  var statisticsNow: LogStatistics { statistics() }
  var subscribersNow: [SubscriberStatus] { subscribers.snapshot() }

  /// The document of `/stats`.
  package func json() -> [UInt8] {
    let log = statistics()
    let marks = BrokerStatus.highWatermarks(log)
    var json = JSONWriter(reserving: 4096)
    json.beginObject()
    json.key("topics")
    json.beginArray()
    for topic in log.topics { FrameWriter.topic(topic, &json) }
    json.endArray()
    json.key("subscribers")
    json.beginArray()
    for subscriber in subscribers.snapshot() { BrokerStatus.write(subscriber, marks, &json) }
    json.endArray()
    json.key("connections")
    json.integer(Int64(metrics.connections.value))
    json.key("messages_enqueued")
    json.integer(log.totals.messagesAppended)
    json.key("messages_delivered")
    json.integer(Int64(clamping: metrics.messagesDelivered.value))
    json.key("log")
    BrokerStatus.write(log, &json)
    json.endObject()
    return json.bytes
  }

  static func highWatermarks(_ log: LogStatistics) -> [TopicPartition: Int64] {
    var marks: [TopicPartition: Int64] = [:]
    for topic in log.topics {
      for partition in topic.partitions {
        marks[TopicPartition(topic: topic.name, partition: partition.index)] = partition.highWatermark
      }
    }
    return marks
  }

  /// How many messages each partition of a subscription is behind.
  static func lags(
    _ subscriber: SubscriberStatus, _ marks: [TopicPartition: Int64]
  ) -> [(partition: Int32, offset: Int64, lag: Int64)] {
    subscriber.positions.sorted { $0.key < $1.key }.map { partition, offset in
      let mark = marks[TopicPartition(topic: subscriber.topic, partition: partition)] ?? offset
      return (partition, offset, max(0, mark - offset))
    }
  }

  private static func write(
    _ subscriber: SubscriberStatus, _ marks: [TopicPartition: Int64], _ json: inout JSONWriter
  ) {
    json.beginObject()
    json.key("client")
    json.string(subscriber.client)
    json.key("subscription")
    json.integer(subscriber.number)
    json.key("topic")
    json.string(subscriber.topic.text)
    json.key("format")
    json.string(subscriber.format)
    if let messages = subscriber.credit.messages {
      json.key("credit_messages")
      json.integer(messages)
    }
    if let bytes = subscriber.credit.bytes {
      json.key("credit_bytes")
      json.integer(bytes)
    }
    json.key("partitions")
    json.beginArray()
    for (partition, offset, lag) in lags(subscriber, marks) {
      json.beginObject()
      json.key("partition")
      json.integer(Int64(partition))
      json.key("offset")
      json.integer(offset)
      json.key("lag")
      json.integer(lag)
      json.endObject()
    }
    json.endArray()
    json.endObject()
  }

  private static func write(_ log: LogStatistics, _ json: inout JSONWriter) {
    let numbers: [(StaticString, Int64)] = [
      ("messages_appended", log.totals.messagesAppended), ("batches_appended", log.totals.batchesAppended),
      ("bytes_appended", log.totals.bytesAppended), ("duplicate_messages", log.totals.duplicateMessages),
      ("turns", log.totals.turns), ("syncs", log.totals.syncs), ("segments_rolled", log.totals.segmentsRolled),
      ("segments_dropped", log.totals.segmentsDropped), ("write_failures", log.totals.writeFailures),
      ("sync_failures", log.totals.syncFailures), ("disk_full_events", log.totals.diskFullEvents),
      ("log_full_events", log.totals.logFullEvents), ("messages_read", log.messagesRead),
      ("bytes_read", log.bytesRead), ("corrupt_reads", log.corruptReads),
      ("queued_bytes", Int64(log.queuedBytes)), ("queued_bytes_max", Int64(log.queueBytesMax)),
      ("long_polls", Int64(log.longPolls)), ("open_files", Int64(log.openFiles)),
      ("torn_tails", Int64(log.recovery.tornTails)), ("corruptions", Int64(log.recovery.corruptions)),
    ]
    json.beginObject()
    for (name, value) in numbers {
      json.key(name)
      json.integer(value)
    }
    if let problem = log.writeProblem {
      json.key("write_problem")
      json.string(problem)
    }
    json.endObject()
  }
}
