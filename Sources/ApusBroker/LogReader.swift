import ApusIO
import Synchronization

/// Reads segments for consumers: finds the place by the index, then checks every batch before it is handed out. Its
/// calls block, so they are made from threads that may. It takes no lock of the writer's.
package final class LogReader: Sendable {
  private struct State {
    var topics: [TopicName: Topic] = [:]
    var corruptReads: Int64 = 0
  }

  /// A topic as readers see it.
  struct Topic: Sendable {
    var configuration: TopicConfiguration
    var partitions: [PartitionView]
  }

  let disk: any Disk
  let files: SegmentFiles
  private let readBytesMax: Int
  private let state = Mutex(State())
  private let buffers = Mutex<[[UInt8]]>([])

  /// Chunks are at least so large, and larger than `chunkBytesMax` for a batch of more bytes alone: a long read in pieces
  /// stays in the processor's cache. Buffers of more than `chunkBytesKept` are not kept for the next read.
  private static let chunkBytesMin = 64 << 10
  private static let chunkBytesMax = 1 << 20
  private static let chunkBytesKept = 2 << 20
  private static let buffersKept = 8

  init(disk: any Disk, configuration: EmbeddedLog.Configuration) {
    self.disk = disk
    files = SegmentFiles(disk: disk, limit: configuration.openFilesMax)
    readBytesMax = configuration.readBytesMax
  }

  // MARK: The directory of topics

  func setTopic(_ name: TopicName, _ topic: Topic?) { state.withLock { $0.topics[name] = topic } }

  var topics: [TopicName: Topic] { state.withLock { $0.topics } }

  var corruptReads: Int64 { state.withLock { $0.corruptReads } }

  func view(_ partition: TopicPartition) throws(LogError) -> PartitionView {
    let topic = state.withLock { $0.topics[partition.topic] }
    guard let topic else { throw .unknownTopic(partition.topic.text) }
    guard topic.partitions.indices.contains(Int(partition.partition)) else {
      throw .unknownPartition(
        topic: partition.topic.text, partition: partition.partition, partitions: Int32(topic.partitions.count))
    }
    return topic.partitions[Int(partition.partition)]
  }

  /// Every topic with its partitions' offsets, ascending by name.
  package func descriptions() -> [TopicDescription] {
    topics.sorted { $0.key < $1.key }.map { name, topic in
      TopicDescription(
        name: name, configuration: topic.configuration,
        partitions: topic.partitions.map { view in
          view.state.withLock { state in
            TopicDescription.Partition(
              index: view.id.partition, logStart: state.logStart, highWatermark: state.highWatermark,
              bytes: state.segments.reduce(0) { $0 + $1.bytes }, segments: state.segments.count)
          }
        })
    }
  }

  // MARK: Reading

  /// As `RecordLog.read` without waiting: answers empty where there is nothing yet.
  package func read(
    _ partition: TopicPartition, from offset: Int64, maxBytes: Int
  ) throws(LogError) -> LogSlice {
    let view = try view(partition)
    switch view.plan(from: offset, maxBytes: bounded(maxBytes)) {
    case .answer(let slice), .nothingYet(let slice): return slice
    case .refused(let error): throw error
    case .disk(let segments, let logStart, let highWatermark):
      return try read(
        view, segments, from: offset, maxBytes: bounded(maxBytes), logStart: logStart, highWatermark: highWatermark)
    }
  }

  func bounded(_ maxBytes: Int) -> Int { min(max(maxBytes, 1), readBytesMax) }

  func read(
    _ view: PartitionView, _ segments: [PartitionView.Segment], from offset: Int64, maxBytes: Int, logStart: Int64,
    highWatermark: Int64
  ) throws(LogError) -> LogSlice {
    var slice = LogSlice(batches: [], highWatermark: highWatermark, logStart: logStart)
    var taken = 0
    var isFull = false
    for segment in segments where segment.nextOffset > offset && segment.baseOffset < highWatermark {
      let start = segment.index.position(
        offsetDelta: max(0, offset - segment.baseOffset), path: segment.path, disk: disk)
      do throws(LogError) {
        try walk(view.id, segment, from: start, chunkBytes: max(0, maxBytes - taken)) { header, bytes in
          guard header.nextOffset > offset else { return true }
          guard header.baseOffset < highWatermark else { return false }
          isFull = !slice.batches.isEmpty && taken + bytes.count > maxBytes
          if isFull { return false }
          taken += bytes.count
          slice.batches.append(RecordBatch(unchecked: [UInt8](bytes)))
          return true
        }
      } catch {
        // What was found before stays good; the error comes with the next read, from there on.
        if slice.batches.isEmpty { throw try gone(view, offset) ?? error }
        return slice
      }
      if isFull || taken >= maxBytes { break }
    }
    return slice
  }

  /// The offset of the first record at or after a time, else the high watermark.
  package func offset(of position: OffsetPosition, in partition: TopicPartition) throws(LogError) -> Int64 {
    let view = try view(partition)
    let (logStart, highWatermark, segments) = view.state.withLock { ($0.logStart, $0.highWatermark, $0.segments) }
    switch position {
    case .earliest: return logStart
    case .latest: return highWatermark
    case .timestamp(let wanted):
      for segment in segments where segment.maxTimestamp >= wanted && segment.bytes > 0 {
        let start = segment.index.position(timestamp: wanted, path: segment.path, disk: disk)
        var found: RecordBatch?
        try walk(view.id, segment, from: start, chunkBytes: 0) { header, bytes in
          guard header.maxTimestamp >= wanted else { return true }
          found = RecordBatch(unchecked: [UInt8](bytes))
          return false
        }
        guard let found else { continue }
        return try LogReader.firstOffset(in: found, at: wanted)
      }
      return highWatermark
    }
  }

  private static func firstOffset(in batch: RecordBatch, at wanted: Int64) throws(LogError) -> Int64 {
    var result: Int64?
    do {
      try batch.forEachRecord { if result == nil && $0.timestamp >= wanted { result = $0.offset } }
    } catch let error as LogError {
      throw error
    } catch {
      preconditionFailure("unexpected \(error)")
    }
    return result ?? batch.nextOffset
  }

  /// When a segment vanished under a read because retention dropped it, the answer is that the offset is gone.
  private func gone(_ view: PartitionView, _ offset: Int64) throws(LogError) -> LogError? {
    view.state.withLock { state in
      if state.isDeleted { return .unknownTopic(view.id.topic.text) }
      guard offset < state.logStart else { return nil }
      return .offsetOutOfRange(
        partition: view.id, requested: offset, logStart: state.logStart, highWatermark: state.highWatermark)
    }
  }

  // MARK: Walking over a segment

  /// Calls `body` with each batch from `start` on until it returns false. Each has been checked: header, bounds,
  /// checksum, and that it follows the one before.
  private func walk(
    _ partition: TopicPartition, _ segment: PartitionView.Segment, from start: (position: Int64, offsetDelta: Int64),
    chunkBytes: Int, _ body: (RecordBatchHeader, UnsafeRawBufferPointer) -> Bool
  ) throws(LogError) {
    let file: any DiskFile
    do throws(DiskError) { file = try files.file(segment.path) } catch { throw .disk(error) }
    var scanner = SegmentScanner(baseOffset: segment.baseOffset + start.offsetDelta)
    var position = start.position
    var wanted = min(
      max(chunkBytes + Int(SegmentIndex.intervalBytes), LogReader.chunkBytesMin), LogReader.chunkBytesMax)
    var isSecondTry = false
    var buffer = takeBuffer()
    defer { putBack(&buffer) }
    while position < segment.bytes {
      let count = Int(min(Int64(wanted), segment.bytes - position))
      if buffer.count < count { buffer = [UInt8](repeating: 0, count: count) }
      let read = try LogReader.fill(&buffer, count, file, at: position)
      var used = 0
      var needed = 0
      var problem: String?
      var isDone = false
      buffer.withUnsafeBytes { whole in
        let chunk = UnsafeRawBufferPointer(rebasing: whole[..<read])
        while used < chunk.count, !isDone, needed == 0, problem == nil {
          let rest = UnsafeRawBufferPointer(rebasing: chunk[used...])
          switch scanner.step(rest) {
          case .batch(let header):
            isDone = !body(header, UnsafeRawBufferPointer(rebasing: rest[..<header.totalBytes]))
            used += header.totalBytes
            isSecondTry = false
          case .incomplete(let bytes): needed = bytes
          case .invalid(let reason): problem = reason
          }
        }
      }
      position += Int64(used)
      if isDone { return }
      if read < count || Int64(needed) > segment.bytes - position { problem = "the file ends too early" }
      if let problem {
        // Once more, from the file: a bit may have flipped on the way. Twice the same is corruption.
        if isSecondTry {
          state.withLock { $0.corruptReads += 1 }
          throw .corrupt(partition: partition, file: segment.path.log, position: position, reason: problem)
        }
        isSecondTry = true
      }
      wanted = max(wanted, needed)
    }
  }

  private static func fill(
    _ buffer: inout [UInt8], _ count: Int, _ file: any DiskFile, at position: Int64
  ) throws(LogError) -> Int {
    let outcome = buffer.withUnsafeMutableBytes { bytes -> Result<Int, DiskError> in
      do throws(DiskError) {
        return .success(try file.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[..<count]), at: position))
      } catch { return .failure(error) }
    }
    switch outcome {
    case .success(let read): return read
    case .failure(let error): throw .disk(error)
    }
  }

  private func takeBuffer() -> [UInt8] { buffers.withLock { $0.popLast() ?? [] } }

  private func putBack(_ buffer: inout [UInt8]) {
    guard !buffer.isEmpty, buffer.count <= LogReader.chunkBytesKept else { return }
    let kept = buffer
    buffer = []
    buffers.withLock { if $0.count < LogReader.buffersKept { $0.append(kept) } }
  }
}
