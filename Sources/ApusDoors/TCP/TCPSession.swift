import ApusBroker
import ApusIO
import ApusService
import NIOCore

/// What all connections of a door share.
struct DoorContext: Sendable {
  let log: any RecordLog
  let configuration: TCPDoor.Configuration
  let metrics: BrokerMetrics
  let directory: TopicDirectory
  let subscribers: SubscriberRegistry
  let clock: any WallClock
}

/// One connection's conversation: takes what has arrived, appends all of its publishes in one call, answers in order.
///
/// Runs in a task of its own; subscriptions and fetches are child tasks, so none of them outlives the connection.
final class TCPSession {
  /// What a frame is answered with, in the order of the frames.
  private enum Answer {
    case published(PublishAssembler.Pending)
    case pong(id: Int64?)
    case unsubscribed(id: Int64?, subscription: Int64)
    case failed(DoorError, id: Int64?, subscription: Int64?)
  }

  /// How far a frame has come.
  private enum Step {
    case done
    /// The topic's partitions must be looked up, then the frame is taken again.
    case needsDirectory
    /// A request that has to wait for the log.
    case request(Request)
  }

  /// Answers kept before the turn is cut; bounds the memory of a turn of very small frames.
  private static let answersMax = 16_384

  private let context: DoorContext
  private let inbox: ConnectionInbox
  private let outbox: ConnectionOutbox
  private let client: String
  private var decoder = RequestDecoder()
  private var assembler = PublishAssembler()
  private var answers: [Answer] = []
  private var writer = FrameWriter()
  private var subscriptions: [Int64: Subscriber] = [:]
  private var nextSubscription: Int64 = 1
  /// Topics that the client follows by waiting fetches, for the statistics.
  private var followed: [TopicName: Subscriber] = [:]
  private let fetches = FetchCount()
  /// When this turn's messages were received, for those that bring no timestamp.
  private var receivedAt: Int64 = 0

  init(context: DoorContext, inbox: ConnectionInbox, outbox: ConnectionOutbox, client: String) {
    self.context = context
    self.inbox = inbox
    self.outbox = outbox
    self.client = client
  }

  /// Serves the connection to its end. `resumeReading` is called when the socket was paused and may be read again.
  /// Answers what is to be said last, or nil when the client has closed.
  func run(resumeReading: @Sendable () -> Void) async -> [UInt8]? {
    await withDiscardingTaskGroup { group in
      var lastWords: [UInt8]?
      while true {
        let intake = await inbox.take()
        await turn(intake.frames, &group)
        if inbox.release(intake.bytes) { resumeReading() }
        guard let end = intake.end else { continue }
        if case .failed(let error) = end {
          context.metrics.countError(error.code)
          writer.error(error, id: nil, isFatal: true)
          lastWords = writer.take()
        }
        break
      }
      for subscriber in Array(subscriptions.values) + Array(followed.values) { end(subscriber) }
      group.cancelAll()
      return lastWords
    }
  }

  private func turn(_ frames: [ByteBuffer], _ group: inout DiscardingTaskGroup) async {
    receivedAt = context.clock.now
    for frame in frames {
      switch step(frame, mayLookUp: true) {
      case .done: break
      case .needsDirectory:
        do throws(LogError) {
          try await context.directory.refresh()
          _ = step(frame, mayLookUp: false)
        } catch {
          fail(DoorError(error), id: decoder.request.id)
        }
      case .request(let request):
        // What came before it is answered before it.
        await flush()
        await perform(request, &group)
      }
      if answers.count >= TCPSession.answersMax { await flush() }
    }
    await flush()
  }

  /// Decodes one frame and does what can be done at once.
  private func step(_ frame: ByteBuffer, mayLookUp: Bool) -> Step {
    frame.withUnsafeReadableBytes { bytes in
      do throws(DoorError) {
        let payloadStart = try decoder.decode(bytes)
        let request = decoder.request
        switch request.type {
        case .publish:
          let payload = UnsafeRawBufferPointer(rebasing: bytes[payloadStart...])
          guard let pending = try publish(request, payload, mayLookUp: mayLookUp) else { return .needsDirectory }
          answers.append(.published(pending))
        case .credit:
          let subscriber = try subscription(request)
          subscriber.grant(messages: request.creditMessages, bytes: request.creditBytes)
        case .unsubscribe:
          let subscriber = try subscription(request)
          end(subscriber)
          subscriptions[subscriber.number] = nil
          answers.append(.unsubscribed(id: request.id, subscription: subscriber.number))
        case .ping: answers.append(.pong(id: request.id))
        case .subscribe, .fetch, .registerProducer, .createTopic, .deleteTopic, .topics, .offset:
          return .request(request)
        }
      } catch {
        fail(error, id: decoder.request.id)
      }
      return .done
    }
  }

  private func fail(_ error: DoorError, id: Int64?, subscription: Int64? = nil) {
    answers.append(.failed(error, id: id, subscription: subscription))
  }

  /// Adds a publish to the turn; nil when the topic's partitions must be looked up first.
  private func publish(
    _ request: Request, _ payload: UnsafeRawBufferPointer, mayLookUp: Bool
  ) throws(DoorError) -> PublishAssembler.Pending? {
    guard let topic = request.topic else { throw .invalidRequest("topic", "is missing") }
    let messages = decoder.messages
    if request.isBatch {
      guard messages.isEmpty else { throw .invalidRequest("batch", "excludes \"message\" and \"messages\"") }
      guard request.producerID == nil, request.epoch == nil, request.sequence == nil else {
        throw .invalidRequest("producer_id", "is in the batches themselves")
      }
    } else {
      guard payload.isEmpty else { throw .invalidRequest("payload_bytes", "is for \"batch\": true") }
      guard !messages.isEmpty else { throw .invalidRequest("message", "is missing, and so is \"messages\"") }
    }
    let number: Int32
    switch request.partition {
    case .one(let chosen): number = chosen
    case .all: throw .invalidRequest("partition", "is not a number")
    case nil:
      let partitions = context.directory.partitions(of: topic)
      if partitions == nil && mayLookUp { return nil }
      // A topic that is not there yet is made by the append, if at all, and one message can always go to its first.
      number = try choosePartition(topic, partitions ?? 1, messages)
    }
    let partition = TopicPartition(topic: topic, partition: number)
    if request.isBatch { return try assembler.add(batches: payload, request: request, partition: partition) }
    return try assembler.add(messages, request: request, partition: partition, timestamp: receivedAt)
  }

  /// The partition that the keys of the messages say, as every Kafka client would choose it.
  private func choosePartition(
    _ topic: TopicName, _ partitions: Int32, _ messages: [RequestMessage]
  ) throws(DoorError) -> Int32 {
    if partitions <= 1 { return 0 }
    let partitioner = Partitioner(partitions: partitions)
    var chosen: Int32?
    for message in messages {
      let own = partitioner.partition(forKey: message.keyBytes)
      if let chosen, chosen != own {
        throw DoorError(
          .partitionRequired,
          "the messages' keys belong to partitions \(chosen) and \(own); publish them apart or name a \"partition\"")
      }
      chosen = own
    }
    guard let chosen else {
      throw DoorError(.partitionRequired, "\(topic) has \(partitions) partitions; name the \"partition\" of the batch")
    }
    return chosen
  }

  private func subscription(_ request: Request) throws(DoorError) -> Subscriber {
    guard let number = request.subscription else { throw .invalidRequest("subscription", "is missing") }
    guard let subscriber = subscriptions[number] else {
      throw DoorError(.unknownSubscription, "there is no subscription \(number) on this connection")
    }
    return subscriber
  }

  private func end(_ subscriber: Subscriber) {
    subscriber.end()
    context.subscribers.remove(subscriber)
    context.metrics.subscribers.add(-1)
  }

  /// Appends the turn's publishes in one call and sends all answers.
  private func flush() async {
    guard !answers.isEmpty else { return }
    let requests = assembler.finish()
    var results: [Result<AppendReceipt, LogError>] = []
    if !requests.isEmpty {
      let messages = Double(requests.reduce(0) { $0 + $1.batch.recordCount })
      let begin = context.clock.monotonicNanoseconds
      context.metrics.queueDepth.add(messages)
      results = await append(requests)
      context.metrics.queueDepth.add(-messages)
      context.metrics.publishLatency.observe(Double(context.clock.monotonicNanoseconds &- begin) * 1e-9)
      count(requests, results)
    }
    for answer in answers {
      switch answer {
      case .published(let pending): write(pending, results)
      case .pong(let id): writer.frame("pong", id: id)
      case .unsubscribed(let id, let subscription):
        writer.frame("unsubscribed", id: id) { json in
          json.key("subscription")
          json.integer(subscription)
        }
      case .failed(let error, let id, let subscription):
        context.metrics.countError(error.code)
        writer.error(error, id: id, subscription: subscription)
      }
    }
    answers.removeAll(keepingCapacity: answers.count <= 1024)
    await send()
  }

  private func send() async {
    guard await outbox.waitForRoom() else {
      writer.removeAll()
      return
    }
    outbox.send(writer.take())
  }

  /// Appends, and holds the connection back while the log is full of what is not yet durable.
  private func append(_ requests: [AppendRequest]) async -> [Result<AppendReceipt, LogError>] {
    var results = await context.log.append(requests)
    var backoff = Backoff(initial: .milliseconds(2), maximum: .milliseconds(100), seed: UInt64(requests.count))
    let begin = context.clock.monotonicNanoseconds
    while true {
      let refused = results.indices.filter { index in
        if case .failure(.backpressure) = results[index] { return true }
        return false
      }
      if refused.isEmpty { return results }
      context.metrics.backpressureEvents.add()
      let waited = context.clock.monotonicNanoseconds &- begin
      guard waited < UInt64(context.configuration.publishWaitMax.wholeNanoseconds) else { return results }
      do { try await Task.sleep(for: backoff.next()) } catch { return results }
      let again = await context.log.append(refused.map { requests[$0] })
      for (index, result) in zip(refused, again) { results[index] = result }
    }
  }

  private func count(_ requests: [AppendRequest], _ results: [Result<AppendReceipt, LogError>]) {
    for (request, result) in zip(requests, results) {
      guard case .success(let receipt) = result else { continue }
      if receipt.isDuplicate {
        context.metrics.duplicates.add(UInt64(receipt.recordCount))
      } else {
        context.metrics.messagesEnqueued.add(UInt64(receipt.recordCount))
        context.metrics.bytesEnqueued.add(UInt64(request.batch.bytes.count))
      }
    }
  }

  private func write(_ pending: PublishAssembler.Pending, _ results: [Result<AppendReceipt, LogError>]) {
    guard pending.requestCount == 1 else {
      return writeSeveral(pending, results[pending.firstRequest..<pending.firstRequest + pending.requestCount])
    }
    switch results[pending.firstRequest] {
    case .success(let receipt):
      writer.published(
        id: pending.id, topic: pending.partition.topic, partition: pending.partition.partition,
        baseOffset: receipt.baseOffset + Int64(pending.recordOffset), count: pending.recordCount,
        isDuplicate: receipt.isDuplicate)
    case .failure(let error):
      let error = DoorError(error)
      context.metrics.countError(error.code)
      writer.error(error, id: pending.id)
    }
  }

  /// The answer to several batches in one frame: what became of each, under one head.
  private func writeSeveral(
    _ pending: PublishAssembler.Pending, _ results: ArraySlice<Result<AppendReceipt, LogError>>
  ) {
    let failures = results.compactMap { result -> DoorError? in
      if case .failure(let error) = result { return DoorError(error) }
      return nil
    }
    for failure in failures { context.metrics.countError(failure.code) }
    writer.frame(failures.isEmpty ? "published" : "error", id: pending.id) { json in
      if let failure = failures.first {
        FrameWriter.members(of: failure, &json)
        json.key("fatal")
        json.boolean(false)
      }
      json.key("topic")
      json.string(pending.partition.topic.text)
      json.key("partition")
      json.integer(Int64(pending.partition.partition))
      if failures.isEmpty, case .success(let receipt)? = results.first {
        json.key("base_offset")
        json.integer(receipt.baseOffset)
        json.key("count")
        json.integer(pending.recordCount)
      }
      json.key("batches")
      json.beginArray()
      for result in results {
        json.beginObject()
        switch result {
        case .success(let receipt):
          json.key("base_offset")
          json.integer(receipt.baseOffset)
          json.key("count")
          json.integer(receipt.recordCount)
          json.key("duplicate")
          json.boolean(receipt.isDuplicate)
        case .failure(let error): FrameWriter.members(of: DoorError(error), &json)
        }
        json.endObject()
      }
      json.endArray()
    }
  }
}

extension TCPSession {
  /// Requests that wait for the log, one at a time.
  private func perform(_ request: Request, _ group: inout DiscardingTaskGroup) async {
    do {
      switch request.type {
      case .registerProducer:
        let producer = try await context.log.registerProducer()
        writer.frame("producer_registered", id: request.id) { json in
          json.key("producer_id")
          json.integer(producer.id)
          json.key("epoch")
          json.integer(Int64(producer.epoch))
        }
      case .createTopic:
        let topic = try TCPSession.topic(request)
        try await context.log.createTopic(topic, request.configuration)
        context.directory.invalidate()
        writer.topicAnswer("topic_created", id: request.id, topic)
      case .deleteTopic:
        let topic = try TCPSession.topic(request)
        try await context.log.deleteTopic(topic)
        context.directory.invalidate()
        writer.topicAnswer("topic_deleted", id: request.id, topic)
      case .topics: writer.topics(id: request.id, try await context.log.topics())
      case .offset: try await answerOffset(request)
      case .fetch: try fetch(request, &group)
      case .subscribe: try await subscribe(request, &group)
      case .publish, .credit, .unsubscribe, .ping: preconditionFailure("\(request.type) is answered at once")
      }
    } catch let error as DoorError {
      context.metrics.countError(error.code)
      writer.error(error, id: request.id)
    } catch let error as LogError {
      let error = DoorError(error)
      context.metrics.countError(error.code)
      writer.error(error, id: request.id)
    } catch {
      preconditionFailure("unexpected \(error)")
    }
    if !writer.isEmpty { await send() }
  }

  private static func topic(_ request: Request) throws(DoorError) -> TopicName {
    guard let topic = request.topic else { throw .invalidRequest("topic", "is missing") }
    return topic
  }

  private static func partition(_ request: Request) throws(DoorError) -> TopicPartition {
    let topic = try topic(request)
    switch request.partition {
    case .one(let number): return TopicPartition(topic: topic, partition: number)
    case .all, nil: throw .invalidRequest("partition", "is not a number")
    }
  }

  private func answerOffset(_ request: Request) async throws {
    let partition = try TCPSession.partition(request)
    guard let from = request.from else { throw DoorError.invalidRequest("from", "is missing") }
    let offset = try await offset(of: from, in: partition)
    writer.frame("offset", id: request.id) { json in
      json.key("topic")
      json.string(partition.topic.text)
      json.key("partition")
      json.integer(Int64(partition.partition))
      json.key("offset")
      json.integer(offset)
    }
  }

  private func offset(of start: StartPosition, in partition: TopicPartition) async throws(LogError) -> Int64 {
    switch start {
    case .earliest: try await context.log.offset(of: .earliest, in: partition)
    case .latest: try await context.log.offset(of: .latest, in: partition)
    case .timestamp(let time): try await context.log.offset(of: .timestamp(time), in: partition)
    case .offset(let offset): offset
    }
  }

  private func fetch(_ request: Request, _ group: inout DiscardingTaskGroup) throws(DoorError) {
    let partition = try TCPSession.partition(request)
    guard let offset = request.offset else { throw .invalidRequest("offset", "is missing") }
    let limit = context.configuration.fetchesMax
    guard fetches.begin(limit: limit) else {
      throw DoorError(.tooManyFetches, "\(limit) fetches wait on this connection already")
    }
    let bytes = min(Int(request.maxBytes ?? 1 << 20), context.configuration.fetchBytesMax.bytes)
    let wait = min(Duration.milliseconds(request.waitMilliseconds ?? 0), context.configuration.fetchWaitMax)
    if wait > .zero { noteFollower(of: partition, at: offset) }
    group.addTask { [context, outbox, fetches] in
      await FetchTask(id: request.id, partition: partition, offset: offset, maxBytes: bytes, wait: wait)
        .run(context, outbox)
      fetches.end()
    }
  }

  /// A client that waits for news by fetching, as a collector does, has a lag like one that has subscribed.
  private func noteFollower(of partition: TopicPartition, at offset: Int64) {
    let limit = context.configuration.subscriptionsMax
    if let follower = followed[partition.topic] {
      let positions = follower.positions
      if positions[partition.partition] != nil || positions.count < limit {
        follower.advance(partition.partition, to: offset)
      }
      return
    }
    guard followed.count < limit else { return }
    let follower = Subscriber(
      number: Subscriber.followerNumber, topic: partition.topic, positions: [partition.partition: offset],
      format: .batches, credit: Credit(messages: nil, bytes: nil), client: client)
    followed[partition.topic] = follower
    context.subscribers.add(follower)
    context.metrics.subscribers.add(1)
  }

  private func subscribe(_ request: Request, _ group: inout DiscardingTaskGroup) async throws {
    let topic = try TCPSession.topic(request)
    guard let from = request.from else { throw DoorError.invalidRequest("from", "is missing") }
    guard request.creditMessages != nil || request.creditBytes != nil else {
      throw DoorError.invalidRequest("credit_messages", "or \"credit_bytes\" is missing")
    }
    let limit = context.configuration.subscriptionsMax
    let open = subscriptions.values.reduce(0) { $0 + $1.positions.count }
    var numbers: [Int32]
    switch request.partition {
    case .one(let number): numbers = [number]
    case .all, nil:
      guard let found = try await context.log.topics().first(where: { $0.name == topic }) else {
        throw LogError.unknownTopic(topic.text)
      }
      numbers = found.partitions.map { $0.index }
      if numbers.count > 1, case .offset = from {
        throw DoorError.invalidRequest("from", "cannot be one offset for \(numbers.count) partitions")
      }
    }
    guard open + numbers.count <= limit else {
      throw DoorError(
        .tooManySubscriptions, "this connection would read \(open + numbers.count) partitions and the limit is \(limit)"
      )
    }
    var positions: [Int32: Int64] = [:]
    for number in numbers {
      let partition = TopicPartition(topic: topic, partition: number)
      positions[number] = try await offset(of: from, in: partition)
      // Tells an offset or a partition that is not there at once, rather than behind the answer.
      if case .offset(let offset) = from {
        _ = try await context.log.read(partition, from: offset, maxBytes: 1, waiting: .zero)
      }
    }
    let subscriber = Subscriber(
      number: nextSubscription, topic: topic, positions: positions, format: request.format,
      credit: Credit(messages: request.creditMessages, bytes: request.creditBytes), client: client)
    nextSubscription += 1
    subscriptions[subscriber.number] = subscriber
    context.subscribers.add(subscriber)
    context.metrics.subscribers.add(1)
    writer.frame("subscribed", id: request.id) { json in
      json.key("subscription")
      json.integer(subscriber.number)
      json.key("topic")
      json.string(topic.text)
      json.key("partitions")
      json.beginArray()
      for number in numbers {
        json.beginObject()
        json.key("partition")
        json.integer(Int64(number))
        json.key("offset")
        json.integer(positions[number] ?? 0)
        json.endObject()
      }
      json.endArray()
    }
    await send()
    for number in numbers {
      let partition = TopicPartition(topic: topic, partition: number)
      let position = positions[number] ?? 0
      group.addTask { [context, outbox] in
        await DeliveryTask(context: context, outbox: outbox, subscriber: subscriber, partition: partition)
          .run(from: position)
      }
    }
  }
}

extension FrameWriter {
  fileprivate mutating func topicAnswer(_ type: StaticString, id: Int64?, _ topic: TopicName) {
    frame(type, id: id) { json in
      json.key("topic")
      json.string(topic.text)
    }
  }
}

extension RequestMessage {
  /// The key's bytes for choosing a partition; nil without a key.
  fileprivate var keyBytes: [UInt8]? {
    var bytes: [UInt8] = []
    switch key {
    case .missing, .null: return nil
    case .text(let text): text.append(to: &bytes)
    case .base64(let text):
      // What is not base64 is refused when the message is put into its batch.
      _ = Base64.decode(text.bytes, appendingTo: &bytes)
    }
    return bytes
  }
}
