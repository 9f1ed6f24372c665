import ApusBroker
import ApusIO

/// Reads the JSON object of a request in one pass, without an allocation a message: what is text stays in the frame.
package struct RequestDecoder {
  /// The most messages of one `publish`.
  static let messagesMax = 100_000
  /// How deep a request may nest; the deepest that is defined is 4.
  private static let depthMax = 8

  private(set) var request = Request()
  /// The messages of a `publish`, in order. Invariant (unsafe memory): valid while the frame's bytes are held.
  private(set) var messages: [RequestMessage] = []
  private var hasType = false
  /// A topic's name is made into a value once for many frames.
  private var lastTopicBytes: [UInt8] = []
  private var lastTopic: TopicName?

  package init() {}

  /// Fills `request` and `messages`; answers where the payload begins. On an error `request.id` tells what was read
  /// of it.
  package mutating func decode(_ frame: UnsafeRawBufferPointer) throws(DoorError) -> Int {
    request = Request()
    messages.removeAll(keepingCapacity: true)
    hasType = false
    var scanner = JSONScanner(frame, maxDepth: RequestDecoder.depthMax)
    do throws(JSONError) {
      try scanner.beginObject()
    } catch {
      throw RequestDecoder.jsonProblem(error)
    }
    // A frame whose type is not known is answered as such, but only once all of it has been read.
    var unknownType: String?
    while let key = try json({ scanner throws(JSONError) in try scanner.nextKey() }, &scanner) {
      try member(key, &scanner, &unknownType)
    }
    let payloadStart = scanner.position
    if let unknownType { throw DoorError(.unknownType, "there is no request of type \"\(unknownType)\"") }
    guard hasType else { throw .invalidRequest("type", "is missing") }
    if request.payloadBytes == 0 {
      do throws(JSONError) { try scanner.finish() } catch { throw RequestDecoder.jsonProblem(error) }
    } else if frame.count - payloadStart != request.payloadBytes {
      throw .invalidRequest(
        "payload_bytes", "says \(request.payloadBytes) and \(frame.count - payloadStart) bytes follow the object")
    }
    return payloadStart
  }

  private mutating func member(
    _ key: JSONText, _ scanner: inout JSONScanner, _ unknownType: inout String?
  ) throws(DoorError) {
    switch key {
    case "type":
      let text = try string("type", &scanner)
      hasType = true
      if let type = RequestDecoder.type(text) { request.type = type } else { unknownType = text.string }
    case "id": request.id = try integer("id", 0...Int64.max, &scanner)
    case "topic": request.topic = try topic(&scanner)
    case "partition": request.partition = try partition(&scanner)
    case "message":
      try expect(.object, "message", &scanner)
      try message(&scanner)
    case "messages":
      try expect(.array, "messages", &scanner)
      try json({ scanner throws(JSONError) in try scanner.beginArray() }, &scanner)
      while try json({ scanner throws(JSONError) in try scanner.nextElement() }, &scanner) {
        try expect(.object, "messages", &scanner)
        try message(&scanner)
      }
    case "payload_bytes": request.payloadBytes = Int(try integer("payload_bytes", 0...Int64(Int32.max), &scanner))
    case "batch": request.isBatch = try boolean("batch", &scanner)
    case "producer_id": request.producerID = try integer("producer_id", 0...Int64.max, &scanner)
    case "epoch": request.epoch = Int16(try integer("epoch", 0...Int64(Int16.max), &scanner))
    case "sequence": request.sequence = Int32(try integer("sequence", 0...Int64(Int32.max), &scanner))
    case "subscription": request.subscription = try integer("subscription", 0...Int64.max, &scanner)
    case "credit_messages": request.creditMessages = try integer("credit_messages", 1...Int64(Int32.max), &scanner)
    case "credit_bytes": request.creditBytes = try integer("credit_bytes", 1...Int64(1) << 40, &scanner)
    case "from": request.from = try startPosition(&scanner)
    case "format":
      let text = try string("format", &scanner)
      guard let format = DeliveryFormat(rawValue: text.string) else {
        throw .invalidRequest("format", "is neither \"messages\" nor \"batches\"")
      }
      request.format = format
    case "offset": request.offset = try integer("offset", Int64.min...Int64.max, &scanner)
    case "max_bytes": request.maxBytes = try integer("max_bytes", 1...Int64(Int32.max), &scanner)
    case "wait_ms": request.waitMilliseconds = try integer("wait_ms", 0...3_600_000, &scanner)
    case "partitions": request.configuration.partitions = Int32(try integer("partitions", 1...100_000, &scanner))
    case "retention_ms":
      request.configuration.retentionMilliseconds = try integer("retention_ms", 1...Int64.max, &scanner)
    case "retention_bytes":
      request.configuration.retentionBytes = try integer("retention_bytes", 1...Int64.max, &scanner)
    case "segment_bytes": request.configuration.segmentBytes = try integer("segment_bytes", 1...Int64.max, &scanner)
    case "max_message_bytes":
      request.configuration.maxMessageBytes = Int(try integer("max_message_bytes", 1...Int64(Int32.max), &scanner))
    default:
      // Members that this version does not know are passed over, so that newer clients can talk to it.
      try json({ scanner throws(JSONError) in try scanner.skipValue() }, &scanner)
    }
  }

  private mutating func message(_ scanner: inout JSONScanner) throws(DoorError) {
    guard messages.count < RequestDecoder.messagesMax else {
      throw .invalidRequest("messages", "has more than \(RequestDecoder.messagesMax) messages")
    }
    var message = RequestMessage()
    try json({ scanner throws(JSONError) in try scanner.beginObject() }, &scanner)
    while let key = try json({ scanner throws(JSONError) in try scanner.nextKey() }, &scanner) {
      switch key {
      case "value": message.value = try content("value", isBase64: false, message.value, &scanner)
      case "value_base64": message.value = try content("value_base64", isBase64: true, message.value, &scanner)
      case "key": message.key = try content("key", isBase64: false, message.key, &scanner)
      case "key_base64": message.key = try content("key_base64", isBase64: true, message.key, &scanner)
      case "timestamp": message.timestamp = try timestamp("timestamp", &scanner)
      case "headers":
        try expect(.object, "headers", &scanner)
        message.headers = try json({ scanner throws(JSONError) in try scanner.skipValue() }, &scanner)
      default: try json({ scanner throws(JSONError) in try scanner.skipValue() }, &scanner)
      }
    }
    if case .missing = message.value { throw .invalidRequest("value", "or \"value_base64\" is missing in a message") }
    messages.append(message)
  }

  private func content(
    _ field: StaticString, isBase64: Bool, _ present: RequestMessage.Content, _ scanner: inout JSONScanner
  ) throws(DoorError) -> RequestMessage.Content {
    guard case .missing = present else {
      throw .invalidRequest("\(field)", "and its other form are both there, or twice")
    }
    if try kind(&scanner) == .null {
      try json({ scanner throws(JSONError) in try scanner.readNull() }, &scanner)
      return .null
    }
    let text = try string(field, &scanner)
    return isBase64 ? .base64(text) : .text(text)
  }

  private mutating func topic(_ scanner: inout JSONScanner) throws(DoorError) -> TopicName {
    let text = try string("topic", &scanner)
    if !text.hasEscapes, text.bytes.count == lastTopicBytes.count, text.bytes.elementsEqual(lastTopicBytes),
      let lastTopic
    {
      return lastTopic
    }
    guard let name = TopicName(text.string) else { throw DoorError(.invalidTopicName(text.string)) }
    lastTopicBytes = [UInt8](name.text.utf8)
    lastTopic = name
    return name
  }

  private func partition(_ scanner: inout JSONScanner) throws(DoorError) -> PartitionChoice {
    guard try kind(&scanner) == .string else {
      return .one(Int32(try integer("partition", 0...Int64(Int32.max), &scanner)))
    }
    guard try string("partition", &scanner) == "all" else {
      throw .invalidRequest("partition", "is neither a number nor \"all\"")
    }
    return .all
  }

  private func startPosition(_ scanner: inout JSONScanner) throws(DoorError) -> StartPosition {
    switch try kind(&scanner) {
    case .number: return .offset(try integer("from", Int64.min...Int64.max, &scanner))
    case .object:
      try json({ scanner throws(JSONError) in try scanner.beginObject() }, &scanner)
      var result: StartPosition?
      while let key = try json({ scanner throws(JSONError) in try scanner.nextKey() }, &scanner) {
        if key == "timestamp" {
          result = .timestamp(try timestamp("from", &scanner))
        } else {
          try json({ scanner throws(JSONError) in try scanner.skipValue() }, &scanner)
        }
      }
      if let result { return result }
    default:
      let text = try string("from", &scanner)
      if text == "earliest" { return .earliest }
      if text == "latest" { return .latest }
    }
    throw .invalidRequest("from", "is none of \"earliest\", \"latest\", an offset, {\"timestamp\": …}")
  }

  /// Milliseconds since 1970 or RFC 3339.
  private func timestamp(_ field: StaticString, _ scanner: inout JSONScanner) throws(DoorError) -> Int64 {
    // The years 0 to 9999, so that no two timestamps are further apart than a batch can say.
    if try kind(&scanner) == .number { return try integer(field, RFC3339.earliest...RFC3339.latest, &scanner) }
    guard let time = RFC3339.parse(try string(field, &scanner).string) else {
      throw .invalidRequest("\(field)", "is neither milliseconds since 1970 nor a time like 2025-07-18T20:42:34Z")
    }
    return time
  }

  private func integer(
    _ field: StaticString, _ range: ClosedRange<Int64>, _ scanner: inout JSONScanner
  ) throws(DoorError) -> Int64 {
    try expect(.number, field, &scanner)
    let number = try json({ scanner throws(JSONError) in try scanner.readNumber() }, &scanner)
    guard let value = number.integer, range.contains(value) else {
      throw .invalidRequest("\(field)", "is not a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  private func boolean(_ field: StaticString, _ scanner: inout JSONScanner) throws(DoorError) -> Bool {
    try expect(.boolean, field, &scanner)
    return try json({ scanner throws(JSONError) in try scanner.readBoolean() }, &scanner)
  }

  @inline(__always)
  private func string(_ field: StaticString, _ scanner: inout JSONScanner) throws(DoorError) -> JSONText {
    try expect(.string, field, &scanner)
    return try json({ scanner throws(JSONError) in try scanner.readString() }, &scanner)
  }

  @inline(__always)
  private func kind(_ scanner: inout JSONScanner) throws(DoorError) -> JSONKind {
    try json({ scanner throws(JSONError) in try scanner.peekKind() }, &scanner)
  }

  private func expect(_ wanted: JSONKind, _ field: StaticString, _ scanner: inout JSONScanner) throws(DoorError) {
    guard try kind(&scanner) == wanted else { throw .invalidRequest("\(field)", "is not \(wanted.phrase)") }
  }

  @inline(__always) @discardableResult
  private func json<Value>(
    _ read: (inout JSONScanner) throws(JSONError) -> Value, _ scanner: inout JSONScanner
  ) throws(DoorError) -> Value {
    do throws(JSONError) { return try read(&scanner) } catch { throw RequestDecoder.jsonProblem(error) }
  }

  private static func type(_ text: JSONText) -> RequestType? {
    if text == "publish" { return .publish }
    if text == "credit" { return .credit }
    return RequestType(rawValue: text.string)
  }

  static func jsonProblem(_ error: JSONError) -> DoorError {
    DoorError(.invalidJSON, error.description, details: ["position": .integer(Int64(error.offset))])
  }
}

extension JSONKind {
  fileprivate var phrase: String {
    switch self {
    case .object: "an object"
    case .array: "a list"
    case .string: "a string"
    case .number: "a number"
    case .boolean: "true or false"
    case .null: "null"
    }
  }
}
