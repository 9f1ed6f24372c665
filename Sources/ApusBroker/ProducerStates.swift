import ApusIO

/// What a partition remembers of idempotent producers: the last batches of each, so that a batch sent twice is told
/// from a new one (docs/format/log.md, "Producers"). The rules are those of Kafka's brokers.
struct ProducerStates: Sendable {
  /// A batch that was appended.
  struct Batch: Hashable, Sendable {
    var firstSequence: Int32
    var lastSequence: Int32
    var baseOffset: Int64
    var recordCount: Int32
  }

  struct Entry: Hashable, Sendable {
    var epoch: Int16
    /// When it last appended, milliseconds since 1970.
    var lastSeen: Int64
    /// At most `batchesKept`, oldest first; never empty.
    var batches: [Batch]
  }

  enum Verdict {
    case append
    case duplicate(Batch)
    case refused(LogError)
  }

  /// A client has at most so many batches under way, so it repeats none older.
  static let batchesKept = 5

  private(set) var entries: [Int64: Entry] = [:]
  let limit: Int

  init(limit: Int) { self.limit = limit }

  /// What is to be done with a batch. One without a producer id is always appended.
  func check(_ header: RecordBatchHeader) -> Verdict {
    guard header.producerID >= 0, let entry = entries[header.producerID] else { return .append }
    if header.producerEpoch < entry.epoch {
      return .refused(
        .fencedProducer(producer: header.producerID, epoch: header.producerEpoch, current: entry.epoch))
    }
    if header.producerEpoch > entry.epoch {
      if header.baseSequence == 0 { return .append }
      return .refused(.outOfOrderSequence(producer: header.producerID, expected: 0, got: header.baseSequence))
    }
    let last = ProducerStates.lastSequence(header)
    if let known = entry.batches.last(where: {
      $0.firstSequence == header.baseSequence && $0.lastSequence == last
    }) {
      return .duplicate(known)
    }
    let expected = ProducerStates.sequence(after: entry.batches[entry.batches.count - 1].lastSequence)
    if header.baseSequence == expected { return .append }
    return .refused(.outOfOrderSequence(producer: header.producerID, expected: expected, got: header.baseSequence))
  }

  /// Remembers an appended batch. Returns the producer and what was known of it before, to take the change back with.
  mutating func record(
    _ header: RecordBatchHeader, baseOffset: Int64, now: Int64
  ) -> (producer: Int64, previous: Entry?)? {
    guard header.producerID >= 0 else { return nil }
    let previous = entries[header.producerID]
    let batch = Batch(
      firstSequence: header.baseSequence, lastSequence: ProducerStates.lastSequence(header), baseOffset: baseOffset,
      recordCount: header.recordCount)
    if var entry = previous, entry.epoch == header.producerEpoch {
      if entry.batches.count == ProducerStates.batchesKept { entry.batches.removeFirst() }
      entry.batches.append(batch)
      entry.lastSeen = now
      entries[header.producerID] = entry
    } else {
      if previous == nil { makeRoom() }
      entries[header.producerID] = Entry(epoch: header.producerEpoch, lastSeen: now, batches: [batch])
    }
    return (header.producerID, previous)
  }

  /// Takes a change back.
  mutating func restore(_ producer: Int64, _ previous: Entry?) { entries[producer] = previous }

  /// Forgets producers that have been silent since before `time`.
  mutating func expire(before time: Int64) {
    if entries.values.contains(where: { $0.lastSeen < time }) { entries = entries.filter { $0.value.lastSeen >= time } }
  }

  /// At the limit a tenth goes at once, those silent for longest, so that the search for them is rare.
  private mutating func makeRoom() {
    guard entries.count >= limit else { return }
    let silent = entries.sorted { ($0.value.lastSeen, $0.key) < ($1.value.lastSeen, $1.key) }
    for (producer, _) in silent.prefix(max(1, limit / 10)) { entries[producer] = nil }
  }

  /// Sequences count the records of a producer from 0 and begin anew behind the greatest Int32.
  static func lastSequence(_ header: RecordBatchHeader) -> Int32 {
    advance(header.baseSequence, by: header.lastOffsetDelta)
  }

  static func sequence(after last: Int32) -> Int32 { advance(last, by: 1) }

  private static func advance(_ sequence: Int32, by count: Int32) -> Int32 {
    Int32((Int64(sequence) + Int64(count)) & 0x7fff_ffff)
  }
}

extension ProducerStates {
  private static let magic: UInt64 = 0x3153_4450_5355_5041  // "APUSPDS1"

  /// The file beside a segment.
  func encoded() -> [UInt8] {
    var writer = ByteWriter(reserving: 16 + entries.count * 160)
    writer.write(UInt64(entries.count))
    for (producer, entry) in entries.sorted(by: { $0.key < $1.key }) {
      writer.write(producer)
      writer.write(entry.epoch)
      writer.write(entry.lastSeen)
      writer.write(UInt8(entry.batches.count))
      for batch in entry.batches {
        writer.write(batch.firstSequence)
        writer.write(batch.lastSequence)
        writer.write(batch.baseOffset)
        writer.write(batch.recordCount)
      }
    }
    return ChecksummedFile.seal(writer.bytes, magic: ProducerStates.magic)
  }

  /// Nil when the bytes are not a whole such file.
  init?(encoded: [UInt8], limit: Int) {
    guard let payload = ChecksummedFile.open(encoded, magic: ProducerStates.magic) else { return nil }
    self.init(limit: limit)
    let parsed = payload.withUnsafeBytes { bytes -> [Int64: Entry]? in
      do throws(ByteReaderError) { return try ProducerStates.parse(bytes) } catch { return nil }
    }
    guard let parsed else { return nil }
    entries = parsed
  }

  private static func parse(_ bytes: UnsafeRawBufferPointer) throws(ByteReaderError) -> [Int64: Entry] {
    var reader = ByteReader(bytes)
    var entries: [Int64: Entry] = [:]
    for _ in 0..<(try reader.read(UInt64.self)) {
      let producer = try reader.read(Int64.self)
      var entry = Entry(epoch: try reader.read(), lastSeen: try reader.read(), batches: [])
      for _ in 0..<(try reader.read(UInt8.self)) {
        entry.batches.append(
          Batch(
            firstSequence: try reader.read(), lastSequence: try reader.read(), baseOffset: try reader.read(),
            recordCount: try reader.read()))
      }
      guard !entry.batches.isEmpty else {
        throw ByteReaderError(kind: .outOfBounds, offset: reader.position)
      }
      entries[producer] = entry
    }
    return entries
  }
}
