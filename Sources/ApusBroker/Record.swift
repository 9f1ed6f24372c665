/// One message of the log: what a producer hands in and a consumer gets back. Owned; for a walk over a batch without
/// a copy there is `RecordView`.
package struct Record: Hashable, Sendable {
  /// Milliseconds since 1970, as the producer says.
  package var timestamp: Int64
  package var key: [UInt8]?
  package var value: [UInt8]?
  package var headers: [RecordHeader]

  package init(timestamp: Int64, key: [UInt8]? = nil, value: [UInt8]?, headers: [RecordHeader] = []) {
    self.timestamp = timestamp
    self.key = key
    self.value = value
    self.headers = headers
  }
}

/// A name and a value beside a record's own, such as its `content-type`. Names may repeat.
package struct RecordHeader: Hashable, Sendable {
  package var name: String
  package var value: [UInt8]?

  package init(name: String, value: [UInt8]?) {
    self.name = name
    self.value = value
  }
}

/// Headers in the form that a record holds them, made once and written with any number of records.
package struct EncodedRecordHeaders: Sendable {
  let bytes: [UInt8]

  package static let empty = EncodedRecordHeaders([])

  package init(_ headers: [RecordHeader]) {
    var encoder = RecordEncoder()
    encoder.writeHeaders(headers)
    bytes = encoder.takeBytes()
  }
}

/// A record inside a batch, borrowed: its memory is the batch's (or the buffer that the batch was expanded into) and
/// is gone when the call that handed it out returns. So it cannot be copied; take out what is to be kept.
package struct RecordView: ~Copyable {
  package let offset: Int64
  /// Milliseconds since 1970: the producer's, or the time of the append where the topic is set so.
  package let timestamp: Int64
  package let key: UnsafeRawBufferPointer?
  package let value: UnsafeRawBufferPointer?
  package let headerCount: Int
  /// The headers' fields one after another, checked when the record was found.
  let headers: UnsafeRawBufferPointer

  /// The value of the first header of that name; nil when there is none or when its value is null.
  package func header(_ name: StaticString) -> UnsafeRawBufferPointer? {
    firstHeader(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount))
  }

  /// As above, for a name that is known only at run time.
  package func header(_ name: String) -> UnsafeRawBufferPointer? {
    var name = name
    return name.withUTF8 { firstHeader(UnsafeRawBufferPointer($0)) }
  }

  /// Calls `body` with each header's name and value, in order.
  package func forEachHeader(
    _ body: (_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer?) throws -> Void
  ) rethrows {
    var cursor = RecordCursor(headers)
    for _ in 0..<headerCount {
      guard let header = cursor.readHeader() else { return }
      try body(header.name, header.value)
    }
  }

  /// A copy to keep.
  package func copy() -> Record {
    var copied: [RecordHeader] = []
    copied.reserveCapacity(headerCount)
    forEachHeader { name, value in
      copied.append(RecordHeader(name: String(decoding: name, as: UTF8.self), value: value.map { [UInt8]($0) }))
    }
    return Record(
      timestamp: timestamp, key: key.map { [UInt8]($0) }, value: value.map { [UInt8]($0) }, headers: copied)
  }

  private func firstHeader(_ wanted: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    var cursor = RecordCursor(headers)
    for _ in 0..<headerCount {
      guard let header = cursor.readHeader() else { return nil }
      if header.name.count == wanted.count, header.name.elementsEqual(wanted) { return header.value }
    }
    return nil
  }
}
