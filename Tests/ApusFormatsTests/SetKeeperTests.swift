// Goal: sets do not multiply, and no sample is lost over that. Method: sources whose series come and go in the ways of
// fleets, driven through the exposition parser; the sets that come out are counted and the samples compared.

import ApusFormats
import ApusModel
import ApusTestKit
import Testing

struct SetKeeperTests {
  @Test func aQuarterAbsentCutsASetAnew() {
    var source = Source()
    let first = source.scrape(Array(0..<100)).scrapes[0]
    let most = source.scrape(Array(0..<76)).scrapes[0]
    #expect(most.set === first.set && most.absent?.setCount == 24)
    let fewer = source.scrape(Array(0..<75)).scrapes[0]
    #expect(fewer.set.count == 75 && fewer.absent == nil)
    #expect(source.parser.setsMade == 2)
  }

  @Test func additionsExtendTheSetEightTimes() {
    var source = Source()
    var previous = source.scrape(Array(0..<100)).scrapes[0].set
    for addition in 1...8 {
      // Time passes between the changes.
      for _ in 0..<8 { _ = source.scrape(Array(0..<100 + addition - 1)) }
      let next = source.scrape(Array(0..<100 + addition)).scrapes[0].set
      #expect(Array(next.series[..<previous.count]) == previous.series)
      #expect(next.count == 100 + addition)
      previous = next
    }
    // One is gone, so an extended set would keep its place and a new one does not.
    for _ in 0..<8 { _ = source.scrape(Array(1..<108)) }
    let ninth = source.scrape(Array(1..<109)).scrapes[0]
    #expect(ninth.set.count == 108 && ninth.absent == nil)
  }

  @Test func aSourceThatTurnsBetweenTwoListsHasTwoSets() {
    var source = Source()
    for round in 0..<50 {
      let result = source.scrape(round % 2 == 0 ? Array(0..<50) : Array(60..<120))
      #expect(result.scrapes.count == 1 && result.samples.isEmpty && result.scrapes[0].absent == nil)
    }
    #expect(source.parser.setsMade == 2)
  }

  @Test func aListInAnotherOrderIsTheSameSet() {
    var source = Source()
    let first = source.scrape(Array(0..<50)).scrapes[0]
    let turned = source.scrape(Array((0..<50).reversed())).scrapes[0]
    #expect(turned.set === first.set)
    #expect(turned.values == (0..<50).map(Double.init))
  }

  @Test func noListEverCostsASample() {
    var seed = Seed(11)
    var source = Source()
    for _ in 0..<500 {
      let list = Array(0..<200).filter { _ in !seed.oneIn(1 + seed.below(20)) }.shuffled(using: &seed)
      let shown = Array(list.prefix(1 + seed.below(200)))
      let samples = flatten(source.scrape(shown))
      #expect(samples.map { Int(Double(bitPattern: $0.bits)) }.sorted() == shown.sorted())
    }
    // Eight at once and a quarter a page is what the bound gives a source that never settles.
    #expect(source.parser.setsMade <= 8 + 500 / 4 + 1)
  }

  @Test func aSourceOfEverNewSeriesIsForgottenInTime() {
    // Each page has other series, so that nothing of the last one is of use; memory must not grow with them.
    var source = Source()
    for round in 0..<2000 {
      let result = source.scrape(Array(round * 10..<round * 10 + 10))
      #expect(result.sampleCount == 10 && flatten(result).count == 10)
    }
  }

  /// Pages with a series for each number, whose value is the number.
  private struct Source {
    var parser = ExpositionParser()
    private var time: Int64 = 0

    mutating func scrape(_ numbers: [Int]) -> ExpositionResult {
      time += 1000
      let page = numbers.map { "m{i=\"\($0)\"} \($0)\n" }.joined()
      return parser.parse(Array(page.utf8), now: Timestamp(milliseconds: time))
    }
  }
}
