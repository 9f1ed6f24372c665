import ApusIO
import ApusModel

/// Divides columns into frames of a bounded size: series with equal timestamps go together, their timestamps once.
///
/// A frame holds a list of series, a run of timestamps, and each series' values of that run. Where a run is too long for
/// one frame, further frames continue the same series.
package struct StoreColumnFrames: Sendable {
  /// What a frame's values aim at, and the most series and bytes of labels that share one.
  static let valuesPerFrame = 128 * 1024
  static let seriesPerFrame = 4096
  static let labelBytesPerFrame = 4 << 20

  private let columns: [SeriesColumn]
  private var group: Range<Int>
  /// How many timestamps of the group have been given out.
  private var sent = 0

  package init(_ columns: [SeriesColumn]) {
    self.columns = columns
    group = 0..<0
    group = nextGroup(from: 0)
  }

  /// The next frame, or nil at the end.
  package mutating func next() -> StoreWire.Frame? {
    guard !group.isEmpty else { return nil }
    let timestamps = columns[group.lowerBound].timestamps
    let run = sent..<min(timestamps.count, sent + max(1, StoreColumnFrames.valuesPerFrame / group.count))
    var writer = ByteWriter(reserving: 64 + run.count * (group.count * 8 + 4))
    writer.writeVarint(UInt64(group.count))
    if sent == 0 {
      for column in columns[group] { writer.writeLengthPrefixed(column.labels.bytes) }
    }
    writer.writeVarint(UInt64(run.count))
    var previous: Int64 = 0
    for timestamp in timestamps[run] {
      // Wrapping, and undone by wrapping: no instant is out of range.
      writer.writeZigzag(timestamp &- previous)
      previous = timestamp
    }
    for column in columns[group] { column.values[run].withUnsafeBytes { writer.write($0) } }
    let kind: StoreWire.FrameKind = sent == 0 ? .columns : .columnsContinued
    sent = run.upperBound
    if sent >= timestamps.count {
      group = nextGroup(from: group.upperBound)
      sent = 0
    }
    return StoreWire.Frame(kind: kind, payload: writer.bytes)
  }

  private func nextGroup(from start: Int) -> Range<Int> {
    guard start < columns.count else { return start..<start }
    var end = start + 1
    var labelBytes = columns[start].labels.bytes.count
    while end < columns.count, end - start < StoreColumnFrames.seriesPerFrame {
      // Series of one set share their timestamps' memory, which makes this comparison one of addresses.
      guard columns[end].timestamps == columns[start].timestamps else { break }
      labelBytes += columns[end].labels.bytes.count
      if labelBytes > StoreColumnFrames.labelBytesPerFrame { break }
      end += 1
    }
    return start..<end
  }
}

/// Puts columns together again from their frames.
package struct StoreColumnAssembly: Sendable {
  /// Finished columns, in the order in which they came.
  package private(set) var columns: [SeriesColumn] = []
  private var labels: [Labels] = []
  private var timestamps: [Int64] = []
  private var values: [[Double]] = []
  private var samples = 0
  /// The most samples to take; more is an error.
  private let maxSamples: Int

  package init(maxSamples: Int) { self.maxSamples = maxSamples }

  /// Takes one frame; nil when it is right, else what is wrong with it.
  package mutating func take(_ frame: StoreWire.Frame) -> String? {
    do throws(ByteReaderError) {
      switch frame.kind {
      case .columns: return try read(frame.payload, continues: false)
      case .columnsContinued: return try read(frame.payload, continues: true)
      default: return "it is no frame of columns"
      }
    } catch { return error.description }
  }

  /// Must be called at the end of the message.
  package mutating func finish() -> [SeriesColumn] {
    closeGroup()
    return columns
  }

  private mutating func read(_ payload: [UInt8], continues: Bool) throws(ByteReaderError) -> String? {
    try payload.withBytes { reader throws(ByteReaderError) in
      let count = try reader.readCount(max: StoreColumnFrames.seriesPerFrame)
      if continues {
        guard count == labels.count, count > 0 else { return "it continues other series than came before" }
      } else {
        closeGroup()
        for _ in 0..<count {
          let bytes = try reader.readLengthPrefixed(max: StoreWire.frameBytesMax)
          guard let set = Labels(validating: bytes) else { return "a label set is not canonical" }
          labels.append(set)
          values.append([])
        }
      }
      let run = try reader.readCount(max: StoreWire.frameBytesMax)
      samples += run * count
      guard samples <= maxSamples else { return "it brings more than the \(maxSamples) samples that were asked for" }
      var previous: Int64 = 0
      for _ in 0..<run {
        previous &+= try reader.readZigzag()
        timestamps.append(previous)
      }
      for index in 0..<count {
        let bytes = try reader.readBytes(run * 8)
        for sample in 0..<run {
          let bits = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: sample * 8, as: UInt64.self))
          values[index].append(Double(bitPattern: bits))
        }
      }
      return reader.isAtEnd ? nil : "bytes follow its values"
    }
  }

  private mutating func closeGroup() {
    for index in labels.indices {
      columns.append(SeriesColumn(labels: labels[index], timestamps: timestamps, values: values[index]))
    }
    labels.removeAll()
    timestamps = []
    values.removeAll()
  }
}

extension [UInt8] {
  /// Reads borrowed bytes; the reader lives no longer than the call.
  fileprivate func withBytes<Value>(
    _ body: (inout ByteReader) throws(ByteReaderError) -> Value
  ) throws(ByteReaderError) -> Value {
    try withUnsafeBytes { raw -> Result<Value, ByteReaderError> in
      var reader = ByteReader(raw)
      do throws(ByteReaderError) { return .success(try body(&reader)) } catch { return .failure(error) }
    }.get()
  }
}
