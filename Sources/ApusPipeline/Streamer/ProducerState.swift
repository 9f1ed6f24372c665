import ApusBroker

/// Who the streamer is to the log and which sequence each partition expects next: what makes a repeat recognisable.
package struct ProducerState: Hashable, Sendable {
  package var identity: ProducerIdentity?
  /// The sequence of the next record; absent: 0.
  package var sequences: [Int32: Int32] = [:]

  package init(identity: ProducerIdentity? = nil) { self.identity = identity }

  /// The sequence for a batch of so many records, and moves behind it. Sequences begin again at 0 behind 2³¹ − 1, as in
  /// Kafka's producer.
  package mutating func take(_ count: Int, in partition: Int32) -> Int32 {
    let base = sequences[partition] ?? 0
    sequences[partition] = Int32((Int64(base) + Int64(count)) & 0x7fff_ffff)
    return base
  }

  /// Begins anew as somebody else.
  package mutating func replace(with identity: ProducerIdentity) {
    self.identity = identity
    sequences.removeAll()
  }
}
