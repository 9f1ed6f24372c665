// Goal: what is written is a page that its own format's parser reads back without a loss, families together and under
// their heads. Method: golden pages, and round trips of seeded random scrapes.

import ApusFormats
import ApusIO
import ApusModel
import ApusTestKit
import Testing

struct ExpositionWriterTests {
  private let set = SeriesSet(
    series: [
      series("temp", ["gpu": "0", "note": "a\"b\\c\nd"]), series("energy_total", ["gpu": "0"]),
      series("temp", ["gpu": "1"]),
      series("plain"), series("h_bucket", ["le": "+Inf"]), series("h_count"),
    ],
    descriptors: [
      MetricDescriptor(name: "temp", kind: .gauge, help: "Temperature \\ in\n\"C\"."),
      MetricDescriptor(name: "energy", kind: .counter, unit: "joules"), MetricDescriptor(name: "plain", kind: .counter),
      MetricDescriptor(name: "h", kind: .histogram),
    ])

  @Test func noTextFormatHasAWordForAMarker() {
    let scrape = Scrape(
      set: SeriesSet(series: [series("a"), series("b")]), timestamp: noon, values: [StaleMarker.value, .nan])
    #expect(text(ExpositionWriter.page(of: [scrape], includingTimestamps: true)) == "b NaN \(noon.milliseconds)\n")
    var csv: [UInt8] = []
    CSVWriter.append(scrape, to: &csv)
    #expect(csv.split(separator: 0x0a).count == 1)
    var json = JSONWriter()
    json.beginArray()
    for (labels, value) in zip(scrape.set.series, scrape.values) {
      TelemetryRowEncoder(labels).appendJSON(noon, value, to: &json)
    }
    json.endArray()
    #expect(text(json.bytes).ranges(of: "\"value\"").count == 1)
  }

  @Test func writesText() {
    let scrape = Scrape(set: set, timestamp: noon, values: [36.6, 1e18, .nan, -.infinity, 3, 3])
    #expect(
      text(ExpositionWriter.page(of: [scrape], includingTimestamps: false)) == #"""
        # HELP temp Temperature \\ in\n"C".
        # TYPE temp gauge
        temp{gpu="0",note="a\"b\\c\nd"} 36.6
        temp{gpu="1"} NaN
        # TYPE energy counter
        energy_total{gpu="0"} 1e+18
        # TYPE plain counter
        plain -Inf
        # TYPE h histogram
        h_bucket{le="+Inf"} 3
        h_count 3

        """#)
  }

  @Test func writesOpenMetrics() {
    var absent = Bitmap(count: 6)
    absent[2] = true
    let scrape = Scrape(
      set: set, timestamp: Timestamp(milliseconds: -1250), values: [1, 2, 0, 4, 5, 6], absent: absent)
    #expect(
      text(ExpositionWriter.page(of: [scrape], format: .openMetrics, includingTimestamps: true)) == #"""
        # HELP temp Temperature \\ in\n\"C\".
        # TYPE temp gauge
        temp{gpu="0",note="a\"b\\c\nd"} 1 -1.250
        # TYPE energy counter
        # UNIT energy joules
        energy_total{gpu="0"} 2 -1.250
        # TYPE plain unknown
        plain 4 -1.250
        # TYPE h histogram
        h_bucket{le="+Inf"} 5 -1.250
        h_count 6 -1.250
        # EOF

        """#)
  }

  @Test(arguments: [ExpositionFormat.text, .openMetrics])
  func whatIsWrittenReadsBack(_ format: ExpositionFormat) {
    var seed = Seed(5)
    for round in 0..<100 {
      var labels: Set<Labels> = []
      for _ in 0..<40 {
        var pairs = ["gpu": "\(seed.below(8))"]
        if seed.oneIn(2) { pairs["x"] = ["a\"b", "a\\b", "a\nb", "é😀", "{},#", "\\n"][seed.below(6)] }
        labels.insert(series("metric_\(seed.below(5))", pairs))
      }
      let set = SeriesSet(
        series: labels.sorted(),
        descriptors: (0..<3).map { MetricDescriptor(name: "metric_\($0)", kind: .gauge, help: "a\\b\n\"c\"") })
      let values = set.series.map { _ in
        seed.oneIn(9) ? Double.infinity : Double(bitPattern: seed.next() & ~(1 << 62))
      }
      let scrape = Scrape(set: set, timestamp: Timestamp(milliseconds: Int64(round) * 1001), values: values)
      let page = ExpositionWriter.page(of: [scrape], format: format, includingTimestamps: true)
      var parser = ExpositionParser(.init(format: format))
      let result = parser.parse(page, now: noon)
      #expect(result.errors.isEmpty)
      #expect(flatten(result) == flatten([scrape]))
      #expect(
        result.scrapes.first?.set.descriptors
          == set.descriptors.filter { descriptor in
            set.series.contains { $0.metricName == descriptor.name }
          })
    }
  }

  private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}
