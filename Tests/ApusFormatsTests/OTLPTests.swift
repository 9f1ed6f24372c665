// Goal: OTLP metrics become the series that Prometheus' receiver makes of them; deltas are added up exactly once.
// Method: a request of the protocol's own encoder, tables of names and values, requests put together field by field for
// deltas and refusals, seeded mutation.

import ApusFormats
import ApusModel
import ApusTestKit
import Testing

@Suite struct OTLPTests {
  static func decode(_ bytes: [UInt8], _ decoder: inout OTLPDecoder) throws -> IngestBatch {
    try bytes.withUnsafeBytes { try decoder.decode($0) }
  }

  static func decode(_ bytes: [UInt8]) throws -> IngestBatch {
    var decoder = OTLPDecoder()
    return try decode(bytes, &decoder)
  }

  @Test func readsAnotherEncodersRequest() throws {
    let target = #"instance="a-1", job="ml/trainer""#
    var decoder = OTLPDecoder()
    for _ in 0..<3 {
      let batch = try Self.decode(ProtobufFixtures.metrics, &decoder)
      #expect(
        ProtobufFixtures.lines(batch.series)
          == [
            #"gpu_power_watts{gpu_index="3", \#(target)} 71.5@1700000000000"#,
            #"gpu_power_watts{gpu_index="4", \#(target)} stale@1700000000000"#,
            #"http_requests_total{\#(target), ok="true"} 42.0@1700000000000"#,
            #"latency_milliseconds_bucket{\#(target), le="+Inf"} 6.0@1700000200000"#,
            #"latency_milliseconds_bucket{\#(target), le="0.5"} 1.0@1700000200000"#,
            #"latency_milliseconds_bucket{\#(target), le="10"} 3.0@1700000200000"#,
            #"latency_milliseconds_count{\#(target)} 6.0@1700000200000"#,
            #"latency_milliseconds_sum{\#(target)} 7.25@1700000200000"#,
            #"queue{\#(target)} -2.0@1700000000000"#,
            #"rpc_seconds_count{\#(target)} 9.0@1700000000000"#,
            #"rpc_seconds_sum{\#(target)} 3.5@1700000000000"#,
            #"rpc_seconds{\#(target), quantile="0.99"} 1.25@1700000000000"#,
            #"target_info{host_cores="96", \#(target)} 1.0@1700000000000 1.0@1700000150000 1.0@1700000200000"#,
          ].sorted())
      #expect(batch.problems.items == [.init(position: 7, problem: .exponentialHistogram)])
      #expect(
        batch.descriptors == [
          MetricDescriptor(name: "gpu_power_watts", kind: .gauge, help: "Draw.", unit: "watts"),
          MetricDescriptor(name: "http_requests_total", kind: .counter),
          MetricDescriptor(name: "queue", kind: .gauge),
          MetricDescriptor(name: "latency_milliseconds", kind: .histogram, unit: "milliseconds"),
          MetricDescriptor(name: "rpc_seconds", kind: .summary, unit: "seconds"),
        ])
      decoder.commit()
    }
  }

  @Test func answers() {
    #expect(OTLPResponse.encode(IngestProblems()).isEmpty)
    let message = "data point 8: exponential histograms are not supported"
    #expect(OTLPResponse.encode(rejectedDataPoints: 1, message: message) == ProtobufFixtures.metricsAnswer)
    var problems = IngestProblems()
    problems.add(.exponentialHistogram, at: 8)
    #expect(OTLPResponse.encode(problems) == ProtobufFixtures.metricsAnswer)
  }

  /// A request with one metric; `type` is the field of its data, `fields` follow the data points there.
  static func request(
    name: String = "m", unit: String = "", type: Int = 5, resource: (inout ProtobufWriter) -> Void = { _ in },
    fields: (inout ProtobufWriter) -> Void = { _ in }, points: [(inout ProtobufWriter) -> Void]
  ) -> [UInt8] {
    var writer = ProtobufWriter()
    writer.message(field: 1) { metrics in
      metrics.message(field: 1, resource)
      metrics.message(field: 2) { scope in
        scope.message(field: 2) { metric in
          metric.string(name, field: 1)
          metric.string(unit, field: 3)
          metric.message(field: type) { data in
            for point in points { data.message(field: 1, point) }
            fields(&data)
          }
        }
      }
    }
    return writer.bytes
  }

  static func attribute(
    _ key: String, field: Int = 7, in writer: inout ProtobufWriter, _ value: (inout ProtobufWriter) -> Void
  ) {
    writer.message(field: field) {
      $0.string(key, field: 1)
      $0.message(field: 2, value)
    }
  }

  /// A number at so many milliseconds.
  static func number(_ value: Double, at milliseconds: UInt64, from start: UInt64 = 0) -> (inout ProtobufWriter) -> Void
  {
    { point in
      if start != 0 { point.fixed64(start * 1_000_000, field: 2) }
      point.fixed64(milliseconds * 1_000_000, field: 3)
      point.double(value, field: 4)
    }
  }

  static let names: [(name: String, unit: String, type: Int, monotonic: Bool, expected: String)] = [
    ("a.b-c", "", 5, false, "a_b_c"),
    ("__a..b__", "", 5, false, "a_b"),
    ("a:b", "", 5, false, "a:b"),
    ("9lives", "", 5, false, "_9lives"),
    ("memory", "By", 5, false, "memory_bytes"),
    ("memory.bytes", "By", 5, false, "memory_bytes"),
    ("speed", "m/s", 5, false, "speed_meters_per_second"),
    ("rate", "By/s", 5, false, "rate_bytes_per_second"),
    ("rate", "{packets}/s", 5, false, "rate_per_second"),
    ("share", "1", 5, false, "share_ratio"),
    ("gpu.ratio.used", "1", 5, false, "gpu_used_ratio"),
    ("used", "%", 5, false, "used_percent"),
    ("odd", "widgets", 5, false, "odd_widgets"),
    ("odd", "a b__c", 5, false, "odd_a_b_c"),
    ("requests", "", 7, true, "requests_total"),
    ("total.requests", "1", 7, true, "requests_total"),
    ("io", "By", 7, true, "io_bytes_total"),
    ("queue", "1", 7, false, "queue"),
    ("temp", "Cel", 5, false, "temp_celsius"),
    ("d\u{e9}j\u{e0}", "", 5, false, "d_j"),
  ]

  @Test(arguments: names) func metricNames(
    _ row: (name: String, unit: String, type: Int, monotonic: Bool, expected: String)
  ) throws {
    let bytes = Self.request(
      name: row.name, unit: row.unit, type: row.type,
      fields: {
        if row.type == 7 { $0.varint(2, field: 2) }
        if row.monotonic { $0.varint(1, field: 3) }
      }, points: [Self.number(1, at: 5)])
    #expect(ProtobufFixtures.lines(try Self.decode(bytes).series) == ["\(row.expected) 1.0@5"])
  }

  @Test func attributeValuesAndNames() throws {
    let bytes = Self.request(points: [
      { point in
        point.fixed64(5_000_000, field: 3)
        point.fixed64(UInt64(bitPattern: -3), field: 6)
        Self.attribute("text.a", in: &point) { $0.string("x\"y", field: 1) }
        Self.attribute("yes", in: &point) { $0.varint(1, field: 2) }
        Self.attribute("int", in: &point) { $0.int64(-7, field: 3) }
        Self.attribute("half", in: &point) { $0.double(0.5, field: 4) }
        Self.attribute("small", in: &point) { $0.double(1e-9, field: 4) }
        Self.attribute("big", in: &point) { $0.double(1.5e18, field: 4) }
        Self.attribute("raw", in: &point) { $0.data([1, 2, 3, 4], field: 7) }
        Self.attribute("list", in: &point) { value in
          value.message(field: 5) { list in
            list.message(field: 1) { $0.string("a\n", field: 1) }
            list.message(field: 1) { $0.int64(2, field: 3) }
            list.message(field: 1) { _ in }
          }
        }
        Self.attribute("map", in: &point) { value in
          value.message(field: 6) { map in
            for key in ["z", "b"] { Self.attribute(key, field: 1, in: &map) { $0.varint(0, field: 2) } }
          }
        }
        Self.attribute("9", in: &point) { $0.string("digit", field: 1) }
        Self.attribute("_u", in: &point) { $0.string("under", field: 1) }
        Self.attribute("same.x", in: &point) { $0.string("1", field: 1) }
        Self.attribute("same-x", in: &point) { $0.string("2", field: 1) }
        Self.attribute("none", in: &point) { _ in }
      }
    ])
    let series = try Self.decode(bytes).series
    #expect(series.first?.values == [-3])
    let labels = try #require(series.first?.labels)
    let pairs = Dictionary(uniqueKeysWithValues: labels.pairs.map { ($0.name, $0.value) })
    #expect(
      pairs == [
        "__name__": "m", "text_a": "x\"y", "yes": "true", "int": "-7", "half": "0.5", "small": "1e-09",
        "big": "1500000000000000000", "raw": "AQIDBA==", "list": #"["a\n",2,null]"#, "map": #"{"b":false,"z":false}"#,
        "key_9": "digit", "key_u": "under", "same_x": "2;1",
      ])
  }

  static let bounds: [(bound: Double, text: String)] = [
    (0, "0"), (-0.25, "-0.25"), (1, "1"), (0.005, "0.005"), (1e-7, "0.0000001"), (1e21, "1000000000000000000000"),
    (123456.75, "123456.75"), (2.5, "2.5"),
  ]

  @Test(arguments: bounds) func boundsAsLabels(_ row: (bound: Double, text: String)) throws {
    let bytes = Self.request(
      type: 9, fields: { $0.varint(2, field: 2) },
      points: [
        {
          $0.fixed64(1, field: 4)
          $0.fixed64(1, field: 6)
          $0.fixed64(0, field: 6)
          $0.double(row.bound, field: 7)
        }
      ])
    let texts = try Self.decode(bytes).series.compactMap { $0.labels["le"] }
    #expect(texts == [row.text, "+Inf"])
  }

  static func delta(_ values: [(value: Double, at: UInt64, from: UInt64)], type: Int = 7) -> [UInt8] {
    request(
      type: type,
      fields: {
        $0.varint(1, field: 2)
        $0.varint(1, field: 3)
      }, points: values.map { number($0.value, at: $0.at, from: $0.from) })
  }

  @Test func addsDeltasUpOnce() throws {
    var decoder = OTLPDecoder()
    let first = Self.delta([(2, 10, 5), (3, 20, 10)])
    #expect(ProtobufFixtures.lines(try Self.decode(first, &decoder).series) == ["m_total 2.0@10 5.0@20"])
    // It was not made durable, and comes again.
    decoder.rollback()
    #expect(ProtobufFixtures.lines(try Self.decode(first, &decoder).series) == ["m_total 2.0@10 5.0@20"])
    decoder.commit()
    // The answer was lost, and it comes once more.
    var batch = try Self.decode(first, &decoder)
    #expect(batch.series.isEmpty)
    #expect(batch.problems.items.map(\.problem) == [.deltaOutOfOrder, .deltaOutOfOrder])
    decoder.commit()
    batch = try Self.decode(Self.delta([(1, 30, 20), (9, 40, 25), (1, 50, 30)]), &decoder)
    #expect(ProtobufFixtures.lines(batch.series) == ["m_total 6.0@30 7.0@50"])
    #expect(batch.problems.items == [.init(position: 2, problem: .deltaOutOfOrder)])
  }

  @Test func addsDeltaHistogramsUp() throws {
    var decoder = OTLPDecoder()
    func histogram(at milliseconds: UInt64, counts: [UInt64]) -> [UInt8] {
      Self.request(
        type: 9, fields: { $0.varint(1, field: 2) },
        points: [
          { point in
            point.fixed64(milliseconds * 1_000_000, field: 3)
            point.fixed64(counts.reduce(0, +), field: 4)
            point.double(1.5, field: 5)
            for count in counts { point.fixed64(count, field: 6) }
            point.double(1, field: 7)
          }
        ])
    }
    _ = try Self.decode(histogram(at: 10, counts: [1, 2]), &decoder)
    decoder.commit()
    let batch = try Self.decode(histogram(at: 20, counts: [3, 4]), &decoder)
    #expect(
      ProtobufFixtures.lines(batch.series) == [
        "m_bucket{le=\"+Inf\"} 10.0@20", "m_bucket{le=\"1\"} 4.0@20", "m_count 10.0@20", "m_sum 3.0@20",
      ])
  }

  @Test func refusesSingleDataPoints() throws {
    let unknown = Self.request(type: 7, points: [Self.number(1, at: 1), Self.number(1, at: 2)])
    #expect(try Self.decode(unknown).problems.items.map(\.problem) == [.unknownTemporality, .unknownTemporality])
    let empty = Self.request(points: [{ _ in }, Self.number(1, at: 1)])
    #expect(try Self.decode(empty).problems.items == [.init(position: 1, problem: .invalidDataPoint)])
    #expect(ProtobufFixtures.lines(try Self.decode(empty).series) == ["m 1.0@1"])
    let nameless = Self.request(name: "...", points: [Self.number(1, at: 1)])
    #expect(try Self.decode(nameless).problems.items.map(\.problem) == [.missingMetricName])
    let uneven = Self.request(
      type: 9, fields: { $0.varint(2, field: 2) },
      points: [
        {
          $0.fixed64(1, field: 6)
          $0.double(1, field: 7)
        }
      ])
    #expect(try Self.decode(uneven).problems.items.map(\.problem) == [.invalidDataPoint])
    let many = Self.request(points: [
      { point in
        point.double(1, field: 4)
        for index in 0..<200 { Self.attribute("a\(index)", in: &point) { $0.string("v", field: 1) } }
      }
    ])
    #expect(try Self.decode(many).problems.items.map(\.problem) == [.tooManyLabels(limit: 128)])
  }

  /// Two resources with the same metric and attributes are two series.
  @Test func resourcesTellSeriesApart() throws {
    func request(_ instance: String) -> [UInt8] {
      Self.request(
        resource: { resource in
          Self.attribute("service.instance.id", field: 1, in: &resource) { $0.string(instance, field: 1) }
        }, points: [Self.number(1, at: 1)])
    }
    var decoder = OTLPDecoder()
    for _ in 0..<2 {
      let batch = try Self.decode(request("a") + request("b"), &decoder)
      #expect(ProtobufFixtures.lines(batch.series) == [#"m{instance="a"} 1.0@1"#, #"m{instance="b"} 1.0@1"#])
    }
  }

  /// The times of a request are the sender's to choose; what is made of them is bounded.
  @Test func boundsTargetInfo() throws {
    let bytes = Self.request(
      resource: { resource in
        Self.attribute("service.name", field: 1, in: &resource) { $0.string("j", field: 1) }
        Self.attribute("x", field: 1, in: &resource) { $0.string("y", field: 1) }
      }, points: [Self.number(1, at: 0), Self.number(1, at: 10_000_000_000)])
    let info = try #require(try Self.decode(bytes).series.first { $0.labels.metricName == "target_info" })
    #expect(info.timestamps.count == 288)
    #expect(info.timestamps.last == 10_000_000_000)
  }

  @Test func mutationNeverCrashesAndTheCacheChangesNothing() throws {
    var seed = Seed(7)
    let valid = ProtobufFixtures.metrics
    var warm = OTLPDecoder()
    for _ in 0..<2000 {
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
      let cold = Result { try Self.decode(bytes) }
      let again = Result { try Self.decode(bytes, &warm) }
      switch (cold, again) {
      case (.success(let left), .success(let right)):
        #expect(ProtobufFixtures.lines(left.series) == ProtobufFixtures.lines(right.series))
        #expect(left.problems == right.problems)
      case (.failure, .failure): break
      // A fault within an attribute shows only where its labels are made.
      default: Issue.record("one decoder threw and the other did not")
      }
    }
  }
}
