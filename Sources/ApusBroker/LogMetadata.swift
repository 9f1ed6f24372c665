import ApusIO

/// How far a partition is known to be on stable storage (docs/format/log.md, "Checkpoint").
struct CheckpointEntry: Hashable, Sendable {
  /// The newest segment at that time, and how many of its bytes were synced.
  var segmentBase: Int64
  var syncedBytes: Int64
  /// The offset behind what was synced.
  var syncedOffset: Int64
  /// No offset at or beyond this one had been given out.
  var reservedOffset: Int64
}

/// The partition of a topic's incarnation: a topic that is deleted and made again has another identity.
struct PartitionIdentity: Hashable, Sendable {
  var topic: UInt64
  var partition: Int32
}

/// The checkpoint file.
enum CheckpointFile {
  private static let magic: UInt64 = 0x3154_5043_5355_5041  // "APUSCPT1"

  static func encode(_ entries: [PartitionIdentity: CheckpointEntry]) -> [UInt8] {
    var writer = ByteWriter(reserving: 16 + entries.count * 44)
    writer.write(UInt64(entries.count))
    let sorted = entries.sorted { ($0.key.topic, $0.key.partition) < ($1.key.topic, $1.key.partition) }
    for (identity, entry) in sorted {
      writer.write(identity.topic)
      writer.write(identity.partition)
      writer.write(entry.segmentBase)
      writer.write(entry.syncedBytes)
      writer.write(entry.syncedOffset)
      writer.write(entry.reservedOffset)
    }
    return ChecksummedFile.seal(writer.bytes, magic: magic)
  }

  static func decode(_ bytes: [UInt8]) -> [PartitionIdentity: CheckpointEntry]? {
    guard let payload = ChecksummedFile.open(bytes, magic: magic) else { return nil }
    return payload.withUnsafeBytes { raw in
      do throws(ByteReaderError) {
        var reader = ByteReader(raw)
        var entries: [PartitionIdentity: CheckpointEntry] = [:]
        for _ in 0..<(try reader.read(UInt64.self)) {
          let identity = PartitionIdentity(topic: try reader.read(), partition: try reader.read())
          entries[identity] = CheckpointEntry(
            segmentBase: try reader.read(), syncedBytes: try reader.read(), syncedOffset: try reader.read(),
            reservedOffset: try reader.read())
        }
        return entries
      } catch { return nil }
    }
  }
}

/// The numbers that are never given out twice.
struct Identities: Hashable, Sendable {
  /// Producer ids below this one may have been given out.
  var producersReserved: Int64 = 0
  var nextTopic: UInt64 = 1

  private static let magic: UInt64 = 0x3144_4945_5355_5041  // "APUSEID1"

  func encoded() -> [UInt8] {
    var writer = ByteWriter(reserving: 28)
    writer.write(producersReserved)
    writer.write(nextTopic)
    return ChecksummedFile.seal(writer.bytes, magic: Identities.magic)
  }

  static func decode(_ bytes: [UInt8]) -> Identities? {
    guard let payload = ChecksummedFile.open(bytes, magic: magic), payload.count == 16 else { return nil }
    return payload.withUnsafeBytes { raw in
      Identities(
        producersReserved: Int64(littleEndian: raw.loadUnaligned(as: Int64.self)),
        nextTopic: UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }
  }
}

/// The file that says what a topic is.
struct TopicFile: Hashable, Sendable {
  var identity: UInt64
  var configuration: TopicConfiguration

  private static let magic: UInt64 = 0x3143_5054_5355_5041  // "APUSTPC1"

  func encoded() -> [UInt8] {
    var writer = ByteWriter(reserving: 64)
    writer.write(identity)
    writer.write(configuration.partitions)
    // A setting that takes the log's default is -1: none of them may be negative.
    writer.write(configuration.retentionMilliseconds ?? -1)
    writer.write(configuration.retentionBytes ?? -1)
    writer.write(configuration.segmentBytes ?? -1)
    writer.write(Int64(configuration.maxMessageBytes ?? -1))
    return ChecksummedFile.seal(writer.bytes, magic: TopicFile.magic)
  }

  static func decode(_ bytes: [UInt8]) -> TopicFile? {
    guard let payload = ChecksummedFile.open(bytes, magic: magic) else { return nil }
    return payload.withUnsafeBytes { raw in
      do throws(ByteReaderError) {
        var reader = ByteReader(raw)
        let identity = try reader.read(UInt64.self)
        var configuration = TopicConfiguration(partitions: try reader.read())
        let numbers: [Int64] = [try reader.read(), try reader.read(), try reader.read(), try reader.read()]
        let settings = numbers.map { $0 < 0 ? nil : $0 }
        configuration.retentionMilliseconds = settings[0]
        configuration.retentionBytes = settings[1]
        configuration.segmentBytes = settings[2]
        configuration.maxMessageBytes = settings[3].map { Int($0) }
        guard configuration.partitions > 0 else { return nil }
        return TopicFile(identity: identity, configuration: configuration)
      } catch { return nil }
    }
  }
}
