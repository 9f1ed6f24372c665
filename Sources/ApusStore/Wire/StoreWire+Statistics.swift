import ApusIO
import ApusModel

extension StoreWire {
  /// The numbers of a store's statistics by name; on the wire a name, 0 and a number, or 1 and a text. Names and not places go over the wire, so that a newer side may have
  /// more of them: what a reader does not know it leaves out.
  private static let numbers: [(name: String, path: any WritableKeyPath<StoreStatistics, Int> & Sendable)] = [
    ("series_in_head", \.seriesInHead), ("samples_in_head", \.samplesInHead), ("head_bytes", \.headBytes),
    ("blocks", \.blocks), ("samples_in_blocks", \.samplesInBlocks), ("series_rejected", \.seriesRejected),
    ("samples_out_of_order", \.samplesOutOfOrder), ("samples_duplicate", \.samplesDuplicate),
    ("blocks_quarantined", \.blocksQuarantined), ("rollups", \.rollups), ("rollups_made", \.rollupsMade),
    ("rollup_answers", \.rollupAnswers),
  ]
  private static let partPrefix = "bytes."
  private static let oldest = "oldest_sample"
  private static let newest = "newest_sample"
  private static let lastFailure = "last_failure"

  package static func frame(of statistics: StoreStatistics) -> Frame {
    var writer = ByteWriter()
    func write(_ name: String, _ value: Int64) {
      writer.writeLengthPrefixed(name)
      writer.write(UInt8(0))
      writer.writeZigzag(value)
    }
    for (name, path) in numbers { write(name, Int64(statistics[keyPath: path])) }
    for (part, bytes) in statistics.bytesByPart.sorted(by: { $0.key < $1.key }) { write(partPrefix + part, bytes) }
    if let instant = statistics.oldestSample { write(oldest, instant.milliseconds) }
    if let instant = statistics.newestSample { write(newest, instant.milliseconds) }
    if let sentence = statistics.lastFailure {
      writer.writeLengthPrefixed(lastFailure)
      writer.write(UInt8(1))
      writer.writeLengthPrefixed(sentence)
    }
    return Frame(kind: .statistics, payload: writer.bytes)
  }

  package static func decodeStatistics(_ payload: [UInt8]) throws(ByteReaderError) -> StoreStatistics {
    try decode(payload) { reader throws(ByteReaderError) in
      var result = StoreStatistics()
      while !reader.isAtEnd {
        let name = try reader.readString(max: textBytesMax)
        if try reader.read(UInt8.self) == 1 {
          let text = try reader.readString(max: textBytesMax)
          if name == lastFailure { result.lastFailure = text }
          continue
        }
        let value = try reader.readZigzag()
        if let known = numbers.first(where: { $0.name == name }) {
          result[keyPath: known.path] = Int(value)
        } else if name.hasPrefix(partPrefix) {
          result.bytesByPart[String(name.dropFirst(partPrefix.count))] = value
        } else if name == oldest {
          result.oldestSample = Timestamp(milliseconds: value)
        } else if name == newest {
          result.newestSample = Timestamp(milliseconds: value)
        }
      }
      return result
    }
  }
}
