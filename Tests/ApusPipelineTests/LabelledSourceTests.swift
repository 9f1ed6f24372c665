// Goal: labels are put on scrapes and on single series, win over what is there, and never make two series the same.
// Method: a source of the test's own with one batch of each kind.
import ApusModel
import ApusPipeline
import Testing

private struct OneBatch: Source {
  let name = "one"
  let isLive = true

  func next() async throws(PipelineError) -> SourceBatch? {
    let set = SeriesSet(series: [
      Labels([("__name__", "a"), ("gpu", "0")]), Labels([("__name__", "a"), ("gpu", "1")]),
    ])
    let samples = SeriesSamples(labels: Labels([("__name__", "b"), ("zone", "x")]), timestamps: [1], values: [2])
    return SourceBatch(
      items: [
        TelemetryItem(
          key: [], content: .scrape(Scrape(set: set, timestamp: Timestamp(milliseconds: 5), values: [1, 2]))),
        TelemetryItem(key: [], content: .samples([samples])),
      ], rows: 3)
  }

  func resume(from position: SourcePosition) async throws(PipelineError) {}
}

@Suite struct LabelledSourceTests {
  @Test func labelsWin() async throws {
    let source = LabelledSource(OneBatch(), labels: [("zone", "east")])
    let first = try #require(try await source.next())
    let second = try #require(try await source.next())
    guard case .scrape(let scrape) = first.items[0].content, case .scrape(let again) = second.items[0].content,
      case .samples(let samples) = first.items[1].content
    else {
      Issue.record("unexpected content")
      return
    }
    #expect(
      scrape.set.series == [
        Labels([("__name__", "a"), ("gpu", "0"), ("zone", "east")]),
        Labels([("__name__", "a"), ("gpu", "1"), ("zone", "east")]),
      ])
    #expect(scrape.values == [1, 2])
    #expect(scrape.set === again.set)
    #expect(samples[0].labels == Labels([("__name__", "b"), ("zone", "east")]))
  }

  @Test func seriesMayNotBecomeTheSame() async {
    let source = LabelledSource(OneBatch(), labels: [("gpu", "7")])
    await #expect(throws: PipelineError.self) { try await source.next() }
  }
}
