/// Writes the protocol buffers' wire format. Fields with their default value are the caller's to leave out.
package struct ProtobufWriter: Sendable {
  package private(set) var bytes: [UInt8] = []

  package init(reserving capacity: Int = 0) { bytes.reserveCapacity(capacity) }

  /// Empties the writer and keeps its memory.
  package mutating func removeAll() { bytes.removeAll(keepingCapacity: true) }

  package mutating func varint(_ value: UInt64, field: Int) {
    tag(field, 0)
    varint(value)
  }

  /// An int64: negative numbers take ten bytes.
  package mutating func int64(_ value: Int64, field: Int) { varint(UInt64(bitPattern: value), field: field) }

  package mutating func double(_ value: Double, field: Int) { fixed64(value.bitPattern, field: field) }

  package mutating func fixed64(_ value: UInt64, field: Int) {
    tag(field, 1)
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  package mutating func data(_ value: some Collection<UInt8>, field: Int) {
    tag(field, 2)
    varint(UInt64(value.count))
    bytes.append(contentsOf: value)
  }

  package mutating func string(_ value: String, field: Int) { data(value.utf8, field: field) }

  /// The head of a nested message of `count` bytes, which the caller writes next.
  package mutating func messageHead(count: Int, field: Int) {
    tag(field, 2)
    varint(UInt64(count))
  }

  /// A nested message. It is written behind its head and moved where that takes more than a byte, so it suits small ones;
  /// where there are many, count the bytes and use `messageHead`.
  package mutating func message(field: Int, _ body: (inout ProtobufWriter) -> Void) {
    tag(field, 2)
    let head = bytes.count
    bytes.append(0)
    body(&self)
    let length = bytes.count - head - 1
    if length < 0x80 {
      bytes[head] = UInt8(length)
    } else {
      var prefix = ProtobufWriter()
      prefix.varint(UInt64(length))
      bytes.replaceSubrange(head...head, with: prefix.bytes)
    }
  }

  /// How many bytes a varint takes.
  package static func varintBytes(_ value: UInt64) -> Int {
    value == 0 ? 1 : (70 - value.leadingZeroBitCount) / 7
  }

  /// How many bytes a field of `count` bytes takes with its head, for field numbers below 16.
  package static func dataBytes(_ count: Int) -> Int { 1 + varintBytes(UInt64(count)) + count }

  private mutating func tag(_ field: Int, _ type: UInt64) {
    varint(UInt64(field) << 3 | type)
  }

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }
}
