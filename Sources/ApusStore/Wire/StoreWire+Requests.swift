import ApusIO
import ApusModel

/// What a client asks of the store of another process.
package struct StoreQuestion: Hashable, Sendable {
  package var matchers: [Matcher]
  package var range: TimeRange
  package var newest: Int?
  package var maxSamples: Int?
  /// Of `label-values`: the label.
  package var label: String

  package init(
    _ matchers: [Matcher], in range: TimeRange, newest: Int? = nil, maxSamples: Int? = nil, label: String = ""
  ) {
    self.matchers = matchers
    self.range = range
    self.newest = newest
    self.maxSamples = maxSamples
    self.label = label
  }
}

extension StoreWire {
  /// The most matchers of a question, and values of one of them.
  static let matchersMax = 1024
  static let matcherValuesMax = 1_000_000
  static let textBytesMax = 1 << 20
  private static let boundMax = Int.max / 2

  package static func encode(_ question: StoreQuestion) -> [UInt8] {
    var writer = ByteWriter(reserving: 256)
    writer.writeZigzag(question.range.start.milliseconds)
    writer.writeZigzag(question.range.end.milliseconds)
    // Zero is "no bound", so bounds are sent with one added; none so large matters.
    func write(bound: Int?) { writer.writeVarint(bound.map { UInt64(min(max($0, 0), boundMax)) + 1 } ?? 0) }
    write(bound: question.newest)
    write(bound: question.maxSamples)
    writer.writeLengthPrefixed(question.label)
    writer.writeVarint(UInt64(question.matchers.count))
    for matcher in question.matchers {
      writer.writeLengthPrefixed(matcher.label)
      switch matcher.condition {
      case .equal(let value):
        writer.write(UInt8(0))
        writer.writeLengthPrefixed(value)
      case .notEqual(let value):
        writer.write(UInt8(1))
        writer.writeLengthPrefixed(value)
      case .oneOf(let values):
        writer.write(UInt8(2))
        writer.writeVarint(UInt64(values.count))
        for value in values.sorted() { writer.writeLengthPrefixed(value) }
      }
    }
    return writer.bytes
  }

  package static func decodeQuestion(_ payload: [UInt8]) throws(ByteReaderError) -> StoreQuestion {
    try decode(payload) { reader throws(ByteReaderError) in
      let start = Timestamp(milliseconds: try reader.readZigzag())
      let end = Timestamp(milliseconds: try reader.readZigzag())
      let newest = try reader.readCount(max: boundMax + 1)
      let maxSamples = try reader.readCount(max: boundMax + 1)
      let label = try reader.readString(max: textBytesMax)
      var matchers: [Matcher] = []
      for _ in 0..<(try reader.readCount(max: matchersMax)) {
        let name = try reader.readString(max: textBytesMax)
        let kind: UInt8 = try reader.read()
        switch kind {
        case 0: matchers.append(.equal(name, try reader.readString(max: textBytesMax)))
        case 1: matchers.append(.notEqual(name, try reader.readString(max: textBytesMax)))
        case 2:
          var values: Set<String> = []
          for _ in 0..<(try reader.readCount(max: matcherValuesMax)) {
            values.insert(try reader.readString(max: textBytesMax))
          }
          matchers.append(.oneOf(name, values))
        default: throw ByteReaderError(kind: .outOfBounds, offset: reader.position - 1)
        }
      }
      return StoreQuestion(
        matchers, in: TimeRange(start: start, end: end), newest: newest == 0 ? nil : newest - 1,
        maxSamples: maxSamples == 0 ? nil : maxSamples - 1, label: label)
    }
  }

  /// Reads all of a payload; bytes behind what was read are an error.
  static func decode<Value>(
    _ payload: [UInt8], _ body: (inout ByteReader) throws(ByteReaderError) -> Value
  ) throws(ByteReaderError) -> Value {
    let result = payload.withUnsafeBytes { raw -> Result<Value, ByteReaderError> in
      var reader = ByteReader(raw)
      do throws(ByteReaderError) {
        let value = try body(&reader)
        guard reader.isAtEnd else { throw ByteReaderError(kind: .outOfBounds, offset: reader.position) }
        return .success(value)
      } catch { return .failure(error) }
    }
    return try result.get()
  }
}
