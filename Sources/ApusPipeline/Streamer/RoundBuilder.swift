import ApusBroker
import ApusFormats
import ApusIO
import ApusModel

/// Makes record batches out of what waits: at most one batch a partition for each send. Pure.
///
/// Sets go first: where a scrape's set has no acknowledged copy in its partition, a round of sets is made and must be
/// acknowledged before the scrapes, so that every scrape names the offset at which a reader finds its set.
struct RoundBuilder {
  struct Limits: Hashable, Sendable {
    /// Records of one batch before compression.
    var batchBytesMax: Int
    var batchRecordsMax: Int
  }

  /// One send.
  struct Round {
    /// A copy of a set: the record number `index` of the batch for the partition.
    struct SetCopy {
      var partition: Int32
      var id: SeriesSetID
      var index: Int
    }

    var requests: [AppendRequest] = []
    var copies: [SetCopy] = []
    /// How many entries are done when the round is acknowledged.
    var entries = 0
    var records = 0
    /// Records that no batch can hold, and their samples; they are left out.
    var samplesTooLarge = 0
    /// Where the records of each entry that is done stand in its partition's batch.
    var places: [Place] = []

    /// Records of a batch: none where the entry had none, or was too large.
    struct Place: Hashable, Sendable {
      var partition: Int32 = 0
      var records = 0..<0
    }
  }

  let topic: TopicName
  let partitions: Int32
  let encoding: Encoding
  let limits: Limits
  private let partitioner: Partitioner
  private(set) var ledger: SetLedger
  private var limiter = SetChangeLimiter()
  private var builders: [Int32: RecordBatchBuilder] = [:]
  private let compression: Compression
  private var values: RecordValueEncoder
  private let frameHeaders = RoundBuilder.headers(.scrape)
  private let valueHeaders: EncodedRecordHeaders
  private let remoteWriteHeaders = RoundBuilder.headers(.remoteWrite)

  init(
    topic: TopicName, partitions: Int32, encoding: Encoding, compression: Compression, limits: Limits,
    setLimits: SetLedger.Limits = SetLedger.Limits()
  ) {
    self.topic = topic
    self.partitions = partitions
    self.encoding = encoding
    self.compression = compression
    self.limits = limits
    partitioner = Partitioner(partitions: partitions)
    ledger = SetLedger(limits: setLimits)
    values = RecordValueEncoder(encoding: encoding)
    valueHeaders = RoundBuilder.headers(encoding.contentType)
  }

  /// Changes of sets so far, over all hosts.
  var setChanges: Int { limiter.changes }

  /// The log may not have what it acknowledged, or is another one.
  mutating func forgetSets() { ledger.forgetAll() }

  /// The sets that must be acknowledged before the first of these entries can be written; nil when there are none.
  mutating func setRound(
    for entries: ArraySlice<StreamBuffer.Entry>, producer: inout ProducerState, now: Int64
  ) throws(LogError) -> Round? {
    guard encoding == .frame else { return nil }
    var round = Round()
    var written: Set<PartitionedSet> = []
    for entry in entries {
      guard let item = entry.item, case .scrape(let scrape) = item.content else { continue }
      let partition = partitioner.partition(forKey: item.key)
      let name = PartitionedSet(partition: partition, id: scrape.set.id)
      guard !written.contains(name), ledger.advice(for: scrape.set.id, in: partition, now: now) == .missing,
        limiter.admit(scrape.set.id, from: item.key, now: now)
      else { continue }
      let record = ScrapeRecord.encode(set: scrape.set)
      guard record.count + RoundBuilder.setOverhead <= limits.batchBytesMax else { continue }
      guard fits(record.count, in: partition) else { break }
      written.insert(name)
      append(record, key: item.key, headers: frameHeaders, to: partition, now: now, &round, copyOf: scrape.set.id)
    }
    guard !written.isEmpty else { return nil }
    try finish(&round, producer: &producer)
    return round
  }

  /// As many of these entries, from the first on, as one batch a partition holds. Fresh copies of sets go along where
  /// they are due. An entry whose set is missing ends the round.
  mutating func dataRound(
    for entries: ArraySlice<StreamBuffer.Entry>, producer: inout ProducerState, now: Int64
  ) throws(LogError) -> Round {
    var round = Round()
    for entry in entries {
      guard let item = entry.item else {
        round.entries += 1
        round.places.append(Round.Place())
        continue
      }
      guard write(item, now: now, &round) else { break }
      round.entries += 1
    }
    try finish(&round, producer: &producer)
    return round
  }

  /// Takes note of the offsets at which a round lies.
  mutating func acknowledge(_ round: Round, receipts: [Int32: AppendReceipt], now: Int64) {
    for request in round.requests {
      ledger.count(bytes: request.batch.bytes.count, in: request.partition.partition)
    }
    for copy in round.copies {
      guard let receipt = receipts[copy.partition] else { continue }
      ledger.acknowledge(copy.id, in: copy.partition, offset: receipt.baseOffset + Int64(copy.index), now: now)
    }
  }

  private struct PartitionedSet: Hashable {
    var partition: Int32
    var id: SeriesSetID
  }

  /// Whether the item is done, be it written or left out; false when it must wait for the next round.
  private mutating func write(_ item: TelemetryItem, now: Int64, _ round: inout Round) -> Bool {
    let partition = partitioner.partition(forKey: item.key)
    var offset: Int64 = -1
    var freshCopy: SeriesSet?
    var asSamples = false
    if encoding == .frame, case .scrape(let scrape) = item.content {
      switch ledger.advice(for: scrape.set.id, in: partition, now: now) {
      case .known(let known): offset = known
      case .due(let known):
        offset = known
        freshCopy = scrape.set
      case .missing:
        // Either the limit speaks against a set, or the set is too large for a batch; else a round of sets comes first.
        asSamples = !limiter.admit(scrape.set.id, from: item.key, now: now) || isTooLarge(scrape.set)
        guard asSamples else { return false }
      }
    }
    let records = values.encode(item, setOffset: offset, asSamples: asSamples, bytesMax: limits.batchBytesMax)
    guard let records else {
      round.samplesTooLarge += item.sampleCount
      round.places.append(Round.Place(partition: partition))
      return true
    }
    let total = records.reduce(0) { $0 + $1.count + RoundBuilder.recordOverhead(item.key) }
    guard fits(total, in: partition) else { return false }
    if let freshCopy, !round.copies.contains(where: { $0.partition == partition && $0.id == freshCopy.id }) {
      let record = ScrapeRecord.encode(set: freshCopy)
      if fits(total + record.count, in: partition) {
        append(record, key: item.key, headers: frameHeaders, to: partition, now: now, &round, copyOf: freshCopy.id)
      }
    }
    let first = builders[partition]?.recordCount ?? 0
    round.places.append(Round.Place(partition: partition, records: first..<first + records.count))
    var headers = valueHeaders
    if case .encoded(let value) = item.content {
      headers = value.type == .remoteWrite ? remoteWriteHeaders : RoundBuilder.headers(value.type)
    }
    for record in records {
      append(record, key: item.key, headers: headers, to: partition, now: now, &round, copyOf: nil)
    }
    return true
  }

  private func isTooLarge(_ set: SeriesSet) -> Bool {
    ScrapeRecord.encode(set: set).count + RoundBuilder.setOverhead > limits.batchBytesMax
  }

  /// Whether a record fits behind what the partition's batch has; an empty batch takes any that is within the bound.
  private func fits(_ bytes: Int, in partition: Int32) -> Bool {
    guard let builder = builders[partition], !builder.isEmpty else { return true }
    return builder.recordCount < limits.batchRecordsMax && builder.byteCount + bytes <= limits.batchBytesMax
  }

  private mutating func append(
    _ value: [UInt8], key: [UInt8], headers: EncodedRecordHeaders, to partition: Int32, now: Int64,
    _ round: inout Round, copyOf id: SeriesSetID?
  ) {
    let index = builders[partition]?.recordCount ?? 0
    key.withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        builders[partition, default: RecordBatchBuilder(compression: compression)].append(
          timestamp: now, key: key, value: value, headers: headers)
      }
    }
    if let id { round.copies.append(Round.SetCopy(partition: partition, id: id, index: index)) }
    round.records += 1
  }

  /// Closes the batches and gives them their sequences, in ascending order of the partition.
  private mutating func finish(_ round: inout Round, producer: inout ProducerState) throws(LogError) {
    for partition in builders.keys.sorted() {
      guard builders[partition]?.isEmpty == false, var builder = builders.removeValue(forKey: partition) else {
        continue
      }
      let sequence = producer.take(builder.recordCount, in: partition)
      let batch = try builder.finish(producer: producer.identity, baseSequence: sequence)
      builders[partition] = builder
      round.requests.append(
        AppendRequest(partition: TopicPartition(topic: topic, partition: partition), batch: batch))
    }
  }

  /// What a record has beside its value: lengths, deltas, key and the content-type header.
  private static func recordOverhead(_ key: [UInt8]) -> Int { key.count + 80 }

  /// As above with a key of the longest host name, and the batch's header.
  private static let setOverhead = 1024

  private static func headers(_ type: ContentType) -> EncodedRecordHeaders {
    EncodedRecordHeaders([RecordHeader(name: ContentType.headerName, value: type.headerValue)])
  }
}

extension Encoding {
  var contentType: ContentType {
    switch self {
    case .frame: .scrape
    case .json: .json
    case .text: .exposition
    }
  }
}
