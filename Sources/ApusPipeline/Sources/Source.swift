import ApusFormats
import ApusModel

/// Where telemetry comes from: a scrape target, a file, a simulated fleet. A streamer pulls one batch after another.
///
/// A source is used by one task at a time. It takes its own pace: a live one answers when there is something new.
package protocol Source: Sendable {
  /// What it is called in messages and in the position file; unique within a streamer.
  var name: String { get }

  /// A live source goes on whether anybody listens or not, so what cannot be sent is spooled or dropped; a file waits.
  var isLive: Bool { get }

  /// The next batch; nil behind the last one. Throws what cannot be got over by trying again.
  func next() async throws(PipelineError) -> SourceBatch?

  /// Goes on behind a batch that carried this position, in another life of the process. Called before the first `next`.
  func resume(from position: SourcePosition) async throws(PipelineError)
}

/// What a source hands over at once.
package struct SourceBatch: Sendable {
  package var items: [TelemetryItem]
  /// Rows, lines or samples that went into it, counting those that were skipped.
  package var rows: Int
  /// Of these, rows that could not be used.
  package var rowsInvalid = 0
  /// Of these, rows that do not say which GPU they are about.
  package var rowsWithoutGPU = 0
  /// Where a file source stands behind this batch, rows that gave no item included; nil for a live one.
  package var position: SourcePosition?
  /// Set where the batch is one whole round of the source: every target that answered at this instant is in it, so that
  /// what was in the last round and is not in this one has gone. A target that did not answer is left out; a round that
  /// nobody answered has no items; items of one target, which is told by their key, stand together. Nil for a source without rounds: a file says nothing of what it does not list.
  package var round: Timestamp?

  package init(items: [TelemetryItem], rows: Int, position: SourcePosition? = nil) {
    self.items = items
    self.rows = rows
    self.position = position
  }
}

/// Where a file source stands, in its own words; the streamer keeps it and understands nothing of it.
package struct SourcePosition: Hashable, Sendable {
  /// At most `bytesMax`.
  package var bytes: [UInt8]

  package static let bytesMax = 64 << 10

  package init(bytes: [UInt8]) { self.bytes = bytes }
}

/// One thing to publish: what becomes one record of the log.
package struct TelemetryItem: Sendable {
  package enum Content: Sendable {
    case scrape(Scrape)
    /// Series without a common instant. Each one's timestamps ascend.
    case samples([SeriesSamples])
    /// A record's value as it will lie in the log, from whoever took it in that way. No source makes such.
    case encoded(EncodedValue)
  }

  /// A value that is written already.
  package struct EncodedValue: Sendable {
    package var bytes: [UInt8]
    package var type: ContentType
    package var sampleCount: Int

    package init(bytes: [UInt8], type: ContentType, sampleCount: Int) {
      self.bytes = bytes
      self.type = type
      self.sampleCount = sampleCount
    }
  }

  /// The host: records of one key stay in order.
  package var key: [UInt8]
  package var content: Content
  /// Where a file source stands behind this item. A streamer may end between any two items, and what it had published
  /// is not published again by its next run only if it can say where that was; so each item of a file has one.
  package var position: SourcePosition?

  package init(key: [UInt8], content: Content, position: SourcePosition? = nil) {
    self.key = key
    self.content = content
    self.position = position
  }

  package var sampleCount: Int {
    switch content {
    case .scrape(let scrape): scrape.sampleCount
    case .samples(let series): series.reduce(0) { $0 + $1.values.count }
    case .encoded(let value): value.sampleCount
    }
  }

  /// What it takes in memory, roughly; a scrape's set is shared and not counted.
  package var byteCount: Int {
    switch content {
    case .scrape(let scrape): 128 + key.count + 8 * scrape.values.count
    case .samples(let series): series.reduce(128 + key.count) { $0 + 96 + $1.labels.bytes.count + 16 * $1.values.count }
    case .encoded(let value): 128 + key.count + value.bytes.count
    }
  }
}
