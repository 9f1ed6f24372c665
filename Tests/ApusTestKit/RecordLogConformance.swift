import ApusBroker
import ApusIO
import Testing

/// What every form of `RecordLog` must do. Each check makes topics of its own, so that one log can serve them all.
///
/// A form runs it as one parameterised test:
///
/// ```swift
/// @Test(arguments: RecordLogConformance.checks)
/// func conforms(_ check: RecordLogConformance.Check) async throws {
///   try await RecordLogConformance(log: myLog, prefix: "mine").run(check)
/// }
/// ```
package struct RecordLogConformance: Sendable {
  package enum Check: String, CaseIterable, Sendable {
    case appendAndRead
    case offsetsAreDense
    case partitionsAreApart
    case unknownTopicIsRefused
    case topicsAreListed
    case deletedTopicIsGone
    case offsetOutOfRange
    case readerWaitsForRecords
    case waitingEndsEmpty
    case repeatedBatchIsKnown
    case sequencesAreChecked
    case producersAreDistinct
    case offsetsByTime
    case answersAreBounded
    case compressedBatchesComeBack
    case manyProducersAtOnce
  }

  package static let checks = Check.allCases

  let log: any RecordLog
  let prefix: String

  /// `prefix` begins the names of the topics, so that several runs on one log do not meet.
  package init(log: any RecordLog, prefix: String) {
    self.log = log
    self.prefix = prefix
  }

  package func run(_ check: Check) async throws {
    let topic = try #require(TopicName("\(prefix)-\(check.rawValue)"))
    switch check {
    case .appendAndRead: try await appendAndRead(topic)
    case .offsetsAreDense: try await offsetsAreDense(topic)
    case .partitionsAreApart: try await partitionsAreApart(topic)
    case .unknownTopicIsRefused: try await unknownTopicIsRefused(topic)
    case .topicsAreListed: try await topicsAreListed(topic)
    case .deletedTopicIsGone: try await deletedTopicIsGone(topic)
    case .offsetOutOfRange: try await offsetOutOfRange(topic)
    case .readerWaitsForRecords: try await readerWaitsForRecords(topic)
    case .waitingEndsEmpty: try await waitingEndsEmpty(topic)
    case .repeatedBatchIsKnown: try await repeatedBatchIsKnown(topic)
    case .sequencesAreChecked: try await sequencesAreChecked(topic)
    case .producersAreDistinct: try await producersAreDistinct()
    case .offsetsByTime: try await offsetsByTime(topic)
    case .answersAreBounded: try await answersAreBounded(topic)
    case .compressedBatchesComeBack: try await compressedBatchesComeBack(topic)
    case .manyProducersAtOnce: try await manyProducersAtOnce(topic)
    }
  }

  // MARK: Helpers

  private func partition(_ topic: TopicName, _ index: Int32 = 0) -> TopicPartition {
    TopicPartition(topic: topic, partition: index)
  }

  private func batch(
    _ values: [String], timestamp: Int64 = 1000, compression: Compression = .none, producer: ProducerIdentity? = nil,
    sequence: Int32 = -1
  ) throws -> RecordBatch {
    var builder = RecordBatchBuilder(compression: compression)
    for value in values { builder.append(Record(timestamp: timestamp, value: Array(value.utf8))) }
    return try builder.finish(producer: producer, baseSequence: sequence)
  }

  @discardableResult
  private func append(_ partition: TopicPartition, _ batch: RecordBatch) async throws -> AppendReceipt {
    let results = await log.append([AppendRequest(partition: partition, batch: batch)])
    return try #require(results.first).get()
  }

  /// All records from an offset to the high watermark, as offset and value.
  private func readAll(_ partition: TopicPartition, from start: Int64 = 0) async throws -> [(Int64, String)] {
    var found: [(Int64, String)] = []
    var offset = start
    while true {
      let slice = try await log.read(partition, from: offset, maxBytes: 1 << 20, waiting: .zero)
      if slice.batches.isEmpty { return found }
      for batch in slice.batches {
        try batch.forEachRecord { record in
          guard record.offset >= offset else { return }
          found.append((record.offset, record.value.map { String(decoding: $0, as: UTF8.self) } ?? ""))
        }
        offset = max(offset, batch.nextOffset)
      }
    }
  }

  private func expect(
    _ expected: String, _ matches: (LogError) -> Bool, _ body: () async throws -> Void
  ) async {
    do {
      try await body()
      Issue.record("\(expected) was expected, and nothing was thrown")
    } catch let error as LogError {
      if !matches(error) { Issue.record("\(expected) was expected, not: \(error)") }
    } catch {
      Issue.record("\(expected) was expected, not: \(error)")
    }
  }

  // MARK: The checks

  private func appendAndRead(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    let headers = [RecordHeader(name: "content-type", value: Array("text/plain".utf8))]
    let records = [
      Record(timestamp: -1, key: Array("k".utf8), value: Array("v".utf8), headers: headers),
      Record(timestamp: 1_700_000_000_000, key: nil, value: nil),
      Record(timestamp: 0, key: [], value: []),
    ]
    var builder = RecordBatchBuilder()
    for record in records { builder.append(record) }
    let receipt = try await append(partition(topic), try builder.finish())
    #expect(receipt == AppendReceipt(baseOffset: 0, recordCount: 3, isDuplicate: false))
    let slice = try await log.read(partition(topic), from: 0, maxBytes: 1 << 20, waiting: .seconds(5))
    #expect(slice.highWatermark == 3)
    #expect(slice.logStart == 0)
    #expect(try slice.batches.flatMap { try $0.records() } == records)
  }

  private func offsetsAreDense(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    var requests: [AppendRequest] = []
    for number in 0..<20 {
      requests.append(
        AppendRequest(partition: partition(topic), batch: try batch((0...number).map { "\(number).\($0)" })))
    }
    var next: Int64 = 0
    for (number, result) in await log.append(requests).enumerated() {
      let receipt = try result.get()
      #expect(receipt.baseOffset == next)
      #expect(receipt.recordCount == number + 1)
      next = receipt.nextOffset
    }
    let found = try await readAll(partition(topic))
    #expect(found.map(\.0) == Array(0..<next))
    #expect(found.map(\.1) == (0..<20).flatMap { number in (0...number).map { "\(number).\($0)" } })
    // From the middle of a batch: the records before are the caller's to skip.
    let middle = try await readAll(partition(topic), from: 100)
    #expect(middle.map(\.0) == Array(100..<next))
  }

  private func partitionsAreApart(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration(partitions: 3))
    for index in 0..<Int32(3) {
      for round in 0...index { try await append(partition(topic, index), try batch(["p\(index) r\(round)"])) }
    }
    for index in 0..<Int32(3) {
      #expect(try await readAll(partition(topic, index)).map(\.1) == (0...index).map { "p\(index) r\($0)" })
    }
    await expect("an unknown partition", { if case .unknownPartition = $0 { true } else { false } }) {
      try await append(partition(topic, 3), try batch(["x"]))
    }
    await expect("an unknown partition", { if case .unknownPartition = $0 { true } else { false } }) {
      _ = try await log.read(partition(topic, 3), from: 0, maxBytes: 100, waiting: .zero)
    }
  }

  private func unknownTopicIsRefused(_ topic: TopicName) async throws {
    await expect("an unknown topic", { if case .unknownTopic = $0 { true } else { false } }) {
      _ = try await log.read(partition(topic), from: 0, maxBytes: 100, waiting: .zero)
    }
    await expect("an unknown topic", { if case .unknownTopic = $0 { true } else { false } }) {
      _ = try await log.offset(of: .latest, in: partition(topic))
    }
    await expect("an unknown topic", { if case .unknownTopic = $0 { true } else { false } }) {
      try await log.deleteTopic(topic)
    }
  }

  private func topicsAreListed(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration(partitions: 2))
    await expect("that the topic exists", { if case .topicExists = $0 { true } else { false } }) {
      try await log.createTopic(topic, TopicConfiguration())
    }
    try await append(partition(topic, 1), try batch(["a", "b"]))
    let all = try await log.topics()
    #expect(all.map(\.name) == all.map(\.name).sorted())
    let found = try #require(all.first { $0.name == topic })
    #expect(found.partitions.map(\.index) == [0, 1])
    #expect(found.partitions.map(\.highWatermark) == [0, 2])
    #expect(found.partitions.map(\.logStart) == [0, 0])
  }

  private func deletedTopicIsGone(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    try await append(partition(topic), try batch(["old"]))
    try await log.deleteTopic(topic)
    #expect(try await log.topics().contains { $0.name == topic } == false)
    try await log.createTopic(topic, TopicConfiguration())
    #expect(try await readAll(partition(topic)).isEmpty)
    #expect(try await append(partition(topic), try batch(["new"])).baseOffset == 0)
  }

  private func offsetOutOfRange(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    try await append(partition(topic), try batch(["a", "b"]))
    for offset in [Int64(-1), 3, .max] {
      await expect("an offset out of range", { if case .offsetOutOfRange = $0 { true } else { false } }) {
        _ = try await log.read(partition(topic), from: offset, maxBytes: 100, waiting: .zero)
      }
    }
    #expect(try await log.read(partition(topic), from: 2, maxBytes: 100, waiting: .zero).batches.isEmpty)
  }

  private func readerWaitsForRecords(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    let partition = partition(topic)
    let log = log
    try await withThrowingTaskGroup(of: [String].self) { group in
      for _ in 0..<3 {
        group.addTask {
          // Far longer than any run: what ends the wait is the record.
          let slice = try await log.read(partition, from: 0, maxBytes: 1000, waiting: .seconds(600))
          return try slice.batches.flatMap { try $0.records() }.map { String(decoding: $0.value ?? [], as: UTF8.self) }
        }
      }
      try await append(partition, try batch(["here"]))
      for try await found in group { #expect(found == ["here"]) }
    }
  }

  private func waitingEndsEmpty(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    let slice = try await log.read(partition(topic), from: 0, maxBytes: 1000, waiting: .milliseconds(20))
    #expect(slice.batches.isEmpty)
    #expect(slice.highWatermark == 0)
    // A cancelled wait ends as well; the duration is far beyond any run.
    let partition = partition(topic)
    let waiting = Task { [log] in try await log.read(partition, from: 0, maxBytes: 1000, waiting: .seconds(600)) }
    waiting.cancel()
    _ = await waiting.result
  }

  private func repeatedBatchIsKnown(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    let producer = try await log.registerProducer()
    var batches: [RecordBatch] = []
    var first: [AppendReceipt] = []
    for number in 0..<5 {
      let batch = try batch(["\(number)a", "\(number)b"], producer: producer, sequence: Int32(number * 2))
      batches.append(batch)
      first.append(try await append(partition(topic), batch))
    }
    for (batch, receipt) in zip(batches, first) {
      let again = try await append(partition(topic), batch)
      #expect(again.isDuplicate)
      #expect(again.baseOffset == receipt.baseOffset)
      #expect(again.recordCount == receipt.recordCount)
    }
    // Twice in one call.
    let twin = try batch(["twin"], producer: producer, sequence: 10)
    let results = await log.append([
      AppendRequest(partition: partition(topic), batch: twin), AppendRequest(partition: partition(topic), batch: twin),
    ])
    #expect(try results.map { try $0.get().baseOffset } == [10, 10])
    #expect(try results.map { try $0.get().isDuplicate } == [false, true])
    #expect(try await readAll(partition(topic)).count == 11)
  }

  private func sequencesAreChecked(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    let producer = try await log.registerProducer()
    try await append(partition(topic), try batch(["a"], producer: producer, sequence: 0))
    await expect("an out-of-order sequence", { if case .outOfOrderSequence = $0 { true } else { false } }) {
      try await append(partition(topic), try batch(["c"], producer: producer, sequence: 2))
    }
    let next = ProducerIdentity(id: producer.id, epoch: producer.epoch + 1)
    try await append(partition(topic), try batch(["b"], producer: next, sequence: 0))
    await expect("a fenced producer", { if case .fencedProducer = $0 { true } else { false } }) {
      try await append(partition(topic), try batch(["x"], producer: producer, sequence: 1))
    }
    #expect(try await readAll(partition(topic)).map(\.1) == ["a", "b"])
  }

  private func producersAreDistinct() async throws {
    var seen: Set<Int64> = []
    for _ in 0..<50 { #expect(seen.insert(try await log.registerProducer().id).inserted) }
  }

  private func offsetsByTime(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    // The fourth is older than the third: the answer goes by offset, not by time.
    for (number, timestamp) in [Int64(100), 200, 300, 250, 400].enumerated() {
      try await append(partition(topic), try batch(["\(number)"], timestamp: timestamp))
    }
    let expected: [(OffsetPosition, Int64)] = [
      (.earliest, 0), (.latest, 5), (.timestamp(0), 0), (.timestamp(100), 0), (.timestamp(101), 1),
      (.timestamp(250), 2), (.timestamp(300), 2), (.timestamp(301), 4), (.timestamp(400), 4), (.timestamp(401), 5),
    ]
    for (position, offset) in expected {
      #expect(try await log.offset(of: position, in: partition(topic)) == offset, "\(position)")
    }
  }

  private func answersAreBounded(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    let large = String(repeating: "x", count: 10_000)
    for number in 0..<10 { try await append(partition(topic), try batch(["\(number)" + large])) }
    let first = try await log.read(partition(topic), from: 0, maxBytes: 1, waiting: .zero)
    #expect(first.batches.count == 1, "at least one batch, however small the bound")
    let some = try await log.read(partition(topic), from: 0, maxBytes: 35_000, waiting: .zero)
    #expect(some.batches.reduce(0) { $0 + $1.bytes.count } <= 35_000)
    #expect(!some.batches.isEmpty)
    #expect(try await readAll(partition(topic)).map { String($0.1.prefix(1)) } == (0..<10).map { "\($0)" })
  }

  private func compressedBatchesComeBack(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration())
    let values = (0..<500).map { "the same words again and again \($0 % 3)" }
    for codec in [Compression.none, .gzip, .lz4, .zstd] {
      try await append(partition(topic), try batch(values, compression: codec))
    }
    #expect(try await readAll(partition(topic)).map(\.1) == values + values + values + values)
  }

  private func manyProducersAtOnce(_ topic: TopicName) async throws {
    try await log.createTopic(topic, TopicConfiguration(partitions: 2))
    let producers = 8
    let rounds = 25
    try await withThrowingTaskGroup(of: Void.self) { group in
      for number in 0..<producers {
        group.addTask {
          let identity = try await log.registerProducer()
          for round in 0..<rounds {
            let batch = try batch(["\(number):\(round)"], producer: identity, sequence: Int32(round))
            try await append(partition(topic, Int32(number % 2)), batch)
          }
        }
      }
      try await group.waitForAll()
    }
    for index in 0..<Int32(2) {
      let found = try await readAll(partition(topic, index)).map(\.1)
      for number in 0..<producers where number % 2 == Int(index) {
        let own = found.filter { $0.hasPrefix("\(number):") }
        #expect(own == (0..<rounds).map { "\(number):\($0)" }, "each producer's records in its order, once")
      }
      #expect(found.count == producers / 2 * rounds)
    }
  }
}
