// Goal: rows of one host and one time come out as one scrape, wherever they stand, none lost and none twice, and the sets
// stay the same from time to time. Method: files that list one metric after another, as exports do.

import ApusFormats
import ApusIO
import ApusModel
import ApusTestKit
import Foundation
import Testing

struct CSVScrapeAssemblerTests {
  @Test func scatteredRowsFindTogether() {
    let scrapes = assemble(file(times: 3, hosts: 2, gpus: 4, metrics: 3))
    #expect(scrapes.scrapes.count == 6 && scrapes.samples.isEmpty)
    #expect(scrapes.scrapes.allSatisfy { $0.scrape.sampleCount == 12 && $0.scrape.absent == nil })
    #expect(Set(scrapes.scrapes.map(\.scrape.set.id)).count == 2)
    #expect(scrapes.scrapes.map(\.host) == [0, 1, 0, 1, 0, 1])
  }

  @Test func aRepeatedSeriesBeginsAnotherScrape() {
    let text = "timestamp,metric_name,gpu_id,value\n1,m,0,1\n1,m,1,2\n1,m,0,3\n1,m,1,4\n"
    let output = assemble(text)
    #expect(output.scrapes.map(\.scrape.values) == [[1, 2], [3, 4]])
    #expect(output.scrapes[0].scrape.set === output.scrapes[1].scrape.set)
  }

  @Test func theBoundGivesOutTheOldest() {
    let text = file(times: 40, hosts: 2, gpus: 4, metrics: 5)
    for bound in [1, 10, 39, 100, 100_000] {
      let output = assemble(text, bound: bound)
      let all = flatten(output.scrapes.map(\.scrape), output.samples.map(\.samples))
      #expect(all == flatten(assemble(text).scrapes.map(\.scrape)), "bound \(bound)")
      #expect(all.count == 1600)
    }
  }

  @Test func aMissingSeriesIsAbsentAndNoNewSet() {
    var text = "timestamp,metric_name,gpu_id,value\n"
    for time in 0..<20 {
      for gpu in 0..<16 where !(time == 7 && gpu == 3) { text += "\(time),m,\(gpu),\(gpu)\n" }
    }
    let output = assemble(text)
    #expect(Set(output.scrapes.map(\.scrape.set.id)).count == 1)
    #expect(output.scrapes[7].scrape.absent?.setCount == 1)
  }

  @Test func aHostThatReportsInPartsHasASetForEach() {
    // As the real export: three metrics at one second, two at the next, one at the third.
    var text = "timestamp,metric_name,gpu_id,value\n"
    for round in 0..<10 {
      for (metric, delay) in [0, 0, 0, 1, 1, 2].enumerated() {
        for gpu in 0..<8 { text += "\(round * 10 + delay),m\(metric),\(gpu),\(gpu)\n" }
      }
    }
    let output = assemble(text)
    #expect(output.scrapes.count == 30 && output.samples.isEmpty)
    #expect(Set(output.scrapes.map(\.scrape.set.id)).count == 3)
    #expect(output.scrapes.allSatisfy { $0.scrape.absent == nil })
  }

  @Test(.enabled(if: FileManager.default.fileExists(atPath: realExport), "the real export is not at hand"))
  func theRealExportIsReadWhole() throws {
    let text = try String(contentsOfFile: realExport, encoding: .utf8)
    let output = assemble(text)
    let samples = flatten(output.scrapes.map(\.scrape), output.samples.map(\.samples))
    #expect(samples.count == 2470)
    #expect(Set(samples.map { $0.labels["UUID"] }).count == 247)
    #expect(Set(samples.map { $0.labels["Hostname"] }).count == 31)
    #expect(output.scrapes.count == 124)
    // Every row against a plain reading of its own: the fields are all in quotes there.
    var expected: [FlatSample] = []
    for line in text.split(separator: "\n").dropFirst() {
      let fields = line.dropFirst().dropLast().split(
        separator: "\",\"", maxSplits: 11, omittingEmptySubsequences: false)
      let names = ["", "__name__", "gpu", "device", "UUID", "modelName", "Hostname", "container", "pod", "namespace"]
      var labels: [String: String] = [:]
      for pair in fields[11].replacing("\"\"", with: "\"").split(separator: "\",") {
        let parts = pair.split(separator: "=\"", maxSplits: 1)
        labels[String(parts[0])] = parts[1].hasSuffix("\"") ? String(parts[1].dropLast()) : String(parts[1])
      }
      for index in 1...9 where !fields[index].isEmpty { labels[names[index]] = String(fields[index]) }
      let time = try #require(RFC3339.parse(String(fields[0])))
      expected.append(FlatSample(Labels(labels.map { ($0.key, $0.value) }), time, try #require(Double(fields[10]))))
    }
    #expect(samples == expected.sorted())
  }

  private func file(times: Int, hosts: Int, gpus: Int, metrics: Int) -> String {
    var text = "timestamp,metric_name,gpu_id,uuid,Hostname,value\n"
    for time in 0..<times {
      for metric in 0..<metrics {
        for host in 0..<hosts {
          for gpu in 0..<gpus { text += "\(time),m\(metric),\(gpu),GPU-\(host)-\(gpu),node-\(host),\(time + gpu)\n" }
        }
      }
    }
    return text
  }

  private func assemble(_ text: String, bound: Int = 131_072) -> CSVScrapeAssembler.Output {
    var reader = CSVReader()
    var rows = CSVRows()
    reader.feed(Array(text.utf8), now: noon, into: &rows)
    reader.finish(now: noon, into: &rows)
    #expect(rows.errorCount == 0, "\(rows.errors)")
    var assembler = CSVScrapeAssembler(rowsWaitingMax: bound)
    var output = CSVScrapeAssembler.Output()
    assembler.add(rows, 0..<rows.count, from: reader, into: &output)
    assembler.flush(from: reader, into: &output)
    return output
  }
}

/// A real DCGM export beside the repository, where there is one.
let realExport =
  ProcessInfo.processInfo.environment["APUS_REAL_EXPORT"]
  ?? "../shared/data/dcgm_metrics_20250718_134233.csv"
