// Goal: what is encoded decodes to the same; whatever else comes in is refused with the reason, and takes no memory out
// of proportion. Method: tables, seeded random sets and scrapes, every prefix and every changed byte of a record.

import ApusFormats
import ApusIO
import ApusModel
import ApusTestKit
import Testing

struct ScrapeRecordTests {
  @Test func setsComeBackWhole() throws {
    let set = gpuSet(gpus: 8, metrics: 20)
    let bytes = ScrapeRecord.encode(set: set)
    guard case .set(let back) = try decode(bytes) else { throw Surprise() }
    #expect(back.id == set.id)
    #expect(back.series == set.series)
    #expect(back.descriptors == set.descriptors)
    #expect(bytes.withUnsafeBytes { ScrapeRecord.peek($0) }?.setID == set.id)
    // The dictionary is what makes a set cheap to repeat.
    let plain = set.series.reduce(0) { $0 + $1.bytes.count }
    #expect(bytes.count * 5 < plain)
  }

  @Test func additionsBuildOnTheirBase() throws {
    let whole = gpuSet(gpus: 4, metrics: 5)
    let base = SeriesSet(series: Array(whole.series[..<15]), descriptors: whole.descriptors)
    let bytes = ScrapeRecord.encode(set: whole, base: base, baseOffset: 77)
    #expect(bytes.count < ScrapeRecord.encode(set: whole).count)
    #expect(bytes.withUnsafeBytes { ScrapeRecord.peek($0) }?.baseID == base.id)
    guard case .set(let back) = try decode(bytes, [base]) else { throw Surprise() }
    #expect(back.series == whole.series)
    #expect(back.descriptors == whole.descriptors)
    guard case .unknownSet(let id, let offset) = try decode(bytes) else { throw Surprise() }
    #expect(id == base.id && offset == 77)
  }

  @Test func whatDoesNotBeginWithTheBaseIsWrittenWhole() throws {
    let base = gpuSet(gpus: 2, metrics: 3)
    let other = SeriesSet(series: Array(base.series.reversed()) + [series("new")])
    guard case .set(let back) = try decode(ScrapeRecord.encode(set: other, base: base)) else { throw Surprise() }
    #expect(back == other)
  }

  @Test func scrapesComeBackWhole() throws {
    var seed = Seed(1)
    for count in [0, 1, 63, 64, 65, 1000] {
      let set = SeriesSet(series: (0..<count).map { series("m", ["i": "\($0)"]) })
      let values = (0..<count).map { _ in Double(bitPattern: seed.next()) }
      var absent: Bitmap?
      if count > 1 {
        absent = Bitmap(count: count)
        for index in 0..<count where seed.oneIn(3) { absent?[index] = true }
      }
      for bitmap in [nil, absent] {
        let scrape = Scrape(set: set, timestamp: Timestamp(milliseconds: -5), values: values, absent: bitmap)
        let bytes = ScrapeRecord.encode(scrape, setOffset: 12)
        #expect(bytes.count == ScrapeRecord.encodedSize(of: scrape))
        #expect(bytes.withUnsafeBytes { ScrapeRecord.peek($0) }?.setOffset == 12)
        guard case .scrape(let back) = try decode(bytes, [set]) else { throw Surprise() }
        #expect(back.timestamp == scrape.timestamp)
        #expect(back.values.map(\.bitPattern) == values.map(\.bitPattern))
        #expect(back.absent == bitmap)
        guard case .unknownSet(set.id, offset: 12) = try decode(bytes) else { throw Surprise() }
      }
    }
  }

  @Test func aSampleCostsEightBytes() {
    let set = gpuSet(gpus: 8, metrics: 20)
    let scrape = Scrape(set: set, timestamp: noon, values: [Double](repeating: 1, count: set.count))
    #expect(ScrapeRecord.encodedSize(of: scrape) == 40 + 8 * set.count)
  }

  @Test func samplesComeBackWhole() throws {
    var seed = Seed(2)
    let samples = (0..<50).map { number in
      let times = (0..<seed.below(20)).map { _ in Int64(bitPattern: seed.next()) }.sorted()
      return SeriesSamples(
        labels: series("m", ["i": "\(number)", "same": "x"]), timestamps: times,
        values: times.map { _ in Double(bitPattern: seed.next()) })
    }
    guard case .samples(let back) = try decode(ScrapeRecord.encode(samples: samples)) else { throw Surprise() }
    #expect(flatten([], back) == flatten([], samples))
    let edges = SeriesSamples(labels: series("e"), timestamps: [.min, .min, 0, .max], values: [1, 2, 3, 4])
    guard case .samples(let ends) = try decode(ScrapeRecord.encode(samples: [edges])) else { throw Surprise() }
    #expect(ends[0].timestamps == edges.timestamps)
  }

  @Test func everyCutIsRefused() throws {
    for (bytes, sets) in examples() {
      for count in 0..<bytes.count {
        #expect(throws: FormatError.self) { _ = try decode(Array(bytes[..<count]), sets) }
        _ = Array(bytes[..<count]).withUnsafeBytes { ScrapeRecord.peek($0) }
      }
      #expect(throws: FormatError.record(.trailingBytes(1), offset: bytes.count)) { _ = try decode(bytes + [0], sets) }
    }
  }

  @Test func changedBytesAreRefusedOrMakeSense() {
    for (bytes, sets) in examples() {
      for index in bytes.indices {
        for flip in [1, 2, 0x40, 0x80, 0xff] as [UInt8] {
          var changed = bytes
          changed[index] ^= flip
          do {
            switch try decode(changed, sets) {
            case .set(let set): #expect(sets.contains(set) || Set(set.series).count == set.count)
            case .scrape(let scrape): #expect(scrape.values.count == scrape.set.count)
            case .samples, .unknownSet: break
            }
          } catch {}
        }
      }
    }
  }

  @Test func announcedIdentityIsChecked() {
    var bytes = ScrapeRecord.encode(set: gpuSet(gpus: 1, metrics: 2))
    bytes[4] ^= 1
    guard case .record(.identityMismatch, offset: 4)? = problem(bytes) else {
      Issue.record("the changed identity passed")
      return
    }
  }

  @Test func hostileCountsTakeNoMemory() {
    // A record of a few bytes that claims millions of everything.
    let claims: [[UInt8]] = [
      [1, 1, 0, 0] + [UInt8](repeating: 0, count: 16) + [0xff, 0xff, 0xff, 0x7f, 1],
      [1, 1, 0, 0] + [UInt8](repeating: 0, count: 16) + [0, 0xff, 0xff, 0xff, 0x7f],
      [2, 1, 1, 0] + [UInt8](repeating: 0, count: 32) + [0xff, 0xff, 0xff, 0xff],
      [3, 1, 0, 0, 0xff, 0xff, 0xff, 0x7f], [3, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f],
      [3, 1, 0, 0, 1, 1, 1, 0x61, 1, 0x62, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ]
    for claim in claims { #expect(problem(claim) != nil) }
  }

  @Test(arguments: [
    ([9, 1, 0, 0], RecordProblem.unknownKind(9)), ([2, 2, 0, 0], .unsupportedVersion(2)),
    ([2, 1, 4, 0], .unknownFlags(4)),
    ([3, 1, 0, 7], .unknownFlags(7)), ([1], .truncated),
    // One series that refers to a pair that is not there.
    ([3, 1, 0, 0, 1, 1, 1, 0x61, 1, 0x62, 1, 5, 0], .invalidLabels),
    // Pairs out of order: b then a.
    ([3, 1, 0, 0, 1, 2, 1, 0x62, 1, 0x62, 1, 0x61, 1, 0x61, 2, 0, 1, 0], .invalidLabels),
    // One name twice.
    ([3, 1, 0, 0, 1, 2, 1, 0x62, 1, 0x62, 1, 0x62, 1, 0x61, 2, 0, 1, 0], .invalidLabels),
    // An empty value, an overlong length, bytes that are not UTF-8.
    ([3, 1, 0, 0, 1, 1, 1, 0x61, 0, 1, 0, 0, 0], .invalidLabels),
    ([3, 1, 0, 0, 1, 1, 0x81, 0, 0x61, 1, 0x62, 1, 0, 0], .invalidLabels),
    ([3, 1, 0, 0, 1, 1, 1, 0xff, 1, 0x62, 1, 0, 0], .notUTF8),
    // A series without labels.
    ([3, 1, 0, 0, 1, 0, 0, 0, 0], .invalidLabels),
  ])
  func saysWhatIsWrong(_ bytes: [UInt8], _ expected: RecordProblem) {
    guard case .record(let found, _)? = problem(bytes) else {
      Issue.record("\(bytes) passed")
      return
    }
    #expect(found == expected)
  }

  @Test func aSeriesMayNotOccurTwice() {
    let twice = SeriesSet(series: [series("a"), series("a")])
    guard case .record(.duplicateSeries, _)? = problem(ScrapeRecord.encode(set: twice)) else {
      Issue.record("a set with a series twice passed")
      return
    }
  }

  @Test func aScrapeMustFitItsSet() {
    let set = gpuSet(gpus: 1, metrics: 3)
    var bytes = ScrapeRecord.encode(Scrape(set: set, timestamp: noon, values: [1, 2, 3]), setOffset: -1)
    bytes[36] = 2
    bytes.removeLast(8)
    guard case .record(.valueCount(found: 2, expected: 3), offset: 36)? = problem(bytes, [set]) else {
      Issue.record("two values passed for three series")
      return
    }
  }

  private struct Surprise: Error {}

  private func gpuSet(gpus: Int, metrics: Int) -> SeriesSet {
    var list: [Labels] = []
    var descriptors: [MetricDescriptor] = []
    for metric in 0..<metrics {
      descriptors.append(
        MetricDescriptor(name: "DCGM_FI_DEV_METRIC_\(metric)", kind: .gauge, help: "Metric \(metric)."))
      for gpu in 0..<gpus {
        list.append(
          series(
            "DCGM_FI_DEV_METRIC_\(metric)",
            [
              "gpu": "\(gpu)", "UUID": "GPU-11111111-2222-3333-4444-55555555555\(gpu)", "device": "nvidia\(gpu)",
              "modelName": "NVIDIA H100 80GB HBM3", "Hostname": "node-a", "pci_bus_id": "00000000:1\(gpu):00.0",
            ]))
      }
    }
    return SeriesSet(series: list, descriptors: descriptors)
  }

  private func examples() -> [(bytes: [UInt8], sets: [SeriesSet])] {
    let set = gpuSet(gpus: 2, metrics: 2)
    let base = SeriesSet(series: Array(set.series[..<3]), descriptors: set.descriptors)
    var absent = Bitmap(count: 4)
    absent[2] = true
    let scrape = Scrape(set: set, timestamp: noon, values: [1, 2, 0, .nan], absent: absent)
    let samples = [SeriesSamples(labels: series("m", ["a": "b"]), timestamps: [1, 5, 5], values: [1, 2, 3])]
    return [
      (ScrapeRecord.encode(set: set), []), (ScrapeRecord.encode(set: set, base: base), [base]),
      (ScrapeRecord.encode(scrape, setOffset: 3), [set]), (ScrapeRecord.encode(samples: samples), []),
    ]
  }

  private func decode(_ bytes: [UInt8], _ sets: [SeriesSet] = []) throws -> ScrapeRecord.Decoded {
    try bytes.withUnsafeBytes { bytes in
      try ScrapeRecord.decode(bytes) { id in sets.first { $0.id == id } }
    }
  }

  private func problem(_ bytes: [UInt8], _ sets: [SeriesSet] = []) -> FormatError? {
    do {
      _ = try decode(bytes, sets)
      return nil
    } catch { return error as? FormatError }
  }
}
