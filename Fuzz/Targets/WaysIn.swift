import ApusFormats
import ApusIO
import ApusModel

extension FuzzTarget {
  /// What is expanded keeps to its bound; what is compressed again expands to the same; Kafka's wrapper included.
  static let snappy = FuzzTarget("snappy", bytesMax: 4096) { bytes in
    let bound = 1 << 16
    var plain: [UInt8] = []
    guard (try? KafkaSnappy.decompress(bytes, maxBytes: bound, appendingTo: &plain)) != nil else {
      precondition(plain.isEmpty, "a refused block left bytes")
      return
    }
    precondition(plain.count <= bound, "\(plain.count) bytes")
    var block: [UInt8] = []
    var back: [UInt8] = []
    plain.withUnsafeBytes { Snappy.compress($0, appendingTo: &block) }
    let isRead: Void? = block.withUnsafeBytes { block in
      try? Snappy.decompress(block, maxBytes: plain.count, appendingTo: &back)
    }
    precondition(isRead != nil && back == plain, "the bytes are not the same after they were compressed")
  }

  /// The first byte chooses version and strictness. The request comes twice: a decoder that remembers must give what one
  /// gives that does not. What was read must read the same once it is written.
  static let remoteWrite = FuzzTarget("remote-write", bytesMax: 4096) { bytes in
    guard let option = bytes.first else { return }
    let body = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
    let version: RemoteWriteVersion = option & 1 == 0 ? .v1 : .v2
    var decoder = RemoteWriteDecoder(isLenient: option & 2 != 0)
    let first = try? decoder.decode(body, version: version)
    let second = try? decoder.decode(body, version: version)
    same(first, second)
    guard let first else { return }
    var encoder = RemoteWriteEncoder()
    let written = encoder.encode(first.series, descriptors: first.descriptors)
    let back = written.withUnsafeBytes { try? decoder.decode($0, version: .v1) }
    precondition(back?.problems.isEmpty == true, "what was written cannot be read")
    precondition(counted([], back?.series ?? []) == counted([], first.series), "the samples differ")
  }

  /// The first byte chooses unit and naming. The request comes twice, as above.
  static let lineProtocol = FuzzTarget("line-protocol", bytesMax: 4096) { bytes in
    guard let option = bytes.first else { return }
    let body = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
    let precisions = LineProtocolPrecision.allCases
    let precision = precisions[Int(option >> 1) % precisions.count]
    var decoder = LineProtocolDecoder(naming: option & 1 == 0 ? .asWritten : .classic)
    same(
      try? decoder.decode(body, precision: precision, now: 1), try? decoder.decode(body, precision: precision, now: 1))
  }

  /// The request comes three times: rolled back, its deltas must add up to the same; once they count, nothing may trap.
  static let otlpMetrics = FuzzTarget("otlp-metrics", bytesMax: 4096) { bytes in
    var decoder = OTLPDecoder()
    let first = try? decoder.decode(bytes)
    decoder.rollback()
    same(first, try? decoder.decode(bytes))
    decoder.commit()
    _ = try? decoder.decode(bytes)
  }

  private static func same(_ left: IngestBatch?, _ right: IngestBatch?) {
    precondition((left == nil) == (right == nil), "one decoder threw and the other did not")
    guard let left, let right else { return }
    precondition(left.problems == right.problems && left.skipped == right.skipped, "the problems differ")
    precondition(left.descriptors == right.descriptors, "the descriptors differ")
    let samples = counted([], left.series)
    precondition(samples == counted([], right.series), "the samples differ")
    precondition(left.sampleCount == samples.values.reduce(0, +), "the samples are miscounted")
    for series in left.series {
      checkLabels(series.labels)
      precondition(series.timestamps.elementsEqual(series.timestamps.sorted()), "the times are not ascending")
    }
  }
}
