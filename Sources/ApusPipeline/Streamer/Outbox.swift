import ApusBroker
import ApusIO

/// The position file of a streamer: what was in its hands when it last sent something (docs/how-to/stream-csv.md).
///
/// It is replaced, atomically and synced, before every send, and holds the batches as they will be sent, the producer's
/// identity with the sequences behind them, and the sources' positions behind them. After a crash at any moment the same
/// bytes are sent again: the log knows the sequences and answers with the first offsets, or takes them for the first
/// time. So each row of a file is in the topic exactly once, whatever the timing of the batches was.
///
/// Layout, little-endian: magic `APUSOUTB`, version (u32), length of the body (u32), CRC-32C of the body (u32), body.
package struct Outbox: Sendable {
  package struct State: Sendable {
    package var producer = ProducerState()
    /// By the source's name.
    package var positions: [String: SourcePosition] = [:]
    /// Sent, and not known to be acknowledged.
    package var pending: [AppendRequest] = []

    package init() {}
  }

  package static let version: UInt32 = 1
  /// The most that the file may hold: a bound for reading it back.
  package static let bytesMax = 256 << 20
  private static let magic: [UInt8] = Array("APUSOUTB".utf8)
  private static let headerBytes = 20

  private let disk: any Disk
  private let path: String

  package init(disk: any Disk, path: String) {
    self.disk = disk
    self.path = path
  }

  /// What was saved last; nil when there is no file.
  package func load() throws(PipelineError) -> State? {
    let bytes: [UInt8]
    do throws(DiskError) {
      guard try disk.exists(path) else { return nil }
      bytes = try disk.readFile(path)
    } catch { throw .disk(error) }
    return try Outbox.decode(bytes, path: path)
  }

  /// Replaces what was saved; on return it is durable.
  package func save(_ state: State) throws(PipelineError) {
    do throws(DiskError) { try disk.replaceFile(path, with: Outbox.encode(state)) } catch { throw .disk(error) }
  }

  static func encode(_ state: State) -> [UInt8] {
    var body = ByteWriter(reserving: 256 + state.pending.reduce(0) { $0 + $1.batch.bytes.count + 300 })
    body.write(state.producer.identity?.id ?? -1)
    body.write(state.producer.identity?.epoch ?? -1)
    body.writeVarint(UInt64(state.producer.sequences.count))
    for (partition, sequence) in state.producer.sequences.sorted(by: { $0.key < $1.key }) {
      body.write(partition)
      body.write(sequence)
    }
    body.writeVarint(UInt64(state.positions.count))
    for (name, position) in state.positions.sorted(by: { $0.key < $1.key }) {
      body.writeLengthPrefixed(name)
      body.writeLengthPrefixed(position.bytes)
    }
    body.writeVarint(UInt64(state.pending.count))
    for request in state.pending {
      body.writeLengthPrefixed(request.partition.topic.text)
      body.write(request.partition.partition)
      body.writeLengthPrefixed(request.batch.bytes)
    }
    var file = ByteWriter(reserving: body.count + headerBytes)
    file.write(magic)
    file.write(version)
    file.write(UInt32(body.count))
    file.write(CRC32C.checksum(body.bytes))
    file.write(body.bytes)
    return file.bytes
  }

  static func decode(_ bytes: [UInt8], path: String) throws(PipelineError) -> State {
    func broken(_ reason: String) -> PipelineError { .invalidCheckpoint(file: path, reason: reason) }
    guard bytes.count >= headerBytes, Array(bytes[..<8]) == magic else {
      throw broken("is not a streamer's position file")
    }
    let result = bytes.withUnsafeBytes { raw -> Result<State, PipelineError> in
      do throws(PipelineError) {
        return .success(try decodeBody(raw, broken))
      } catch { return .failure(error) }
    }
    return try result.get()
  }

  private static func decodeBody(
    _ raw: UnsafeRawBufferPointer, _ broken: (String) -> PipelineError
  ) throws(PipelineError) -> State {
    var state = State()
    do {
      var reader = ByteReader(raw)
      reader.position = 8
      let version = try reader.read(UInt32.self)
      guard version == Outbox.version else {
        throw broken("has format version \(version), and this program knows \(Outbox.version); use a newer one")
      }
      let length = Int(try reader.read(UInt32.self))
      let crc = try reader.read(UInt32.self)
      guard reader.remaining == length, length <= bytesMax else { throw broken("has the wrong length") }
      guard CRC32C.checksum(UnsafeRawBufferPointer(rebasing: raw[headerBytes...])) == crc else {
        throw broken("does not match its checksum")
      }
      let id = try reader.read(Int64.self)
      let epoch = try reader.read(Int16.self)
      if id >= 0 { state.producer.identity = ProducerIdentity(id: id, epoch: epoch) }
      for _ in 0..<(try reader.readCount(max: 1 << 20)) {
        let partition = try reader.read(Int32.self)
        state.producer.sequences[partition] = try reader.read(Int32.self)
      }
      for _ in 0..<(try reader.readCount(max: 1 << 16)) {
        let name = try reader.readString(max: 64 << 10)
        state.positions[name] = SourcePosition(
          bytes: Array(try reader.readLengthPrefixed(max: SourcePosition.bytesMax)))
      }
      for _ in 0..<(try reader.readCount(max: 1 << 16)) {
        let text = try reader.readString(max: 249)
        let partition = try reader.read(Int32.self)
        let batch = Array(try reader.readLengthPrefixed(max: bytesMax))
        guard let topic = TopicName(text) else { throw broken("names a topic that cannot be") }
        do throws(LogError) {
          state.pending.append(
            AppendRequest(
              partition: TopicPartition(topic: topic, partition: partition),
              batch: try RecordBatch(validating: batch)))
        } catch { throw broken("holds a batch that is not valid: \(error)") }
      }
    } catch let error as PipelineError {
      throw error
    } catch {
      throw broken("cannot be read: \(error)")
    }
    return state
  }
}
