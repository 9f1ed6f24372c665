// Goal: what was in a source's last scrape and is not in the next gets exactly one marker, at that scrape's time, and
// nothing else does. Method: small pages with known ends, then random pages against a model that knows only sets of
// labels.
import ApusFormats
import ApusModel
import ApusTestKit
import Testing

@Suite struct StalenessTrackerTests {
  private static func labels(_ number: Int) -> Labels { Labels([("__name__", "m"), ("n", "\(number)")]) }

  private static func set(_ numbers: [Int]) -> SeriesSet { SeriesSet(series: numbers.map(labels)) }

  private static func scrape(_ set: SeriesSet, absent: [Int] = [], at instant: Int64) -> Scrape {
    var bitmap: Bitmap?
    for index in absent {
      if bitmap == nil { bitmap = Bitmap(count: set.count) }
      bitmap?[index] = true
    }
    return Scrape(
      set: set, timestamp: Timestamp(milliseconds: instant), values: set.series.indices.map { Double($0) },
      absent: bitmap)
  }

  private static func sample(_ number: Int, at instant: Int64, _ value: Double = 1) -> SeriesSamples {
    SeriesSamples(labels: labels(number), timestamps: [instant], values: [value])
  }

  /// A tracker by reference, so that an expectation may move it.
  private final class Source {
    var tracker = StalenessTracker()

    func follows(_ scrape: Scrape) -> Bool { tracker.follows(scrape) }

    func end(at instant: Timestamp) -> (scrapes: [Scrape], samples: [SeriesSamples]) { tracker.end(at: instant) }
  }

  /// One scrape of one source: what comes out of `mark`, as label sets marked and label sets with a value.
  private struct Outcome: Equatable {
    var marked: Set<Labels> = []
    var live: Set<Labels> = []
    var markers = 0

    mutating func add(_ labels: Labels, _ value: Double) {
      if StaleMarker.isStale(value) { marked.insert(labels) } else { live.insert(labels) }
    }

    mutating func add(_ scrapes: [Scrape], _ samples: [SeriesSamples], at instant: Int64) {
      for scrape in scrapes where scrape.timestamp.milliseconds == instant {
        for index in scrape.set.series.indices where scrape.absent?[index] != true {
          add(scrape.set.series[index], scrape.values[index])
        }
      }
      for series in samples where series.timestamps.last == instant { add(series.labels, series.values[0]) }
    }
  }

  private static func mark(
    _ tracker: Source, _ scrapes: [Scrape], _ samples: [SeriesSamples] = [], at instant: Int64
  ) -> Outcome {
    var (scrapes, samples) = (scrapes, samples)
    var outcome = Outcome()
    outcome.markers = tracker.tracker.mark(&scrapes, &samples, at: Timestamp(milliseconds: instant))
    outcome.add(scrapes, samples, at: instant)
    return outcome
  }

  @Test func anAbsentBitBecomesAMarkerOnce() {
    let tracker = Source()
    let set = Self.set([0, 1, 2])
    #expect(Self.mark(tracker, [Self.scrape(set, at: 10)], at: 10).markers == 0)
    var scrapes = [Self.scrape(set, absent: [1], at: 20)]
    var samples: [SeriesSamples] = []
    let markers = tracker.tracker.mark(&scrapes, &samples, at: Timestamp(milliseconds: 20))
    #expect(markers == 1)
    #expect(StaleMarker.isStale(scrapes[0].values[1]))
    // The column is full again: its marker is a value like any other.
    #expect(scrapes[0].absent == nil && scrapes[0].values[0] == 0 && scrapes[0].values[2] == 2 && samples.isEmpty)
    #expect(Self.mark(tracker, [Self.scrape(set, absent: [1], at: 30)], at: 30).markers == 0)
    #expect(Self.mark(tracker, [Self.scrape(set, at: 40)], at: 40).markers == 0)
    #expect(Self.mark(tracker, [Self.scrape(set, absent: [1], at: 50)], at: 50).markers == 1)
  }

  @Test func theShortWayOnlyTakesWhatMarksNothing() {
    let tracker = Source()
    let set = Self.set([0, 1, 2])
    #expect(!tracker.follows(Self.scrape(set, at: 10)))
    _ = Self.mark(tracker, [Self.scrape(set, absent: [2], at: 10)], at: 10)
    #expect(tracker.follows(Self.scrape(set, absent: [2], at: 20)))
    #expect(tracker.follows(Self.scrape(set, at: 30)))
    #expect(!tracker.follows(Self.scrape(set, absent: [2], at: 40)))
    #expect(!tracker.follows(Self.scrape(set, at: 30)))
    #expect(!tracker.follows(Self.scrape(Self.set([0, 1]), at: 40)))
    #expect(Self.mark(tracker, [Self.scrape(set, absent: [2], at: 40)], at: 40).marked == [Self.labels(2)])
  }

  @Test func aNewSetMarksWhatItLeavesOut() {
    let tracker = Source()
    _ = Self.mark(tracker, [Self.scrape(Self.set([0, 1, 2, 3]), at: 10)], at: 10)
    // Another order, one gone without a place, one gone with a place, one new.
    let outcome = Self.mark(tracker, [Self.scrape(Self.set([3, 0, 2, 9]), absent: [2], at: 20)], at: 20)
    #expect(outcome.marked == [Self.labels(1), Self.labels(2)])
    #expect(outcome.live == [Self.labels(0), Self.labels(3), Self.labels(9)] && outcome.markers == 2)
  }

  @Test func movingBetweenSetAndSingleSamplesIsNoEnd() {
    let tracker = Source()
    _ = Self.mark(tracker, [Self.scrape(Self.set([0, 1]), at: 10)], [Self.sample(7, at: 10)], at: 10)
    let moved = Self.mark(
      tracker, [Self.scrape(Self.set([0, 1, 7]), absent: [1], at: 20)], [Self.sample(1, at: 20)], at: 20)
    #expect(moved.markers == 0)
    #expect(
      Self.mark(tracker, [Self.scrape(Self.set([0, 1, 7]), absent: [1], at: 30)], at: 30).marked == [Self.labels(1)])
  }

  @Test func timesOfTheirOwnAreExempt() {
    let tracker = Source()
    let other = Self.scrape(Self.set([5]), at: 3)
    _ = Self.mark(tracker, [Self.scrape(Self.set([0]), at: 10), other], [Self.sample(6, at: 4)], at: 10)
    #expect(Self.mark(tracker, [Self.scrape(Self.set([0]), at: 20)], at: 20).markers == 0)
    // Late or repeated: passed over, and not remembered.
    #expect(Self.mark(tracker, [], at: 20).markers == 0)
    #expect(Self.mark(tracker, [Self.scrape(Self.set([1]), at: 15)], at: 15).markers == 0)
    #expect(Self.mark(tracker, [], at: 30).marked == [Self.labels(0)])
  }

  @Test func anEndMarksEverythingOnce() {
    let tracker = Source()
    #expect(tracker.end(at: Timestamp(milliseconds: 5)).scrapes.isEmpty)
    _ = Self.mark(tracker, [Self.scrape(Self.set([0, 1, 2]), absent: [1], at: 10)], [Self.sample(7, at: 10)], at: 10)
    let rest = tracker.end(at: Timestamp(milliseconds: 20))
    var outcome = Outcome()
    outcome.add(rest.scrapes, rest.samples, at: 20)
    #expect(outcome.marked == [Self.labels(0), Self.labels(2), Self.labels(7)] && outcome.live.isEmpty)
    let again = tracker.end(at: Timestamp(milliseconds: 30))
    #expect(again.scrapes.isEmpty && again.samples.isEmpty)
    // It comes back: nothing is known of before.
    #expect(Self.mark(tracker, [Self.scrape(Self.set([1]), at: 40)], at: 40).markers == 0)
  }

  @Test(arguments: 1...40)
  func randomPagesAgreeWithTheModel(seed: Int) {
    var random = Seed(UInt64(seed))
    let tracker = Source()
    var last: Set<Labels>?
    for round in 1...60 {
      let instant = Int64(round) * 10
      if random.oneIn(12) {
        let rest = tracker.end(at: Timestamp(milliseconds: instant))
        var outcome = Outcome()
        outcome.add(rest.scrapes, rest.samples, at: instant)
        #expect(outcome.marked == last ?? [] && outcome.live.isEmpty, "seed \(seed), round \(round)")
        last = nil
        continue
      }
      // Every series once: in one of up to three columns, alone, or not at all.
      var columns: [[Int]] = [[], [], []]
      var lone: [Int] = []
      for number in 0..<24 {
        switch random.below(random.oneIn(3) ? 5 : 2) {
        case 0, 1: columns[0].append(number)
        case 2: columns[1].append(number)
        case 3: columns[2].append(number)
        default: lone.append(number)
        }
      }
      if random.oneIn(4) { columns[0].shuffle(using: &random) }
      var live = Set(lone.map(Self.labels))
      var scrapes: [Scrape] = []
      for numbers in columns where !numbers.isEmpty {
        let absent = numbers.indices.filter { _ in random.oneIn(5) }
        scrapes.append(Self.scrape(Self.set(numbers), absent: absent, at: instant))
        live.formUnion(numbers.indices.filter { !absent.contains($0) }.map { Self.labels(numbers[$0]) })
      }
      let outcome = Self.mark(tracker, scrapes, lone.map { Self.sample($0, at: instant) }, at: instant)
      let gone = last?.subtracting(live) ?? []
      #expect(outcome.marked == gone && outcome.live == live, "seed \(seed), round \(round)")
      #expect(outcome.markers == gone.count, "seed \(seed), round \(round)")
      last = live
    }
  }
}
