/// A partition of a topic, as far as the store needs to know it.
package struct LogPartition: Hashable, Sendable {
  package var topic: String
  package var partition: Int32

  package init(topic: String, partition: Int32) {
    self.topic = topic
    self.partition = partition
  }
}

extension LogPartition: CustomStringConvertible {
  package var description: String { "\(topic)/\(partition)" }
}
