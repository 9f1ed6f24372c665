import ApusBroker
import ApusIO
import ApusService
import Logging

/// Writes what could not be read to the topic `<topic>.dead-letters`, as it came, with headers that say why and where
/// it was: `apus-reason`, `apus-partition`, `apus-offset`, `apus-collector`, beside the record's own.
///
/// A record is written before the store's position moves past it, so a crash may write it twice but never not at all.
struct DeadLetters {
  struct Letter {
    var record: Record
    var offset: Int64
    var reason: String
  }

  /// Dead letters in one batch.
  static let batchMax = 500

  private let source: TopicPartition
  private let topic: TopicName?
  private let collector: String
  private(set) var waiting: [Letter] = []

  init(source: TopicPartition, collector: String) {
    self.source = source
    self.collector = collector
    topic = TopicName(source.topic.text + ".dead-letters")
  }

  mutating func add(_ letter: Letter) { waiting.append(letter) }

  mutating func removeFirst(_ count: Int) { waiting.removeFirst(count) }

  /// The next letters as an append; nil when nothing waits, or the topic's name leaves no room for the suffix.
  func nextRequest(now: Int64) throws(LogError) -> (request: AppendRequest, count: Int)? {
    guard let topic, !waiting.isEmpty else { return nil }
    var builder = RecordBatchBuilder()
    let part = waiting.prefix(DeadLetters.batchMax)
    for letter in part {
      var record = letter.record
      record.timestamp = now
      record.headers += [
        RecordHeader(name: "apus-reason", value: Array(letter.reason.utf8)),
        RecordHeader(name: "apus-partition", value: Array("\(source)".utf8)),
        RecordHeader(name: "apus-offset", value: Array("\(letter.offset)".utf8)),
        RecordHeader(name: "apus-collector", value: Array(collector.utf8)),
      ]
      builder.append(record)
    }
    let partition = TopicPartition(topic: topic, partition: 0)
    return (AppendRequest(partition: partition, batch: try builder.finish()), part.count)
  }

  var hasTopic: Bool { topic != nil }
}
