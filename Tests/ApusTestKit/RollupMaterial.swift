import ApusModel
import ApusStore

/// Telemetry for tests of roll-ups: a fleet of a few series with a scrape a second or so, and all that may befall it:
/// counters that reset, gaps, NaN, stale markers, samples that come late or twice, series with instants of their own.
package struct RollupMaterial: Sendable {
  package static let partition = LogPartition(topic: "gpu-telemetry", partition: 0)
  /// Resolutions and a span as small as the material, in milliseconds.
  package static let resolutions: [Int64] = [5000, 20_000]
  package static let span: Int64 = 80_000

  private var random: Seed
  private var offset: Int64 = 0
  private var counters: [Double]
  private let hosts = ["a", "b", "c"]
  /// The time of the fleet's last scrape.
  package private(set) var instant: Int64

  package init(seed: UInt64, start: Int64) {
    random = Seed(seed)
    instant = start
    counters = [Double](repeating: 0, count: 3 * 3)
  }

  /// A store that rolls up material like this, on the caller's thread.
  package static func configuration(retention: Int64? = nil) -> EmbeddedStore.Configuration {
    var configuration = EmbeddedStore.Configuration()
    configuration.hasThreads = false
    configuration.headSpanMilliseconds = 30_000
    configuration.headBytes = 1 << 16
    configuration.headBytesMax = 1 << 20
    configuration.partitionMilliseconds = 60_000
    configuration.blockSamplesMin = 100
    configuration.compactionSamplesMax = 50_000
    configuration.retryMilliseconds = 500
    configuration.retentionMilliseconds = retention
    configuration.rollups = resolutions.map { RollupLevel(resolutionMilliseconds: $0) }
    configuration.rollupSpanMilliseconds = span
    configuration.rollupDelayMilliseconds = 10_000
    configuration.rollupSamplesMin = 1
    configuration.rollupSamplesPerBucketMin = 0
    return configuration
  }

  /// Some scrapes of each host, on from the last instant; `latest` is how far back samples may come late.
  package mutating func batch(rounds: Int, latest: Int64 = 400_000) -> StoreBatch {
    var items: [StoreBatch.Item] = []
    for _ in 0..<rounds {
      instant += 900 + Int64(random.below(200))
      for (number, host) in hosts.enumerated() where !random.oneIn(12) {
        items.append(StoreBatch.Item(offset: offset, content: .scrape(scrape(host, number))))
        offset += 1
      }
      if random.oneIn(6) {
        items.append(StoreBatch.Item(offset: offset, content: .samples(strays(latest))))
        offset += 1
      }
    }
    return StoreBatch(partition: RollupMaterial.partition, items: items, nextOffset: offset)
  }

  private mutating func scrape(_ host: String, _ number: Int) -> Scrape {
    var series: [Labels] = []
    var values: [Double] = []
    for gpu in 0..<3 {
      series.append(Labels([("__name__", "power"), ("Hostname", host), ("gpu", "\(gpu)")]))
      values.append(value(100 + Double(random.below(300_000)) / 1000))
      series.append(Labels([("__name__", "energy"), ("Hostname", host), ("gpu", "\(gpu)")]))
      counters[number * 3 + gpu] += Double(random.below(1000)) / 8
      if random.oneIn(40) { counters[number * 3 + gpu] = Double(random.below(10)) }
      values.append(value(counters[number * 3 + gpu]))
    }
    let set = SeriesSet(
      series: series,
      descriptors: [MetricDescriptor(name: "power", kind: .gauge), MetricDescriptor(name: "energy", kind: .counter)])
    var absent: Bitmap?
    if random.oneIn(10) {
      var bits = Bitmap(count: set.count)
      for row in 0..<set.count where random.oneIn(4) { bits[row] = true }
      absent = bits
    }
    return Scrape(set: set, timestamp: Timestamp(milliseconds: instant), values: values, absent: absent)
  }

  private mutating func value(_ plain: Double) -> Double {
    if random.oneIn(25) { return .nan }
    return random.oneIn(25) ? StaleMarker.value : plain
  }

  /// Samples of single series, many of them late, of which some replace others.
  private mutating func strays(_ latest: Int64) -> [SeriesSamples] {
    let series = Labels([
      ("__name__", random.oneIn(2) ? "requests_total" : "power"), ("Hostname", hosts[random.below(3)]), ("gpu", "0"),
    ])
    let back = random.oneIn(3) ? Int64(random.below(Int(latest))) : Int64(random.below(3000))
    let timestamps = (0..<(1 + random.below(5))).map { Int64($0) * 700 + instant - back }
    return [SeriesSamples(labels: series, timestamps: timestamps, values: timestamps.map { Double($0 % 977) })]
  }

  /// A request over the time so far, mostly one that roll-ups can serve.
  package mutating func request(from start: Int64) -> AggregateRequest {
    let steps: [Int64] = [5000, 10_000, 20_000, 40_000, 80_000, 200_000, 7000]
    let step = steps[random.below(steps.count)]
    var range = TimeRange.all
    if random.oneIn(2) {
      let from = start + Int64(random.below(Int(max(1, instant - start))))
      range = TimeRange(
        start: Timestamp(milliseconds: from), end: Timestamp(milliseconds: from + Int64(random.below(300_000))))
    }
    let matchers: [[Matcher]] = [
      [], [.metric("power")], [.metric("energy")], [.equal("Hostname", "a")], [.notEqual("gpu", "0")],
      [.metric("requests_total")],
    ]
    return AggregateRequest(
      matchers[random.below(matchers.count)], in: range, step: step, origin: random.oneIn(5) ? 5000 : 0,
      functions: StoreConformance.functions(&random))
  }

  package mutating func chance(_ n: Int) -> Bool { random.oneIn(n) }

  package mutating func below(_ bound: Int) -> Int { random.below(bound) }

  /// What a delete may be of, within the time so far.
  package mutating func deletion(from start: Int64) -> (matchers: [Matcher], range: TimeRange) {
    let matchers: [[Matcher]] = [[.equal("gpu", "1")], [.metric("energy"), .equal("Hostname", "b")], []]
    let from = start + Int64(random.below(Int(max(1, instant - start))))
    let length = random.oneIn(3) ? 200_000 : 4000
    return (
      matchers[random.below(matchers.count)],
      TimeRange(start: Timestamp(milliseconds: from), end: Timestamp(milliseconds: from + Int64(random.below(length))))
    )
  }
}
