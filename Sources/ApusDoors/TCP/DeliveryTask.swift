import ApusBroker
import ApusIO
import Synchronization

/// Reads one partition for one subscription and sends what the credit allows, for as long as the subscription lives.
///
/// It holds a position and at most one slice: before it reads it waits until there is credit and room in the socket,
/// so a subscriber that stands still costs the broker what one frame costs and nothing that grows.
struct DeliveryTask {
  let context: DoorContext
  let outbox: ConnectionOutbox
  let subscriber: Subscriber
  let partition: TopicPartition

  func run(from start: Int64) async {
    var position = start
    while !Task.isCancelled {
      guard await subscriber.waitForCredit(), await outbox.waitForRoom() else { return }
      do throws(LogError) {
        let slice = try await context.log.read(
          partition, from: position, maxBytes: context.configuration.deliveryBytes.bytes,
          waiting: context.configuration.deliveryWait)
        if subscriber.isEnded || Task.isCancelled { return }
        if slice.batches.isEmpty { continue }
        position =
          switch subscriber.format {
          case .batches: await sendBatches(slice, position)
          case .messages: await sendMessages(slice, position)
          }
        subscriber.advance(partition.partition, to: position)
      } catch {
        await fail(error)
        return
      }
    }
  }

  /// The subscriber is told that this partition has come to its end for it; the others go on.
  private func fail(_ error: LogError) async {
    let error = DoorError(error)
    context.metrics.countError(error.code)
    var writer = FrameWriter()
    writer.error(error, id: nil, subscription: subscriber.number)
    if await outbox.waitForRoom() { outbox.send(writer.take()) }
  }

  /// Sends whole batches, as many as the credit covers; one at least. Answers the next position.
  private func sendBatches(_ slice: LogSlice, _ position: Int64) async -> Int64 {
    var next = position
    var payload: [[UInt8]] = []
    var records = 0
    var first: Int64?
    for batch in slice.batches {
      // A batch is not cut, so the first may pass the credit of messages.
      if !payload.isEmpty, records + batch.recordCount > Int(subscriber.credit.messages ?? Int64(Int32.max)) { break }
      payload.append(batch.bytes)
      records += batch.recordCount
      if first == nil { first = batch.baseOffset }
      next = batch.nextOffset
    }
    var writer = FrameWriter()
    writer.frame("batch", id: nil, payload: payload) { json in
      members(&json, slice, next)
      json.key("base_offset")
      json.integer(first ?? position)
      json.key("batches")
      json.integer(payload.count)
      json.key("count")
      json.integer(records)
    }
    let bytes = writer.take()
    subscriber.spend(messages: records, bytes: bytes.count)
    send(bytes, records)
    return next
  }

  /// Sends records as JSON in frames of about `messageFrameBytes`. Answers the next position.
  private func sendMessages(_ slice: LogSlice, _ position: Int64) async -> Int64 {
    var next = position
    for batch in slice.batches where batch.nextOffset > next {
      let wanted = Int(batch.nextOffset - max(next, batch.baseOffset))
      var granted = subscriber.take(messages: wanted)
      if granted == 0 { return next }
      let isWhole = granted == wanted
      var frame = MessageFrame()
      var index = 0
      var pieces: [(bytes: [UInt8], records: Int, next: Int64)] = []
      do {
        try batch.forEachRecord { record in
          guard record.offset >= next, granted > 0 else { return }
          granted -= 1
          index += 1
          frame.append(record)
          if frame.byteCount >= DeliveryTask.messageFrameBytes {
            pieces.append((frame.finish { members(&$0, slice, record.offset + 1) }, index, record.offset + 1))
            index = 0
          }
        }
      } catch {
        await fail(error as? LogError ?? .protocolViolation("\(error)"))
        subscriber.end()
        return next
      }
      let end = isWhole ? batch.nextOffset : frame.nextOffset ?? next
      if !frame.isEmpty { pieces.append((frame.finish { members(&$0, slice, end) }, index, end)) }
      for piece in pieces {
        guard await outbox.waitForRoom() else { return next }
        subscriber.spend(messages: 0, bytes: piece.bytes.count)
        send(piece.bytes, piece.records)
        next = piece.next
        subscriber.advance(partition.partition, to: next)
      }
      if isWhole { next = batch.nextOffset } else { return next }
    }
    return next
  }

  /// A frame of messages is closed when it has grown to this.
  private static let messageFrameBytes = 64 << 10

  private func members(_ json: inout JSONWriter, _ slice: LogSlice, _ next: Int64) {
    json.key("subscription")
    json.integer(subscriber.number)
    json.key("topic")
    json.string(partition.topic.text)
    json.key("partition")
    json.integer(Int64(partition.partition))
    json.key("next_offset")
    json.integer(next)
    json.key("high_watermark")
    json.integer(slice.highWatermark)
    json.key("log_start")
    json.integer(slice.logStart)
  }

  private func send(_ bytes: [UInt8], _ records: Int) {
    context.metrics.messagesDelivered.add(UInt64(records))
    context.metrics.bytesDelivered.add(UInt64(bytes.count))
    outbox.send(bytes)
  }
}

/// Puts records as JSON into one `messages` frame.
struct MessageFrame {
  private var list = JSONWriter(reserving: 4096)
  private(set) var nextOffset: Int64?
  private var scratch: [UInt8] = []

  var isEmpty: Bool { list.bytes.isEmpty }
  var byteCount: Int { list.bytes.count }

  mutating func append(_ record: borrowing RecordView) {
    nextOffset = record.offset + 1
    list.beginObject()
    list.key("offset")
    list.integer(record.offset)
    list.key("timestamp")
    list.integer(record.timestamp)
    if let key = record.key { text(key, "key", "key_base64") }
    if let value = record.value {
      text(value, "value", "value_base64")
    } else {
      list.key("value")
      list.null()
    }
    if record.headerCount > 0 { headers(record) }
    list.endObject()
  }

  /// The whole frame, its length first; empties this one.
  mutating func finish(_ members: (inout JSONWriter) -> Void) -> [UInt8] {
    var writer = FrameWriter()
    let messages = list.bytes
    writer.frame("messages", id: nil) { json in
      members(&json)
      json.key("messages")
      json.beginArray()
      json.raw(messages)
      json.endArray()
    }
    list.removeAll()
    nextOffset = nil
    return writer.take()
  }

  /// Text where the bytes are UTF-8, base64 where they are not.
  private mutating func text(_ bytes: UnsafeRawBufferPointer, _ plain: StaticString, _ base64: StaticString) {
    if MessageFrame.isPlain(bytes) {
      // Nearly every message: quoted as it is, which is three times as fast as looking at each byte.
      scratch.removeAll(keepingCapacity: true)
      scratch.append(UInt8(ascii: "\""))
      scratch.append(contentsOf: bytes)
      scratch.append(UInt8(ascii: "\""))
      list.key(plain)
      list.raw(scratch)
    } else if UTF8Check.isValid(bytes) {
      list.key(plain)
      list.string(utf8: bytes)
    } else {
      scratch.removeAll(keepingCapacity: true)
      Base64.encode(bytes, appendingTo: &scratch)
      list.key(base64)
      scratch.withUnsafeBytes { list.string(utf8: $0) }
    }
  }

  /// Whether all bytes are ASCII that JSON writes as it is: no quote, no backslash, no control character. Eight at a
  /// time; a borrow from a lower byte may mark one falsely, which only takes the slower way.
  private static func isPlain(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let ones: UInt64 = 0x0101_0101_0101_0101
    var marks: UInt64 = 0
    var position = 0
    while position + 8 <= bytes.count {
      let word = bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)
      marks |= (word ^ (ones &* 0x22)) &- ones | (word ^ (ones &* 0x5c)) &- ones | word &- (ones &* 0x20) | word
      position += 8
    }
    if marks & (ones &* 0x80) != 0 { return false }
    while position < bytes.count {
      let byte = bytes[position]
      if byte < 0x20 || byte >= 0x80 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { return false }
      position += 1
    }
    return true
  }

  private mutating func headers(_ record: borrowing RecordView) {
    list.key("headers")
    list.beginObject()
    record.forEachHeader { name, value in
      // Names of a batch from elsewhere need not be UTF-8; what is not is shown as replacement characters.
      list.key(String(decoding: name, as: UTF8.self))
      if let value { list.string(String(decoding: value, as: UTF8.self)) } else { list.null() }
    }
    list.endObject()
  }
}

/// One `fetch`: reads once, waiting for data if it must, and answers.
struct FetchTask {
  let id: Int64?
  let partition: TopicPartition
  let offset: Int64
  let maxBytes: Int
  let wait: Duration

  func run(_ context: DoorContext, _ outbox: ConnectionOutbox) async {
    guard await outbox.waitForRoom() else { return }
    var writer = FrameWriter()
    do throws(LogError) {
      let slice = try await context.log.read(partition, from: offset, maxBytes: maxBytes, waiting: wait)
      let records = slice.batches.reduce(0) { $0 + $1.recordCount }
      writer.frame("fetched", id: id, payload: slice.batches.map { $0.bytes }) { json in
        json.key("topic")
        json.string(partition.topic.text)
        json.key("partition")
        json.integer(Int64(partition.partition))
        json.key("high_watermark")
        json.integer(slice.highWatermark)
        json.key("log_start")
        json.integer(slice.logStart)
        json.key("batches")
        json.integer(slice.batches.count)
      }
      context.metrics.messagesDelivered.add(UInt64(records))
      context.metrics.bytesDelivered.add(UInt64(writer.bytes.count))
    } catch {
      let error = DoorError(error)
      context.metrics.countError(error.code)
      writer.error(error, id: id)
    }
    outbox.send(writer.take())
  }
}

/// How many fetches of a connection wait.
final class FetchCount: Sendable {
  private let count = Atomic<Int>(0)

  /// False when there are `limit` already.
  func begin(limit: Int) -> Bool {
    if count.wrappingAdd(1, ordering: .relaxed).newValue <= limit { return true }
    end()
    return false
  }

  func end() { count.wrappingSubtract(1, ordering: .relaxed) }
}
