// Goal: remote write requests become the series that they hold, bit by bit; what is wrong is told and the rest taken.
// Method: requests of the protocol's own encoder, round trips with ours, a table of faults, seeded mutation, and the same
// requests through a decoder that knows their series and one that does not.

import ApusFormats
import ApusIO
import ApusModel
import ApusTestKit
import Testing

@Suite struct RemoteWriteTests {
  static func decode(
    _ bytes: [UInt8], _ version: RemoteWriteVersion, _ decoder: inout RemoteWriteDecoder
  ) throws -> IngestBatch {
    try bytes.withUnsafeBytes { try decoder.decode($0, version: version) }
  }

  static func decode(
    _ bytes: [UInt8], _ version: RemoteWriteVersion = .v1, isLenient: Bool = false
  ) throws -> IngestBatch {
    var decoder = RemoteWriteDecoder(isLenient: isLenient)
    return try decode(bytes, version, &decoder)
  }

  @Test func readsVersion1OfAnotherEncoder() throws {
    var expanded: [UInt8] = []
    try ProtobufFixtures.remoteWrite1Snappy.withUnsafeBytes {
      try Snappy.decompress($0, maxBytes: 10_000, appendingTo: &expanded)
    }
    #expect(expanded == ProtobufFixtures.remoteWrite1)
    var decoder = RemoteWriteDecoder()
    // The second time the series are known by their bytes.
    for _ in 0..<3 {
      let batch = try Self.decode(expanded, .v1, &decoder)
      #expect(
        ProtobufFixtures.lines(batch.series) == [
          #"power{gpu="0", host="node-ü"} 71.5@1700000000000 stale@1700000010000"#, #"temp{gpu="1"} 0.0@-5"#,
        ])
      #expect(batch.sampleCount == 3)
      #expect(batch.descriptors == [MetricDescriptor(name: "power", kind: .gauge, help: "Draw.", unit: "watts")])
      #expect(batch.skipped.exemplars == 1)
      #expect(batch.skipped.histograms == 1)
      #expect(batch.problems.items == [.init(position: 3, problem: .nativeHistogram)])
    }
  }

  @Test func readsVersion2OfAnotherEncoder() throws {
    var decoder = RemoteWriteDecoder()
    for _ in 0..<3 {
      let batch = try Self.decode(ProtobufFixtures.remoteWrite2, .v2, &decoder)
      #expect(
        ProtobufFixtures.lines(batch.series) == [
          #"requests_total{gpu="0"} 5.0@1700000000000 6.0@1700000010000"#, #"temp{gpu="1"} stale@-1"#,
        ])
      #expect(
        batch.descriptors == [
          MetricDescriptor(name: "requests_total", kind: .counter, help: "Requests."),
          MetricDescriptor(name: "temp", kind: .gauge, unit: "seconds"),
        ])
      #expect(batch.starts.map(\.timestamp) == [1_600_000_000_000, 7])
      #expect(batch.starts.map(\.labels.metricName) == ["requests_total", "temp"])
      #expect(batch.problems.items == [.init(position: 3, problem: .invalidSymbol)])
    }
  }

  /// Each version's numbers mean nothing in the other.
  @Test func theOtherVersionsMessageIsEmpty() throws {
    #expect(try Self.decode(ProtobufFixtures.remoteWrite1, .v2).series.isEmpty)
    #expect(try Self.decode(ProtobufFixtures.remoteWrite2, .v1).series.isEmpty)
  }

  static let specials: [Double] = [
    0, -0.0, .infinity, -.infinity, .nan, StaleMarker.value, .leastNonzeroMagnitude, .greatestFiniteMagnitude, 1.1,
    Double(bitPattern: 0x7ff8_0000_0000_0001),
  ]

  @Test func roundTrip() throws {
    var seed = Seed(3)
    var encoder = RemoteWriteEncoder()
    var decoder = RemoteWriteDecoder()
    for _ in 0..<40 {
      let series = (0..<seed.below(60)).map { index in
        let count = 1 + seed.below(5)
        return SeriesSamples(
          labels: Labels([
            ("__name__", "m\(index)"), ("host", "h\(seed.below(3))"),
            ("x", String(repeating: "é", count: seed.below(200))),
          ]),
          timestamps: (0..<count).map { Int64($0) * 10 + Int64(seed.below(10)) - (seed.oneIn(5) ? 1_000_000 : 0) }
            .sorted(),
          values: (0..<count).map { _ in Self.specials[seed.below(Self.specials.count)] })
      }
      let kinds = MetricDescriptor.Kind.allCases.map {
        MetricDescriptor(name: "m\($0)", kind: $0, help: "h", unit: "u")
      }
      let bytes = encoder.encode(series, descriptors: kinds)
      let batch = try Self.decode(bytes, .v1, &decoder)
      #expect(batch.descriptors == kinds)
      #expect(batch.problems.isEmpty)
      #expect(batch.series.count == series.count)
      for (left, right) in zip(batch.series, series) {
        #expect(left.labels == right.labels)
        #expect(left.timestamps == right.timestamps)
        #expect(left.values.map(\.bitPattern) == right.values.map(\.bitPattern))
      }
      var expanded: [UInt8] = []
      try encoder.encodeCompressed(series, descriptors: kinds).withUnsafeBytes {
        try Snappy.decompress($0, maxBytes: bytes.count, appendingTo: &expanded)
      }
      #expect(expanded == bytes)
    }
  }

  /// A `WriteRequest` with one series of these labels and one sample, 1 at 1, and behind it a good series.
  static func request(_ labels: [(String, String)], scattered: Bool = false) -> [UInt8] {
    var writer = ProtobufWriter()
    for one in [labels, [("__name__", "good")]] {
      writer.message(field: 1) { series in
        for (index, label) in one.enumerated() {
          if scattered, index == 1 { series.message(field: 2) { $0.double(1, field: 1) } }
          series.message(field: 1) {
            $0.string(label.0, field: 1)
            $0.string(label.1, field: 2)
          }
        }
        series.message(field: 2) {
          $0.double(1, field: 1)
          $0.int64(1, field: 2)
        }
      }
    }
    return writer.bytes
  }

  static let faults: [(labels: [(String, String)], problem: IngestProblem)] = [
    ([], .missingMetricName),
    ([("a", "b")], .missingMetricName),
    ([("__name__", "m"), ("a", "")], .emptyLabelValue),
    ([("__name__", "")], .emptyLabelValue),
    ([("", "x"), ("__name__", "m")], .emptyLabelName),
    ([("__name__", "m"), ("b", "1"), ("a", "1")], .unsortedLabels),
    ([("__name__", "m"), ("a", "1"), ("a", "2")], .duplicateLabel),
    ([("__name__", "m"), ("a", "1"), ("b", "1"), ("a", "2")], .duplicateLabel),
    ([("__name__", String(repeating: "m", count: 65_537))], .labelTooLong(limit: 65_536)),
    ([("__name__", "m"), (String(repeating: "m", count: 1025), "v")], .labelTooLong(limit: 1024)),
    ((0..<129).map { ("l\(1000 + $0)", "v") }, .tooManyLabels(limit: 128)),
  ]

  @Test(arguments: faults) func refusesASeriesAndTakesTheRest(
    _ row: (labels: [(String, String)], problem: IngestProblem)
  ) throws {
    var decoder = RemoteWriteDecoder()
    for _ in 0..<2 {
      let batch = try Self.decode(Self.request(row.labels), .v1, &decoder)
      #expect(ProtobufFixtures.lines(batch.series) == ["good 1.0@1"])
      #expect(batch.problems.items == [.init(position: 1, problem: row.problem)])
    }
  }

  @Test func refusesWhatIsNotUTF8() throws {
    var bytes = Self.request([("__name__", "abc")])
    let place = try #require(bytes.firstIndex(of: 0x61 + 1))
    bytes[place] = 0xff
    #expect(try Self.decode(bytes).problems.items.map(\.problem) == [.notUTF8])
  }

  @Test func lenientSortsAndDrops() throws {
    let batch = try Self.decode(Self.request([("b", "2"), ("a", ""), ("__name__", "m")]), isLenient: true)
    #expect(ProtobufFixtures.lines(batch.series) == ["good 1.0@1", #"m{b="2"} 1.0@1"#])
  }

  /// The wire format allows fields in any order.
  @Test func readsScatteredLabels() throws {
    var decoder = RemoteWriteDecoder()
    for _ in 0..<2 {
      let batch = try Self.decode(Self.request([("__name__", "m"), ("a", "1")], scattered: true), .v1, &decoder)
      #expect(ProtobufFixtures.lines(batch.series) == ["good 1.0@1", #"m{a="1"} 1.0@0 1.0@1"#])
    }
  }

  @Test func sortsSamplesStablyAndJoinsSeries() throws {
    var encoder = RemoteWriteEncoder()
    let labels = Labels([("__name__", "m")])
    let other = Labels([("__name__", "n")])
    let first = encoder.encode([
      SeriesSamples(labels: labels, timestamps: [5, 9], values: [1, 2]),
      SeriesSamples(labels: other, timestamps: [1], values: [7]),
    ])
    let second = encoder.encode([SeriesSamples(labels: labels, timestamps: [5, 7], values: [3, 4])])
    #expect(
      ProtobufFixtures.lines(try Self.decode(first + second).series) == ["m 1.0@5 3.0@5 4.0@7 2.0@9", "n 7.0@1"])
  }

  static let contentTypes: [(text: String, version: RemoteWriteVersion?)] = [
    ("application/x-protobuf", .v1),
    ("Application/X-Protobuf; charset=utf-8", .v1),
    ("application/x-protobuf;proto=prometheus.WriteRequest", .v1),
    ("application/x-protobuf;proto=io.prometheus.write.v2.Request", .v2),
    ("application/x-protobuf ; proto=\"io.prometheus.write.v2.Request\"", .v2),
    ("application/x-protobuf;proto=other", nil),
    ("application/json", nil),
    ("", nil),
  ]

  @Test(arguments: contentTypes) func contentType(_ row: (text: String, version: RemoteWriteVersion?)) {
    #expect(RemoteWriteVersion(contentType: row.text) == row.version)
  }

  @Test func boundsExpandedLabels() {
    // One symbol of 60,000 bytes, referred to by a hundred thousand series of 9 bytes each.
    var writer = ProtobufWriter()
    writer.string("", field: 4)
    writer.string("__name__", field: 4)
    writer.string(String(repeating: "x", count: 60_000), field: 4)
    for _ in 0..<100_000 { writer.message(field: 5) { $0.data([1, 2], field: 1) } }
    #expect(throws: FormatError.tooMany(.labelBytes, limit: IngestLimits.labelBytesPerRequest)) {
      try Self.decode(writer.bytes, .v2)
    }
    #expect(throws: FormatError.protobuf(.firstSymbolNotEmpty, offset: 2)) {
      var writer = ProtobufWriter()
      writer.string("a", field: 4)
      _ = try Self.decode(writer.bytes, .v2)
    }
  }

  /// A decoder that has seen anything gives the same result as one that has seen nothing.
  @Test func mutationNeverCrashesAndTheCacheChangesNothing() throws {
    var seed = Seed(4)
    for version in RemoteWriteVersion.allCases {
      let valid = version == .v1 ? ProtobufFixtures.remoteWrite1 : ProtobufFixtures.remoteWrite2
      var warm = RemoteWriteDecoder()
      for _ in 0..<3000 {
        var bytes = valid
        for _ in 0...seed.below(3) {
          switch seed.below(4) {
          case 0: bytes[seed.below(bytes.count)] = UInt8(truncatingIfNeeded: seed.next())
          case 1: bytes[seed.below(bytes.count)] ^= 1 << UInt8(seed.below(8))
          case 2: bytes.remove(at: seed.below(bytes.count))
          default: bytes.insert(UInt8(truncatingIfNeeded: seed.next()), at: seed.below(bytes.count))
          }
        }
        if seed.oneIn(5) { bytes.removeSubrange(seed.below(bytes.count)...) }
        let cold = Result { try Self.decode(bytes, version) }
        let again = Result { try Self.decode(bytes, version, &warm) }
        switch (cold, again) {
        case (.success(let left), .success(let right)):
          #expect(ProtobufFixtures.lines(left.series) == ProtobufFixtures.lines(right.series))
          #expect(left.problems == right.problems)
          #expect(left.sampleCount == left.series.reduce(0) { $0 + $1.values.count })
        case (.failure(let left as FormatError), .failure(let right as FormatError)): #expect(left == right)
        default: Issue.record("one decoder threw and the other did not")
        }
      }
    }
  }
}
