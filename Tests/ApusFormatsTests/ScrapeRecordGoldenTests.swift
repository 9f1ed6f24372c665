// Goal: the bytes of the columnar records never change under us. Method: the examples of docs/format/records.md, read from
// the page itself, against what is encoded.

import ApusFormats
import ApusModel
import Foundation
import Testing

struct ScrapeRecordGoldenTests {
  private let set = SeriesSet(
    series: [series("up", ["gpu": "0"]), series("up", ["gpu": "1"])],
    descriptors: [MetricDescriptor(name: "up", kind: .gauge, help: "Is up.")])

  @Test func identitiesAreThoseOfThePage() {
    #expect(set.id.description == "43534e5c750e8553ac159743985ef3d6")
    #expect(SeriesSet(series: []).id.description == "f4fa0dcc7b37278e1dc5aa579f469574")
    #expect(SeriesSet(series: [Labels([("a", "b")])]).id.description == "3016498b84fbd03da2a2faf479fca2f1")
  }

  @Test func theExamplesAreWhatIsEncoded() throws {
    let examples = try examplesOfThePage()
    try #require(examples.count == 3)
    #expect(examples[0] == ScrapeRecord.encode(set: set))
    var absent = Bitmap(count: 2)
    absent[1] = true
    let scrape = Scrape(set: set, timestamp: noon, values: [1, 0], absent: absent)
    #expect(examples[1] == ScrapeRecord.encode(scrape, setOffset: 42))
    let samples = SeriesSamples(labels: series("m"), timestamps: [1000, 1500], values: [1, 2])
    #expect(examples[2] == ScrapeRecord.encode(samples: [samples]))
  }

  @Test func anAdditionIsWhatItWas() {
    let base = SeriesSet(series: [set.series[0]], descriptors: set.descriptors)
    let hex = """
      01 01 01 00 53 85 0e 75 5c 4e 53 43 d6 f3 5e 98 43 97 15 ac 5f 98 b5 cd 8d 00 ad ef d7 3a d0 69 65 46 60 8b
      2a 00 00 00 00 00 00 00 01 02 08 5f 5f 6e 61 6d 65 5f 5f 02 75 70 03 67 70 75 01 31 02 00 01 00
      """
    #expect(ScrapeRecord.encode(set: set, base: base, baseOffset: 42) == bytes(hex))
  }

  /// The code blocks of the page's examples: hexadecimal pairs up to the first wide gap that no pair follows.
  private func examplesOfThePage() throws -> [[UInt8]] {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = try String(contentsOf: folder.appending(path: "docs/format/records.md"), encoding: .utf8)
    let examples = try #require(page.components(separatedBy: "## Examples").last)
    return examples.components(separatedBy: "```\n").enumerated().filter { $0.offset % 2 == 1 }.map { block in
      block.element.split(separator: "\n").flatMap { bytes(String($0.prefix(50))) }
    }
  }

  private func bytes(_ hex: String) -> [UInt8] {
    var result: [UInt8] = []
    for word in hex.split(whereSeparator: { $0 == " " || $0 == "\n" }) {
      guard word.count == 2, let byte = UInt8(word, radix: 16) else { break }
      result.append(byte)
    }
    return result
  }
}
