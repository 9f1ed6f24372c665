import ApusBroker
import ApusIO

/// Turns messages as they lie in a frame into records of a batch. Its buffers are used again for each.
struct MessageEncoder {
  private var key: [UInt8] = []
  private var value: [UInt8] = []
  /// Most messages of a client have the same headers: they are made once.
  private var lastHeaderJSON: [UInt8] = []
  private var lastHeaders = EncodedRecordHeaders.empty

  init() {}

  /// Appends a message to a batch; `timestamp` is for one that has none.
  mutating func append(
    _ message: RequestMessage, _ timestamp: Int64, to builder: inout RecordBatchBuilder
  ) throws(DoorError) {
    let headers = try encodedHeaders(message.headers)
    let keyPointer = try MessageEncoder.plain(message.key, "key_base64", &key)
    let valuePointer = try MessageEncoder.plain(message.value, "value_base64", &value)
    MessageEncoder.withBytes(keyPointer, key) { key in
      MessageEncoder.withBytes(valuePointer, value) { value in
        builder.append(timestamp: message.timestamp ?? timestamp, key: key, value: value, headers: headers)
      }
    }
  }

  /// Where the bytes of a member are.
  private enum Place {
    case none
    case frame(UnsafeRawBufferPointer)
    case scratch
  }

  private static func plain(
    _ content: RequestMessage.Content, _ field: StaticString, _ scratch: inout [UInt8]
  ) throws(DoorError) -> Place {
    switch content {
    case .missing, .null: return .none
    case .text(let text):
      if !text.hasEscapes { return .frame(text.bytes) }
      scratch.removeAll(keepingCapacity: scratch.capacity <= 65_536)
      text.append(to: &scratch)
      return .scratch
    case .base64(let text):
      scratch.removeAll(keepingCapacity: scratch.capacity <= 65_536)
      if text.hasEscapes {
        // Only "\/" can stand for a character of base64 in other guise; then the text is unescaped first.
        var plain: [UInt8] = []
        text.append(to: &plain)
        let isBase64 = plain.withUnsafeBytes { Base64.decode($0, appendingTo: &scratch) }
        guard isBase64 else { throw .invalidRequest("\(field)", "is not base64") }
        return .scratch
      }
      guard Base64.decode(text.bytes, appendingTo: &scratch) else {
        throw .invalidRequest("\(field)", "is not base64")
      }
      return .scratch
    }
  }

  private static func withBytes(_ place: Place, _ scratch: [UInt8], _ body: (UnsafeRawBufferPointer?) -> Void) {
    switch place {
    case .none: body(nil)
    case .frame(let bytes): body(bytes)
    case .scratch: scratch.withUnsafeBytes { body($0) }
    }
  }

  private mutating func encodedHeaders(_ json: UnsafeRawBufferPointer?) throws(DoorError) -> EncodedRecordHeaders {
    guard let json else { return .empty }
    if json.count == lastHeaderJSON.count, json.elementsEqual(lastHeaderJSON) { return lastHeaders }
    var headers: [RecordHeader] = []
    var scanner = JSONScanner(json)
    do {
      try scanner.beginObject()
      while let name = try scanner.nextKey() {
        switch try scanner.peekKind() {
        case .null:
          try scanner.readNull()
          headers.append(RecordHeader(name: name.string, value: nil))
        case .string:
          headers.append(RecordHeader(name: name.string, value: [UInt8](try scanner.readString().string.utf8)))
        default: throw DoorError.invalidRequest("headers", "has a value that is not a string")
        }
      }
    } catch let error as DoorError {
      throw error
    } catch let error as JSONError {
      throw RequestDecoder.jsonProblem(error)
    } catch {
      preconditionFailure("unexpected \(error)")
    }
    lastHeaderJSON = [UInt8](json)
    lastHeaders = EncodedRecordHeaders(headers)
    return lastHeaders
  }
}
