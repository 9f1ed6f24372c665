/// Reads the protocol buffers' wire format from borrowed bytes, field by field, without building messages.
///
/// A reader stands in one message. `next()` gives the fields in the order in which they lie there; the caller then takes
/// the value with the method for its type, or `skip`s it. A nested message is read by a reader of its own (`message`),
/// whose offsets count from the same beginning. Nothing is allocated.
///
/// Invariant (unsafe memory): the caller keeps `bytes` alive for as long as the reader and what it lends are used.
package struct ProtobufReader {
  /// How deep messages may be nested. The telemetry formats need 8; only values that hold lists of values go deeper.
  package static let depthMax = 32

  /// A field's number and the form of its value.
  package struct Field {
    package let number: Int
    package let type: WireType
  }

  package enum WireType: UInt8, Sendable {
    case varint = 0
    case fixed64 = 1
    case bytes = 2
    case fixed32 = 5
  }

  /// All the bytes; the message is the part from `position` to `end`.
  package let bytes: UnsafeRawBufferPointer
  package private(set) var position: Int
  package let end: Int
  private let depth: Int

  package init(_ bytes: UnsafeRawBufferPointer) {
    self.init(bytes, 0..<bytes.count, depth: 0)
  }

  private init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, depth: Int) {
    self.bytes = bytes
    position = range.lowerBound
    end = range.upperBound
    self.depth = depth
  }

  package var isAtEnd: Bool { position >= end }

  /// The next field's head, or nil at the end of the message.
  @inline(__always)
  package mutating func next() throws(FormatError) -> Field? {
    guard position < end else { return nil }
    let start = position
    let tag = try varint()
    guard tag >> 3 != 0, tag >> 3 < 1 << 29 else { throw .protobuf(.invalidFieldNumber, offset: start) }
    guard let type = WireType(rawValue: UInt8(tag & 7)) else {
      throw .protobuf(.unsupportedWireType(UInt8(tag & 7)), offset: start)
    }
    return Field(number: Int(tag >> 3), type: type)
  }

  /// Passes over the value of a field that is not wanted.
  package mutating func skip(_ field: Field) throws(FormatError) {
    switch field.type {
    case .varint: _ = try varint()
    case .fixed64: try advance(8)
    case .bytes: _ = try range()
    case .fixed32: try advance(4)
    }
  }

  @inline(__always)
  package mutating func varint(_ field: Field) throws(FormatError) -> UInt64 {
    try expect(.varint, field)
    return try varint()
  }

  @inline(__always)
  package mutating func fixed64(_ field: Field) throws(FormatError) -> UInt64 {
    try expect(.fixed64, field)
    guard position + 8 <= end else { throw .protobuf(.truncated, offset: position) }
    defer { position += 8 }
    return UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
  }

  @inline(__always)
  package mutating func double(_ field: Field) throws(FormatError) -> Double {
    Double(bitPattern: try fixed64(field))
  }

  /// Where the value of a string, of bytes or of a message lies in `bytes`.
  @inline(__always)
  package mutating func range(_ field: Field) throws(FormatError) -> Range<Int> {
    try expect(.bytes, field)
    return try range()
  }

  /// The value of a string or of bytes, still borrowed.
  @inline(__always)
  package mutating func data(_ field: Field) throws(FormatError) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: bytes[try range(field)])
  }

  /// A reader for a nested message.
  @inline(__always)
  package mutating func message(_ field: Field) throws(FormatError) -> ProtobufReader {
    guard depth < ProtobufReader.depthMax else {
      throw .protobuf(.tooDeep(limit: ProtobufReader.depthMax), offset: position)
    }
    return ProtobufReader(bytes, try range(field), depth: depth + 1)
  }

  /// The elements of a repeated field of varints, packed or one by one.
  package mutating func varints(_ field: Field, _ body: (UInt64) throws(FormatError) -> Void) throws(FormatError) {
    if field.type == .varint { return try body(try varint()) }
    var inner = ProtobufReader(bytes, try range(field), depth: depth)
    while !inner.isAtEnd { try body(try inner.varint()) }
  }

  /// The elements of a repeated field of 64-bit numbers (fixed64, sfixed64, double), packed or one by one.
  package mutating func fixed64s(_ field: Field, _ body: (UInt64) throws(FormatError) -> Void) throws(FormatError) {
    if field.type == .fixed64 { return try body(try fixed64(field)) }
    let whole = try range(field)
    guard whole.count % 8 == 0 else { throw .protobuf(.packedLength(field: field.number), offset: whole.lowerBound) }
    var offset = whole.lowerBound
    while offset < whole.upperBound {
      try body(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      offset += 8
    }
  }

  /// Moves to a place within the message that an earlier reading found to be the start of a field.
  mutating func resume(at place: Int) {
    precondition(place >= position && place <= end, "place \(place) in \(position)..<\(end)")
    position = place
  }

  @inline(__always)
  private func expect(_ type: WireType, _ field: Field) throws(FormatError) {
    guard field.type == type else { throw .protobuf(.wrongWireType(field: field.number), offset: position) }
  }

  @inline(__always)
  private mutating func varint() throws(FormatError) -> UInt64 {
    if position < end, bytes[position] < 0x80 {
      defer { position += 1 }
      return UInt64(bytes[position])
    }
    return try longVarint()
  }

  private mutating func longVarint() throws(FormatError) -> UInt64 {
    let start = position
    var result: UInt64 = 0
    var shift: UInt64 = 0
    while position < end {
      let byte = bytes[position]
      position += 1
      // The tenth byte has one bit to give; encoders of negative 32-bit numbers may set more, which are dropped.
      result |= UInt64(byte & 0x7f) << shift
      if byte < 0x80 { return result }
      shift += 7
      if shift > 63 { throw .protobuf(.varintTooLong, offset: start) }
    }
    throw .protobuf(.truncated, offset: start)
  }

  @inline(__always)
  private mutating func range() throws(FormatError) -> Range<Int> {
    let start = position
    let length = try varint()
    guard length <= UInt64(end - position) else { throw .protobuf(.truncated, offset: start) }
    let first = position
    position += Int(length)
    return first..<position
  }

  private mutating func advance(_ count: Int) throws(FormatError) {
    guard count <= end - position else { throw .protobuf(.truncated, offset: position) }
    position += count
  }
}
