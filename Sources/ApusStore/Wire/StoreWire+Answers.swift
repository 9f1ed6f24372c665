import ApusIO
import ApusModel

extension StoreWire {
  /// How many bytes of a list go into one frame, about.
  static let listBytesPerFrame = 1 << 20

  /// Frames of label sets.
  package static func frames(ofLabels sets: [Labels]) -> [Frame] {
    frames(.labels, sets.map(\.bytes))
  }

  /// Frames of texts.
  package static func frames(ofStrings texts: [String]) -> [Frame] {
    frames(.strings, texts.map { Array($0.utf8) })
  }

  package static func decodeLabels(_ payload: [UInt8]) throws(ByteReaderError) -> [Labels] {
    try decode(payload) { reader throws(ByteReaderError) in
      var result: [Labels] = []
      while !reader.isAtEnd {
        let start = reader.position
        guard let labels = Labels(validating: try reader.readLengthPrefixed(max: frameBytesMax)) else {
          throw ByteReaderError(kind: .outOfBounds, offset: start)
        }
        result.append(labels)
      }
      return result
    }
  }

  package static func decodeStrings(_ payload: [UInt8]) throws(ByteReaderError) -> [String] {
    try decode(payload) { reader throws(ByteReaderError) in
      var result: [String] = []
      while !reader.isAtEnd { result.append(try reader.readString(max: frameBytesMax)) }
      return result
    }
  }

  private static func frames(_ kind: FrameKind, _ parts: [[UInt8]]) -> [Frame] {
    var result: [Frame] = []
    var writer = ByteWriter()
    for part in parts {
      writer.writeLengthPrefixed(part)
      if writer.count >= listBytesPerFrame {
        result.append(Frame(kind: kind, payload: writer.bytes))
        writer.bytes.removeAll()
      }
    }
    if writer.count > 0 { result.append(Frame(kind: kind, payload: writer.bytes)) }
    return result
  }

  package static func frame(of descriptors: [MetricDescriptor]) -> Frame {
    var writer = ByteWriter()
    for descriptor in descriptors {
      writer.writeLengthPrefixed(descriptor.name)
      writer.write(descriptor.kind.rawValue)
      writer.writeLengthPrefixed(descriptor.help)
      writer.writeLengthPrefixed(descriptor.unit)
    }
    return Frame(kind: .descriptors, payload: writer.bytes)
  }

  package static func decodeDescriptors(_ payload: [UInt8]) throws(ByteReaderError) -> [MetricDescriptor] {
    try decode(payload) { reader throws(ByteReaderError) in
      var result: [MetricDescriptor] = []
      while !reader.isAtEnd {
        let name = try reader.readString(max: textBytesMax)
        let start = reader.position
        guard let kind = MetricDescriptor.Kind(rawValue: try reader.read()) else {
          throw ByteReaderError(kind: .outOfBounds, offset: start)
        }
        let help = try reader.readString(max: textBytesMax)
        result.append(
          MetricDescriptor(name: name, kind: kind, help: help, unit: try reader.readString(max: textBytesMax)))
      }
      return result
    }
  }

  package static func frame(of positions: [LogPartition: StorePosition]) -> Frame {
    var writer = ByteWriter()
    for (partition, position) in positions.sorted(by: { $0.key.description < $1.key.description }) {
      writer.writeLengthPrefixed(partition.topic)
      writer.writeZigzag(Int64(partition.partition))
      writer.writeZigzag(position.appended)
      writer.writeZigzag(position.durable)
    }
    return Frame(kind: .positions, payload: writer.bytes)
  }

  package static func decodePositions(
    _ payload: [UInt8]
  ) throws(ByteReaderError) -> [LogPartition: StorePosition] {
    try decode(payload) { reader throws(ByteReaderError) in
      var result: [LogPartition: StorePosition] = [:]
      while !reader.isAtEnd {
        let topic = try reader.readString(max: textBytesMax)
        let partition = LogPartition(topic: topic, partition: Int32(truncatingIfNeeded: try reader.readZigzag()))
        let appended = try reader.readZigzag()
        result[partition] = StorePosition(appended: appended, durable: try reader.readZigzag())
      }
      return result
    }
  }

  package static func frame(of outcome: AppendOutcome) -> Frame {
    var writer = ByteWriter()
    for number in [
      outcome.samplesAccepted, outcome.recordsSkipped, outcome.samplesOverSeriesLimit, outcome.samplesTooOld,
    ] { writer.writeVarint(UInt64(max(0, number))) }
    return Frame(kind: .outcome, payload: writer.bytes)
  }

  package static func decodeOutcome(_ payload: [UInt8]) throws(ByteReaderError) -> AppendOutcome {
    try decode(payload) { reader throws(ByteReaderError) in
      var result = AppendOutcome()
      result.samplesAccepted = try reader.readCount(max: .max)
      result.recordsSkipped = try reader.readCount(max: .max)
      result.samplesOverSeriesLimit = try reader.readCount(max: .max)
      result.samplesTooOld = try reader.readCount(max: .max)
      return result
    }
  }

  package static func frame(of work: StoreWork) -> Frame {
    var writer = ByteWriter()
    for number in [work.blocksMerged, work.blocksWritten, work.samples, Int(work.bytes)] {
      writer.writeVarint(UInt64(max(0, number)))
    }
    return Frame(kind: .work, payload: writer.bytes)
  }

  package static func decodeWork(_ payload: [UInt8]) throws(ByteReaderError) -> StoreWork {
    try decode(payload) { reader throws(ByteReaderError) in
      var result = StoreWork()
      result.blocksMerged = try reader.readCount(max: .max)
      result.blocksWritten = try reader.readCount(max: .max)
      result.samples = try reader.readCount(max: .max)
      result.bytes = Int64(try reader.readCount(max: .max))
      return result
    }
  }

  package static func frame(asking name: SnapshotName) -> Frame {
    var writer = ByteWriter()
    writer.writeLengthPrefixed(name.text)
    return Frame(kind: .snapshot, payload: writer.bytes)
  }

  /// The name that a snapshot is to have.
  package static func decodeSnapshotName(_ payload: [UInt8]) throws(ByteReaderError) -> SnapshotName {
    try decode(payload) { reader throws(ByteReaderError) in
      guard let name = SnapshotName(try reader.readString(max: SnapshotName.lengthMax)) else {
        throw ByteReaderError(kind: .outOfBounds, offset: 0)
      }
      return name
    }
  }

  package static func frame(of snapshot: SnapshotSummary) -> Frame {
    var writer = ByteWriter()
    writer.writeLengthPrefixed(snapshot.name)
    writer.writeLengthPrefixed(snapshot.path)
    for number in [snapshot.blocks, snapshot.blocksLinked, snapshot.samples, Int(snapshot.bytes)] {
      writer.writeVarint(UInt64(max(0, number)))
    }
    return Frame(kind: .snapshot, payload: writer.bytes)
  }

  package static func decodeSnapshot(_ payload: [UInt8]) throws(ByteReaderError) -> SnapshotSummary {
    try decode(payload) { reader throws(ByteReaderError) in
      let name = try reader.readString(max: textBytesMax)
      var result = SnapshotSummary(name: name, path: try reader.readString(max: textBytesMax))
      result.blocks = try reader.readCount(max: .max)
      result.blocksLinked = try reader.readCount(max: .max)
      result.samples = try reader.readCount(max: .max)
      result.bytes = Int64(try reader.readCount(max: .max))
      return result
    }
  }
}
