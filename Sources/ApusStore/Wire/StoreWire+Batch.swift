import ApusIO
import ApusModel

/// A batch on the wire: a head, then items; a series set stands once, before the first scrape that names it.
extension StoreWire {
  static let seriesPerSetMax = 1_000_000
  static let samplesPerItemMax = 16_000_000

  /// The frames of a batch; an error sentence when an item is too large for a frame.
  package static func frames(of batch: StoreBatch) throws(StoreWireError) -> [Frame] {
    var head = ByteWriter()
    head.writeLengthPrefixed(batch.partition.topic)
    head.writeZigzag(Int64(batch.partition.partition))
    head.writeZigzag(batch.nextOffset)
    var result = [Frame(kind: .batch, payload: head.bytes)]
    var known: [SeriesSetID: Int] = [:]
    for item in batch.items {
      if case .scrape(let scrape) = item.content, known[scrape.set.id] == nil {
        known[scrape.set.id] = known.count
        result.append(Frame(kind: .set, payload: encode(scrape.set)))
      }
      result.append(Frame(kind: .item, payload: encode(item, known)))
    }
    for frame in result where frame.payload.count > frameBytesMax {
      throw .tooLarge(bytes: frame.payload.count, limit: frameBytesMax)
    }
    return result
  }

  /// The batch that some frames hold.
  package static func decodeBatch(_ frames: [Frame]) throws(StoreWireError) -> StoreBatch {
    guard let head = frames.first, head.kind == .batch else {
      throw .malformed(frame: 1, reason: "a batch does not begin with its head")
    }
    var batch: StoreBatch
    var sets: [SeriesSet] = []
    do throws(ByteReaderError) {
      batch = try decode(head.payload) { reader throws(ByteReaderError) in
        let topic = try reader.readString(max: textBytesMax)
        let partition = Int32(truncatingIfNeeded: try reader.readZigzag())
        return StoreBatch(
          partition: LogPartition(topic: topic, partition: partition), items: [], nextOffset: try reader.readZigzag())
      }
    } catch { throw .malformed(frame: 1, reason: error.description) }
    for (index, frame) in frames.enumerated().dropFirst() {
      do throws(ByteReaderError) {
        switch frame.kind {
        case .set: sets.append(try decodeSet(frame.payload))
        case .item: batch.items.append(try decodeItem(frame.payload, sets))
        default: throw ByteReaderError(kind: .outOfBounds, offset: 0)
        }
      } catch { throw .malformed(frame: index + 1, reason: error.description) }
    }
    return batch
  }

  private static func encode(_ set: SeriesSet) -> [UInt8] {
    var writer = ByteWriter(reserving: set.count * 256)
    writer.writeVarint(UInt64(set.count))
    for labels in set.series { writer.writeLengthPrefixed(labels.bytes) }
    writer.write(frame(of: set.descriptors).payload)
    return writer.bytes
  }

  private static func decodeSet(_ payload: [UInt8]) throws(ByteReaderError) -> SeriesSet {
    try decode(payload) { reader throws(ByteReaderError) in
      var series: [Labels] = []
      for _ in 0..<(try reader.readCount(max: seriesPerSetMax)) { series.append(try readLabels(&reader)) }
      guard Set(series).count == series.count else { throw ByteReaderError(kind: .outOfBounds, offset: 0) }
      let rest = Array(try reader.readBytes(reader.remaining))
      return SeriesSet(series: series, descriptors: try decodeDescriptors(rest))
    }
  }

  private static func readLabels(_ reader: inout ByteReader) throws(ByteReaderError) -> Labels {
    let start = reader.position
    guard let labels = Labels(validating: try reader.readLengthPrefixed(max: frameBytesMax)) else {
      throw ByteReaderError(kind: .outOfBounds, offset: start)
    }
    return labels
  }

  private static func encode(_ item: StoreBatch.Item, _ sets: [SeriesSetID: Int]) -> [UInt8] {
    var writer = ByteWriter()
    writer.writeZigzag(item.offset)
    switch item.content {
    case .scrape(let scrape):
      writer.write(UInt8(0))
      writer.writeVarint(UInt64(sets[scrape.set.id] ?? 0))
      writer.writeZigzag(scrape.timestamp.milliseconds)
      writer.write(UInt8(scrape.absent == nil ? 0 : 1))
      for word in scrape.absent?.words ?? [] { writer.write(word) }
      writer.write(scrape.values)
    case .samples(let series):
      writer.write(UInt8(1))
      writer.writeVarint(UInt64(series.count))
      for samples in series {
        writer.writeLengthPrefixed(samples.labels.bytes)
        writer.writeVarint(UInt64(samples.values.count))
        for timestamp in samples.timestamps { writer.writeZigzag(timestamp) }
        writer.write(samples.values)
      }
    }
    if !item.descriptors.isEmpty { writer.write(frame(of: item.descriptors).payload) }
    return writer.bytes
  }

  private static func decodeItem(
    _ payload: [UInt8], _ sets: [SeriesSet]
  ) throws(ByteReaderError) -> StoreBatch.Item {
    try decode(payload) { reader throws(ByteReaderError) in
      let offset = try reader.readZigzag()
      let kind: UInt8 = try reader.read()
      var item: StoreBatch.Item
      switch kind {
      case 0: item = StoreBatch.Item(offset: offset, content: .scrape(try readScrape(&reader, sets)))
      case 1:
        var series: [SeriesSamples] = []
        for _ in 0..<(try reader.readCount(max: seriesPerSetMax)) { series.append(try readSamples(&reader)) }
        item = StoreBatch.Item(offset: offset, content: .samples(series))
      default: throw ByteReaderError(kind: .outOfBounds, offset: reader.position - 1)
      }
      if !reader.isAtEnd { item.descriptors = try decodeDescriptors(Array(try reader.readBytes(reader.remaining))) }
      return item
    }
  }

  private static func readScrape(
    _ reader: inout ByteReader, _ sets: [SeriesSet]
  ) throws(ByteReaderError) -> Scrape {
    let start = reader.position
    let index = try reader.readCount(max: seriesPerSetMax)
    guard index < sets.count else { throw ByteReaderError(kind: .outOfBounds, offset: start) }
    let set = sets[index]
    let timestamp = Timestamp(milliseconds: try reader.readZigzag())
    var absent: Bitmap?
    if try reader.read(UInt8.self) != 0 {
      var words: [UInt64] = []
      for _ in 0..<(set.count + 63) / 64 { words.append(try reader.read()) }
      guard let bitmap = Bitmap(count: set.count, words: words) else {
        throw ByteReaderError(kind: .outOfBounds, offset: start)
      }
      absent = bitmap
    }
    var values: [Double] = []
    values.reserveCapacity(set.count)
    for _ in 0..<set.count { values.append(try reader.readDouble()) }
    return Scrape(set: set, timestamp: timestamp, values: values, absent: absent)
  }

  private static func readSamples(_ reader: inout ByteReader) throws(ByteReaderError) -> SeriesSamples {
    let labels = try readLabels(&reader)
    // Each sample takes nine bytes at least, so a count beyond the rest is found before memory is taken.
    let count = try reader.readCount(max: min(samplesPerItemMax, reader.remaining))
    var timestamps: [Int64] = []
    var values: [Double] = []
    for _ in 0..<count { timestamps.append(try reader.readZigzag()) }
    for _ in 0..<count { values.append(try reader.readDouble()) }
    return SeriesSamples(labels: labels, timestamps: timestamps, values: values)
  }
}
