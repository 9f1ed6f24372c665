// Goal: the decisions of publishing, each without a log: buffer, set ledger, sequences, rounds, outbox, set changes.
// Method: event tables against the pure parts.
import ApusBroker
import ApusFormats
import ApusIO
import ApusModel
import ApusTestKit
import Testing

@testable import ApusPipeline

@Suite struct PublishingCoreTests {
  static func items(_ count: Int, from first: Int = 0) -> SourceBatch {
    let set = TinyFleet.set(host: 0)
    return SourceBatch(
      items: (first..<first + count).map {
        TelemetryItem(key: [0], content: .scrape(TinyFleet.scrape(set, second: $0, value: Double($0))))
      }, rows: count * 3, position: SourcePosition(bytes: [UInt8(first + count)]))
  }

  static func seconds(_ entries: [StreamBuffer.Entry]) -> [Int] {
    entries.compactMap { entry in
      guard case .scrape(let scrape)? = entry.item?.content else { return nil }
      return Int((scrape.timestamp.milliseconds - 1_000_000) / 1000)
    }
  }

  @Test func aBufferKeepsOrderAndCounts() {
    var buffer = StreamBuffer(limits: StreamBuffer.Limits(samplesMax: 30, bytesMax: 1 << 20))
    buffer.push(Self.items(4), source: 0, isLive: false, at: 1)
    buffer.push(SourceBatch(items: [], rows: 1, position: SourcePosition(bytes: [9])), source: 0, isLive: false, at: 2)
    #expect(buffer.count == 5 && buffer.samples == 12)
    let first = buffer.take(maxBytes: 1, maxCount: 10)
    #expect(Self.seconds(first) == [0])
    let more = buffer.take(maxBytes: 1 << 20, maxCount: 2)
    #expect(Self.seconds(more) == [1, 2])
    buffer.putBack(more)
    let rest = buffer.take(maxBytes: 1 << 20, maxCount: 10)
    #expect(Self.seconds(rest) == [1, 2, 3])
    #expect(rest.map { $0.position?.position.bytes } == [nil, nil, [4], [9]])
    #expect(buffer.isEmpty && buffer.samples == 0 && buffer.bytes == 0)
  }

  @Test func aFullBufferDropsTheOldestLiveItemsOnly() {
    var buffer = StreamBuffer(limits: StreamBuffer.Limits(samplesMax: 12, bytesMax: 1 << 20))
    buffer.push(Self.items(2), source: 0, isLive: false, at: 1)
    buffer.push(Self.items(4, from: 10), source: 1, isLive: true, at: 1)
    #expect(buffer.isFull)
    let dropped = buffer.dropOldestLive()
    #expect(dropped == 9)
    #expect(Self.seconds(buffer.take(maxBytes: 1 << 20, maxCount: 10)) == [0, 1, 13])
  }

  @Test func aLedgerAsksForCopiesByAgeAndByBytes() {
    var ledger = SetLedger(limits: SetLedger.Limits(maxAgeMilliseconds: 1000, maxBytes: 100, setsMax: 10))
    let id = TinyFleet.set(host: 0).id
    let found1 = ledger.advice(for: id, in: 0, now: 0)
    #expect(found1 == .missing)
    ledger.acknowledge(id, in: 0, offset: 7, now: 0)
    let found2 = ledger.advice(for: id, in: 0, now: 999)
    #expect(found2 == .known(offset: 7))
    let found3 = ledger.advice(for: id, in: 1, now: 0)
    #expect(found3 == .missing)
    let found4 = ledger.advice(for: id, in: 0, now: 1000)
    #expect(found4 == .due(offset: 7))
    ledger.count(bytes: 99, in: 0)
    let found5 = ledger.advice(for: id, in: 0, now: 1)
    #expect(found5 == .known(offset: 7))
    ledger.count(bytes: 1, in: 0)
    let found6 = ledger.advice(for: id, in: 0, now: 1)
    #expect(found6 == .due(offset: 7))
    ledger.acknowledge(id, in: 0, offset: 20, now: 1)
    let found7 = ledger.advice(for: id, in: 0, now: 1)
    #expect(found7 == .known(offset: 20))
    ledger.forgetAll()
    let found8 = ledger.advice(for: id, in: 0, now: 1)
    #expect(found8 == .missing)
  }

  @Test func aLedgerIsBounded() {
    var ledger = SetLedger(limits: SetLedger.Limits(setsMax: 10))
    let ids = (0..<25).map { TinyFleet.set(host: $0).id }
    for (offset, id) in ids.enumerated() { ledger.acknowledge(id, in: 0, offset: Int64(offset), now: 0) }
    #expect(ledger.setCount <= 10)
    let found9 = ledger.advice(for: ids[24], in: 0, now: 0)
    #expect(found9 == .known(offset: 24))
    let found10 = ledger.advice(for: ids[0], in: 0, now: 0)
    #expect(found10 == .missing)
  }

  @Test func sequencesCountByPartitionAndWrap() {
    var state = ProducerState(identity: ProducerIdentity(id: 1, epoch: 0))
    let found11 = state.take(5, in: 0)
    #expect(found11 == 0)
    let found12 = state.take(2, in: 0)
    #expect(found12 == 5)
    let found13 = state.take(2, in: 1)
    #expect(found13 == 0)
    state.sequences[0] = .max
    let found14 = state.take(2, in: 0)
    #expect(found14 == .max)
    let found15 = state.take(1, in: 0)
    #expect(found15 == 1)
    state.replace(with: ProducerIdentity(id: 2, epoch: 0))
    let found16 = state.take(1, in: 0)
    #expect(found16 == 0)
  }

  @Test func changesOfAHostsSetsAreLimited() {
    var limiter = SetChangeLimiter()
    let ids = (0..<100).map { TinyFleet.set(host: 0, generation: $0).id }
    func admit(_ index: Int, _ key: UInt8, _ now: Int64) -> Bool { limiter.admit(ids[index], from: [key], now: now) }
    var admitted = [admit(0, 1, 0)]
    for _ in 0..<10 { admitted += [admit(1, 1, 0), admit(0, 1, 0)] }
    #expect(admitted.allSatisfy { $0 } && limiter.changes == 1)
    let others = (2..<100).count { admit($0, 1, 0) }
    #expect(others == SetChangeLimiter.changesPerMinuteMax - 2)
    let later = [admit(99, 2, 0), admit(99, 1, 60_000)]
    #expect(later == [true, true])
  }

  @Test func setsGoBeforeScrapesAndAgainWhenDue() throws {
    let topic = try #require(TopicName("t"))
    var builder = RoundBuilder(
      topic: topic, partitions: 1, encoding: .frame, compression: .none,
      limits: RoundBuilder.Limits(batchBytesMax: 1 << 20, batchRecordsMax: 100),
      setLimits: SetLedger.Limits(maxAgeMilliseconds: 1000))
    var producer = ProducerState(identity: ProducerIdentity(id: 1, epoch: 0))
    var buffer = StreamBuffer(limits: StreamBuffer.Limits(samplesMax: 1000, bytesMax: 1 << 20))
    buffer.push(Self.items(3), source: 0, isLive: false, at: 0)
    let entries = buffer.take(maxBytes: 1 << 20, maxCount: 10)[...]
    let early = try builder.dataRound(for: entries, producer: &producer, now: 0)
    #expect(early.entries == 0 && early.requests.isEmpty)
    let firstSets = try builder.setRound(for: entries, producer: &producer, now: 0)
    let sets = try #require(firstSets)
    #expect(sets.copies.count == 1 && sets.records == 1)
    builder.acknowledge(
      sets, receipts: [0: AppendReceipt(baseOffset: 40, recordCount: 1, isDuplicate: false)], now: 0)
    let noSets = try builder.setRound(for: entries, producer: &producer, now: 0)
    #expect(noSets?.records == nil)
    let data = try builder.dataRound(for: entries, producer: &producer, now: 0)
    #expect(data.entries == 3 && data.records == 3 && data.copies.isEmpty)
    #expect(data.requests[0].batch.baseSequence == 1)
    let header = try #require(
      try data.requests[0].batch.records()[0].value?.withUnsafeBytes { ScrapeRecord.peek($0) })
    #expect(header.setOffset == 40)
    let later = try builder.dataRound(for: entries, producer: &producer, now: 1000)
    #expect(later.records == 4 && later.copies.count == 1)
  }

  @Test func aBatchIsClosedAtItsBounds() throws {
    let topic = try #require(TopicName("t"))
    var builder = RoundBuilder(
      topic: topic, partitions: 1, encoding: .json, compression: .none,
      limits: RoundBuilder.Limits(batchBytesMax: 4096, batchRecordsMax: 3))
    var producer = ProducerState()
    var buffer = StreamBuffer(limits: StreamBuffer.Limits(samplesMax: 1000, bytesMax: 1 << 20))
    buffer.push(Self.items(8), source: 0, isLive: false, at: 0)
    var rest = buffer.take(maxBytes: 1 << 20, maxCount: 100)[...]
    var sizes: [Int] = []
    while !rest.isEmpty {
      let round = try builder.dataRound(for: rest, producer: &producer, now: 0)
      #expect(round.requests[0].batch.bytes.count <= 4096)
      sizes.append(round.entries)
      rest = rest.dropFirst(round.entries)
    }
    #expect(sizes.reduce(0, +) == 8 && sizes.allSatisfy { $0 >= 1 && $0 <= 3 })
  }

  @Test func aScrapeTooLargeForABatchIsSplitOrLeftOut() throws {
    let set = TinyFleet.set(host: 0, series: 600)
    let item = TelemetryItem(key: [0], content: .scrape(TinyFleet.scrape(set, second: 0, value: 1)))
    for encoding in Encoding.allCases {
      var encoder = RecordValueEncoder(encoding: encoding)
      let records = encoder.encode(item, setOffset: 1, asSamples: true, bytesMax: 4096)
      let parts = try #require(records, "\(encoding)")
      #expect(parts.count > 3 && parts.allSatisfy { $0.count <= 4096 })
    }
    var frames = RecordValueEncoder(encoding: .frame)
    let whole = frames.encode(item, setOffset: 1, asSamples: false, bytesMax: 4096)
    #expect(whole == nil)
  }

  @Test func anOutboxComesBackAsItWas() throws {
    let disk = SimulatedDisk(seed: 1)
    let outbox = Outbox(disk: disk, path: "outbox")
    #expect(try outbox.load() == nil)
    var builder = RecordBatchBuilder()
    builder.append(Record(timestamp: 1, key: [2], value: [3]))
    var state = Outbox.State()
    state.producer = ProducerState(identity: ProducerIdentity(id: 5, epoch: 2))
    state.producer.sequences = [0: 7, 3: .max]
    state.positions = ["a": SourcePosition(bytes: [1, 2]), "b": SourcePosition(bytes: [])]
    let batch = try builder.finish(producer: state.producer.identity, baseSequence: 6)
    let topic = try #require(TopicName("t"))
    state.pending = [AppendRequest(partition: TopicPartition(topic: topic, partition: 3), batch: batch)]
    try outbox.save(state)
    let loaded = try #require(try outbox.load())
    #expect(loaded.producer == state.producer && loaded.positions == state.positions)
    #expect(loaded.pending.map { $0.partition } == state.pending.map { $0.partition })
    #expect(loaded.pending.map { $0.batch.bytes } == [batch.bytes])
  }

  @Test func aDamagedOutboxIsRefused() throws {
    var state = Outbox.State()
    state.positions = ["a": SourcePosition(bytes: [1, 2, 3])]
    let bytes = Outbox.encode(state)
    for length in 0..<bytes.count {
      #expect(throws: PipelineError.self, "cut at \(length)") {
        try Outbox.decode(Array(bytes[..<length]), path: "outbox")
      }
    }
    for position in bytes.indices {
      var damaged = bytes
      damaged[position] ^= 0x10
      #expect(throws: PipelineError.self, "flipped at \(position)") { try Outbox.decode(damaged, path: "outbox") }
    }
  }

  @Test func everyRefusalHasItsAnswer() throws {
    let topic = try #require(TopicName("t"))
    let partition = TopicPartition(topic: topic, partition: 0)
    let table: [(LogError, PublishVerdict)] = [
      (.unreachable("x"), .retry), (.shuttingDown, .retry), (.unknownTopic("t"), .retry),
      (.backpressure(queuedBytes: 1, limit: 1), .wait), (.logFull(bytes: 1, limit: 1), .wait),
      (.outOfOrderSequence(producer: 1, expected: 2, got: 3), .register), (.unknownProducer(1), .register),
      (.messageTooLarge(bytes: 2, limit: 1), .drop),
      (.fencedProducer(producer: 1, epoch: 0, current: 1), .stop),
      (.unknownPartition(topic: "t", partition: 1, partitions: 1), .stop),
      (.offsetOutOfRange(partition: partition, requested: 1, logStart: 2, highWatermark: 3), .drop),
    ]
    for (error, verdict) in table { #expect(PublishVerdict(error) == verdict, "\(error)") }
  }
}
