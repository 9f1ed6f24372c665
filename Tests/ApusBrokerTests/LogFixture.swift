import ApusBroker
import ApusIO
import ApusTestKit

/// A log core over a simulated disk and a clock that stands still, with the few calls that the tests repeat.
struct LogFixture {
  let disk: SimulatedDisk
  let clock: ManualClock
  var configuration = EmbeddedLog.Configuration()
  let topic = TopicName("t")!

  init(seed: UInt64 = 1, _ change: (inout EmbeddedLog.Configuration) -> Void = { _ in }) {
    disk = SimulatedDisk(seed: seed)
    clock = ManualClock()
    configuration.segmentBytes = 4096
    configuration.tailBytes = 0
    change(&configuration)
  }

  var partition: TopicPartition { TopicPartition(topic: topic, partition: 0) }

  func open() throws(LogError) -> LogCore {
    try LogCore(disk: disk, clock: clock, configuration: configuration)
  }

  func batch(
    _ values: [String], timestamp: Int64? = nil, producer: ProducerIdentity? = nil, sequence: Int32 = -1
  ) throws -> RecordBatch {
    var builder = RecordBatchBuilder()
    for value in values { builder.append(Record(timestamp: timestamp ?? clock.now, value: Array(value.utf8))) }
    return try builder.finish(producer: producer, baseSequence: sequence)
  }

  /// A batch of one record of about so many bytes.
  func filler(_ name: String, bytes: Int = 1000) throws -> RecordBatch {
    try batch([name + String(repeating: ".", count: bytes - 75)])
  }

  @discardableResult
  func append(_ core: LogCore, _ batch: RecordBatch) throws -> AppendReceipt {
    try core.append([AppendRequest(partition: partition, batch: batch)])[0].get()
  }

  /// The values without their filling, by offset, from the log's start.
  func readAll(_ core: LogCore) throws -> [Int64: String] {
    var found: [Int64: String] = [:]
    var offset = try core.reader.offset(of: .earliest, in: partition)
    while true {
      let slice = try core.reader.read(partition, from: offset, maxBytes: 1 << 20)
      if slice.batches.isEmpty { return found }
      for batch in slice.batches {
        try batch.forEachRecord { record in
          let text = record.value.map { String(decoding: $0, as: UTF8.self) } ?? ""
          found[record.offset] = String(text.prefix { $0 != "." })
        }
        offset = batch.nextOffset
      }
    }
  }

  func segmentPath(_ base: Int64, _ suffix: String = "log") -> String {
    let digits = String(base)
    return "log/topics/t/0/" + String(repeating: "0", count: 20 - digits.count) + digits + "." + suffix
  }

  func files(_ suffix: String) throws -> [String] {
    try disk.list("log/topics/t/0").filter { $0.hasSuffix("." + suffix) }.sorted()
  }

  /// The log's error that a call ends with; nil when it succeeds.
  static func refusal(_ body: () throws -> Void) -> LogError? {
    do { try body() } catch { return error as? LogError }
    return nil
  }
}
