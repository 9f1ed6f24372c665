// Goal: what one side of the store protocol writes the other reads, in pieces of any size, and bytes that nobody wrote are
// refused without a trap. Method: random values by seed, fed whole, byte by byte and in random pieces; random mutations.

import ApusModel
import ApusStore
import ApusTestKit
import Testing

@Suite struct StoreWireTests {
  private func message(_ frames: [StoreWire.Frame]) -> [UInt8] {
    var writer = StoreWireWriter()
    for frame in frames { writer.write(frame.kind, frame.payload) }
    writer.finish()
    return writer.take()
  }

  private func read(_ pieces: [[UInt8]]) throws -> (frames: [StoreWire.Frame], isFinished: Bool) {
    var reader = StoreWireReader()
    var frames: [StoreWire.Frame] = []
    for piece in pieces {
      reader.feed(piece)
      while let frame = try reader.next() { frames.append(frame) }
    }
    return (frames, reader.isFinished)
  }

  @Test func framesComeBackFromPiecesOfAnySize() throws {
    var random = Seed(7)
    for _ in 0..<50 {
      let frames = (0..<random.below(6)).map { _ in
        let isPlain = random.oneIn(2)
        return StoreWire.Frame(
          kind: .strings, payload: (0..<random.below(5000)).map { isPlain ? UInt8($0 & 7) : UInt8(random.below(256)) })
      }
      let bytes = message(frames)
      var pieces: [[UInt8]] = []
      var rest = bytes[...]
      while !rest.isEmpty {
        let count = min(rest.count, 1 + random.below(900))
        pieces.append(Array(rest.prefix(count)))
        rest = rest.dropFirst(count)
      }
      for way in [[bytes], bytes.map { [$0] }, pieces] {
        let result = try read(way)
        #expect(result.isFinished)
        #expect(result.frames.map(\.payload) == frames.map(\.payload))
      }
      // Whatever is missing at the end, it is noticed.
      let cut = try read([Array(bytes.dropLast(1 + random.below(12)))])
      #expect(!cut.isFinished)
    }
  }

  @Test func columnsComeBackWhateverTheirShape() throws {
    var random = Seed(11)
    for round in 0..<60 {
      var columns: [SeriesColumn] = []
      var shared: [Int64] = []
      for series in 0..<random.below(40) {
        if shared.isEmpty || random.oneIn(4) {
          var instant = Int64(bitPattern: random.next()) >> Int64(random.below(60))
          shared = (0..<1 + random.below(30)).map { _ in
            instant &+= Int64(random.below(100_000))
            return instant
          }
        }
        columns.append(
          SeriesColumn(
            labels: Labels([("__name__", "m\(series)"), ("round", "\(round)")]), timestamps: shared,
            values: shared.map { _ in Double(bitPattern: random.next()) }))
      }
      var pending = StoreColumnFrames(columns)
      var assembly = StoreColumnAssembly(maxSamples: 1_000_000)
      while let frame = pending.next() { #expect(assembly.take(frame) == nil) }
      let got = assembly.finish()
      #expect(got.map(\.labels) == columns.map(\.labels))
      #expect(got.map(\.timestamps) == columns.map(\.timestamps))
      #expect(got.map { $0.values.map(\.bitPattern) } == columns.map { $0.values.map(\.bitPattern) })
    }
  }

  @Test func longColumnsAreDividedAndJoined() throws {
    let timestamps = (0..<300_000).map { Int64($0) * 10_000 }
    let columns = (0..<3).map { series in
      SeriesColumn(
        labels: Labels([("__name__", "m\(series)")]), timestamps: timestamps,
        values: timestamps.map { Double($0 + Int64(series)) })
    }
    var pending = StoreColumnFrames(columns)
    var assembly = StoreColumnAssembly(maxSamples: 900_000)
    var frames = 0
    while let frame = pending.next() {
      frames += 1
      #expect(assembly.take(frame) == nil)
    }
    #expect(frames > 3)
    let got = assembly.finish()
    #expect(got.map(\.values) == columns.map(\.values) && got.map(\.timestamps) == columns.map(\.timestamps))
    var narrow = StoreColumnAssembly(maxSamples: 899_999)
    pending = StoreColumnFrames(columns)
    var refused = false
    while let frame = pending.next(), !refused { refused = narrow.take(frame) != nil }
    #expect(refused)
  }

  @Test func questionsErrorsAndStatisticsComeBack() throws {
    let question = StoreQuestion(
      [.equal("a", ""), .notEqual("b", "é"), .oneOf("c", ["x", "y", ""])], in: .all, newest: 3, maxSamples: 0,
      label: "l")
    #expect(try StoreWire.decodeQuestion(StoreWire.encode(question)) == question)
    let errors: [StoreError] = [
      .tooManySamples(found: 5, limit: 4), .gap(partition: "t/0", expected: -1, got: .max),
      .headFull(bytes: 9, limit: 8, cause: nil), .headFull(bytes: 9, limit: 8, cause: "no space"),
      .unreachable("away"), .refused("no"),
    ]
    for error in errors {
      #expect(try StoreWire.decodeError(StoreWire.frame(of: error).payload).description == error.description)
    }
    // What the caller cannot tell apart keeps its sentence.
    let corrupt = StoreError.corrupt(file: "f", section: "s", reason: "r")
    #expect(try StoreWire.decodeError(StoreWire.frame(of: corrupt).payload).description.contains("f is corrupt"))
    var statistics = StoreStatistics()
    statistics.samplesInHead = 12
    statistics.bytesByPart = ["values": 7, "index": 9]
    statistics.oldestSample = Timestamp(milliseconds: -5)
    statistics.newestSample = Timestamp(milliseconds: .max)
    statistics.lastFailure = "full"
    #expect(try StoreWire.decodeStatistics(StoreWire.frame(of: statistics).payload) == statistics)
  }

  @Test func bytesThatNobodyWroteAreRefusedWithoutATrap() throws {
    var random = Seed(99)
    let set = SeriesSet(
      series: (0..<70).map { Labels([("__name__", "m\($0)")]) },
      descriptors: [MetricDescriptor(name: "m0", kind: .gauge, help: "h", unit: "u")])
    var absent = Bitmap(count: 70)
    absent[69] = true
    let batch = StoreBatch(
      partition: LogPartition(topic: "t", partition: 3),
      items: [
        .init(
          offset: 5,
          content: .scrape(
            Scrape(
              set: set, timestamp: Timestamp(milliseconds: 8), values: [Double](repeating: 1, count: 70), absent: absent
            ))),
        .init(
          offset: 6, content: .samples([SeriesSamples(labels: set.series[1], timestamps: [1, 2], values: [3, 4])])),
      ], nextOffset: 9)
    let frames = try StoreWire.frames(of: batch)
    let again = try StoreWire.decodeBatch(frames)
    #expect(again.nextOffset == 9 && again.partition == batch.partition && again.items.count == 2)
    if case .scrape(let scrape) = again.items[0].content {
      #expect(scrape.set == set && scrape.absent == absent && scrape.set.descriptors == set.descriptors)
    } else {
      Issue.record("no scrape came back")
    }
    var refused = 0
    for _ in 0..<20_000 {
      var changed = frames
      let at = random.below(changed.count)
      guard !changed[at].payload.isEmpty else { continue }
      for _ in 0...random.below(3) {
        changed[at].payload[random.below(changed[at].payload.count)] = UInt8(random.below(256))
      }
      if random.oneIn(4) { changed[at].payload.removeLast(random.below(changed[at].payload.count)) }
      if (try? StoreWire.decodeBatch(changed)) == nil { refused += 1 }
      let payload = changed[at].payload
      _ = try? StoreWire.decodeQuestion(payload)
      _ = try? StoreWire.decodeStatistics(payload)
      _ = try? StoreWire.decodeWindows(payload, StoreQuestion([], in: .all))
      for kind in [StoreWire.FrameKind.spans, .aggregates] {
        var assembly = StoreAggregateAssembly(maxWindows: 1000)
        _ = assembly.take(StoreWire.Frame(kind: .spans, payload: [0]))
        _ = assembly.take(StoreWire.Frame(kind: kind, payload: payload))
      }
      _ = try? StoreWire.decodeError(payload)
      _ = try? StoreWire.decodeLabels(payload)
      _ = try? StoreWire.decodeStrings(payload)
      _ = try? StoreWire.decodePositions(payload)
      var assembly = StoreColumnAssembly(maxSamples: 100_000)
      _ = assembly.take(StoreWire.Frame(kind: .columns, payload: payload))
      _ = assembly.take(StoreWire.Frame(kind: .columnsContinued, payload: payload))
    }
    #expect(refused > 1000)
  }
}
