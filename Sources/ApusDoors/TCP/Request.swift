import ApusBroker
import ApusIO

/// What a client may ask for (docs/protocol.md, "Requests").
enum RequestType: String, CaseIterable, Sendable {
  case publish
  case subscribe
  case credit
  case unsubscribe
  case fetch
  case registerProducer = "register_producer"
  case createTopic = "create_topic"
  case deleteTopic = "delete_topic"
  case topics
  case offset
  case ping
}

/// Where a subscription begins.
enum StartPosition: Hashable, Sendable {
  case earliest
  case latest
  case offset(Int64)
  case timestamp(Int64)
}

/// In which form a subscription's records come.
enum DeliveryFormat: String, CaseIterable, Sendable {
  /// As JSON, a frame of some messages at a time.
  case messages
  /// Whole record batches as payload.
  case batches
}

/// Which partitions are meant.
enum PartitionChoice: Hashable, Sendable {
  case one(Int32)
  case all
}

/// The members of a request, whichever its type; each type looks at those that it knows. Messages lie apart, in
/// `RequestDecoder.messages`.
struct Request: Sendable {
  var type = RequestType.ping
  /// Echoed in the answer.
  var id: Int64?
  var topic: TopicName?
  var partition: PartitionChoice?
  var payloadBytes = 0
  var isBatch = false
  var producerID: Int64?
  var epoch: Int16?
  var sequence: Int32?
  var from: StartPosition?
  var creditMessages: Int64?
  var creditBytes: Int64?
  var format = DeliveryFormat.messages
  var subscription: Int64?
  var offset: Int64?
  var maxBytes: Int64?
  var waitMilliseconds: Int64?
  var configuration = TopicConfiguration()

  init() {}
}

/// A message as it lies in its frame.
///
/// Invariant (unsafe memory): points into the frame's bytes, and is used only while these are held.
struct RequestMessage {
  enum Content {
    case missing
    case null
    case text(JSONText)
    case base64(JSONText)
  }

  var key = Content.missing
  var value = Content.missing
  /// Milliseconds since 1970; nil for the time of receipt.
  var timestamp: Int64?
  /// The JSON object of the headers.
  var headers: UnsafeRawBufferPointer?
}
