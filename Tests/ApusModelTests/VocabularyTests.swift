// Goal: the small types of the model keep what they promise. Method: tables around their edges.

import ApusModel
import Testing

struct VocabularyTests {
  @Test(arguments: [0, 1, 63, 64, 65, 200])
  func bitmapsHoldEachBit(_ count: Int) {
    var bitmap = Bitmap(count: count)
    #expect(bitmap.setCount == 0 && bitmap.words.count == (count + 63) / 64)
    for index in stride(from: 0, to: count, by: 3) { bitmap[index] = true }
    for index in 0..<count { #expect(bitmap[index] == (index % 3 == 0)) }
    #expect(bitmap.setCount == (count + 2) / 3)
    #expect(Bitmap(count: count, words: bitmap.words) == bitmap)
    for index in 0..<count { bitmap[index] = false }
    #expect(bitmap == Bitmap(count: count))
  }

  @Test func bitmapsFromOutsideMustFit() {
    #expect(Bitmap(count: 65, words: [0]) == nil && Bitmap(count: 64, words: [0, 0]) == nil)
    #expect(Bitmap(count: 3, words: [0b1000]) == nil && Bitmap(count: 3, words: [0b111]) != nil)
    #expect(Bitmap(count: -1, words: []) == nil && Bitmap(count: 0, words: []) != nil)
  }

  @Test func setsAreNamedByTheirOrderedContent() {
    let a = Labels([("__name__", "a")])
    let b = Labels([("__name__", "b")])
    #expect(SeriesSet(series: [a, b]) == SeriesSet(series: [a, b], descriptors: [.init(name: "a", kind: .gauge)]))
    #expect(SeriesSet(series: [a, b]) != SeriesSet(series: [b, a]))
    #expect(
      SeriesSet(series: [a]) != SeriesSet(series: [a, b]) && SeriesSet(series: []) != SeriesSet(series: [.empty]))
    // Bytes that run together must not.
    let joined = SeriesSet(series: [Labels([("a", "b"), ("c", "d")])])
    #expect(joined != SeriesSet(series: [Labels([("a", "b")]), Labels([("c", "d")])]))
    #expect(SeriesSetID(high: 1, low: 0xab).description == "000000000000000100000000000000ab")
  }

  @Test func scrapesCountWhatIsThere() {
    let set = SeriesSet(series: [Labels([("a", "1")]), Labels([("a", "2")])])
    var absent = Bitmap(count: 2)
    absent[1] = true
    let now = Timestamp(milliseconds: 0)
    #expect(Scrape(set: set, timestamp: now, values: [1, 2]).sampleCount == 2)
    #expect(Scrape(set: set, timestamp: now, values: [1, 2], absent: absent).sampleCount == 1)
  }

  @Test func staleIsOneNaNAmongMany() {
    #expect(StaleMarker.value.isNaN && StaleMarker.isStale(StaleMarker.value))
    #expect(!StaleMarker.isStale(.nan) && !StaleMarker.isStale(0))
  }

  @Test func rangesIncludeBothEnds() {
    let range = TimeRange(start: Timestamp(milliseconds: 10), end: Timestamp(milliseconds: 20))
    #expect([9, 10, 20, 21].map { range.contains(Timestamp(milliseconds: $0)) } == [false, true, true, false])
    let behind = TimeRange(start: Timestamp(milliseconds: 20), end: Timestamp(milliseconds: 30))
    #expect(range.overlaps(behind) && behind.overlaps(range) && TimeRange.all.overlaps(range))
    let apart = TimeRange(start: Timestamp(milliseconds: 21), end: Timestamp(milliseconds: 30))
    #expect(!range.overlaps(apart))
  }

  @Test func matchersTakeAnAbsentLabelForEmpty() {
    let labels = Labels([("__name__", "up"), ("gpu", "0")])
    #expect(Matcher.metric("up").matches(labels) && !Matcher.metric("down").matches(labels))
    #expect(Matcher.equal("pod", "").matches(labels) && Matcher.notEqual("gpu", "1").matches(labels))
    #expect(!Matcher.notEqual("pod", "").matches(labels))
    #expect(Matcher.oneOf("gpu", ["0", "1"]).matches(labels) && !Matcher.oneOf("gpu", []).matches(labels))
    #expect(Matcher.oneOf("pod", [""]).matches(labels))
  }
}
