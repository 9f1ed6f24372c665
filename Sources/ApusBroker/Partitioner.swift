/// Chooses the partition of a record as Kafka's own clients do: by the key's hash, so that one key stays in order and
/// every client agrees on where it goes; a record without a key goes to one partition until the batch is closed.
package struct Partitioner: Sendable {
  package let partitions: Int32
  private var keyless: Int32 = 0

  /// - Precondition: at least one partition.
  package init(partitions: Int32) {
    precondition(partitions > 0, "\(partitions) partitions")
    self.partitions = partitions
  }

  /// The partition of a record with this key, or of the next one without.
  package func partition(forKey key: UnsafeRawBufferPointer?) -> Int32 {
    guard let key else { return keyless }
    return Int32(Partitioner.murmur2(key) & 0x7fff_ffff) % partitions
  }

  package func partition(forKey key: [UInt8]?) -> Int32 {
    guard let key else { return keyless }
    return key.withUnsafeBytes { partition(forKey: $0) }
  }

  /// Records without a key go to the next partition from now on: called when a batch of them has been sent.
  package mutating func closeKeylessBatch() {
    keyless = (keyless + 1) % partitions
  }

  /// MurmurHash2, 32 bits, with the seed of Kafka's clients (0x9747b28c).
  static func murmur2(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    let multiplier: UInt32 = 0x5bd1_e995
    var hash = 0x9747_b28c ^ UInt32(truncatingIfNeeded: bytes.count)
    var position = 0
    while position + 4 <= bytes.count {
      var word = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self))
      word &*= multiplier
      word ^= word >> 24
      word &*= multiplier
      hash &*= multiplier
      hash ^= word
      position += 4
    }
    let rest = bytes.count - position
    if rest > 0 {
      for index in 0..<rest { hash ^= UInt32(bytes[position + index]) << UInt32(8 * index) }
      hash &*= multiplier
    }
    hash ^= hash >> 13
    hash &*= multiplier
    hash ^= hash >> 15
    return hash
  }
}
