// Goal: a page of many hosts and instants becomes one scrape for each host and instant, with as few sets as there are
// hosts, however its lines are ordered; a page of one host is as without.
// Method: the same samples written in several orders, parsed twice by one parser, compared with what was written.

import ApusFormats
import ApusModel
import ApusTestKit
import Testing

struct ExpositionCuttingTests {
  private static var configuration: ExpositionParser.Configuration {
    var configuration = ExpositionParser.Configuration()
    configuration.cutsByHost = true
    configuration.scrapesMax = .max
    return configuration
  }

  private struct Line {
    var host: Int
    var series: Int
    var time: Int

    var text: String { "m\(series){Hostname=\"node-\(host)\"} \(host * 100 + series) \(time)\n" }
  }

  private enum Order: CaseIterable {
    case byHostThenTime, byTimeThenHost, bySeries, byMetricOverHosts
  }

  private static func lines(_ order: Order, hosts: Int, times: Int, series: Int) -> [Line] {
    var lines: [Line] = []
    for host in 0..<hosts {
      // Each host at moments of its own.
      for time in 0..<times {
        for number in 0..<series { lines.append(Line(host: host, series: number, time: time * 10_000 + host)) }
      }
    }
    switch order {
    case .byHostThenTime: return lines
    case .byTimeThenHost: return lines.sorted { ($0.time, $0.host, $0.series) < ($1.time, $1.host, $1.series) }
    case .bySeries: return lines.sorted { ($0.host, $0.series, $0.time) < ($1.host, $1.series, $1.time) }
    case .byMetricOverHosts: return lines.sorted { ($0.series, $0.host, $0.time) < ($1.series, $1.host, $1.time) }
    }
  }

  @Test func everyOrderGivesOneScrapeAHostAndInstant() {
    for order in Order.allCases {
      let page = Array(Self.lines(order, hosts: 7, times: 9, series: 12).map(\.text).joined().utf8)
      var parser = ExpositionParser(Self.configuration)
      var sets: [Set<SeriesSetID>] = []
      for round in 0..<3 {
        let result = parser.parse(page, now: Timestamp(milliseconds: 0))
        #expect(result.errors.isEmpty && result.samples.isEmpty)
        #expect(result.scrapes.count == 63, "\(order)")
        #expect(result.sampleCount == 7 * 9 * 12)
        #expect(flatten(result).count == 7 * 9 * 12)
        #expect(result.matchedCount == (round == 0 ? result.matchedCount : 7 * 9 * 12))
        sets.append(Set(result.scrapes.map(\.set.id)))
        for (scrape, host) in zip(result.scrapes, result.hosts) {
          #expect(scrape.absent == nil && scrape.set.count == 12)
          let name = String(decoding: host, as: UTF8.self)
          #expect(scrape.set.series.allSatisfy { $0["Hostname"] == name })
        }
        let times = result.scrapes.map(\.timestamp)
        #expect(times == times.sorted())
      }
      #expect(sets[0].count == 7 && sets[0] == sets[1] && sets[1] == sets[2])
      #expect(parser.setsMade == 7, "\(order)")
    }
  }

  @Test func aChangeOnOneHostMakesNoSetOfAnother() {
    var parser = ExpositionParser(Self.configuration)
    func page(_ pod: String) -> [UInt8] {
      let lines = Self.lines(.byTimeThenHost, hosts: 5, times: 1, series: 10).map(\.text).joined()
      return Array((lines + "pod{Hostname=\"node-3\",pod=\"\(pod)\"} 1 3\n").utf8)
    }
    let before = parser.parse(page("a"), now: Timestamp(milliseconds: 0))
    let after = parser.parse(page("b"), now: Timestamp(milliseconds: 0))
    let changed = Set(after.scrapes.map(\.set.id)).subtracting(before.scrapes.map(\.set.id))
    #expect(changed.count == 1)
    #expect(flatten(after).count == 51)
  }

  @Test func hostsWithFewLinesArePutTogether() {
    var parser = ExpositionParser(Self.configuration)
    var text = Self.lines(.byHostThenTime, hosts: 1, times: 1, series: 20).map(\.text).joined()
    for number in 0..<10 { text += "up{instance=\"host-\(number):9400\"} 1 0\n" }
    text += "lone{instance=\"host-1:9400\"} 1 5\n"
    let result = parser.parse(Array(text.utf8), now: Timestamp(milliseconds: 0))
    #expect(result.scrapes.map(\.set.count) == [20, 10])
    #expect(result.hosts.map { String(decoding: $0, as: UTF8.self) } == ["node-0", ""])
    #expect(result.samples.map(\.labels.metricName) == ["lone"])
    #expect(flatten(result).count == 31)
  }

  @Test func ofTwoSamplesOfAnInstantTheFirstIsTaken() {
    var parser = ExpositionParser(Self.configuration)
    let page = Array("a 1 5\nb 1 5\na 2 5\na 3 6\n".utf8)
    for _ in 0..<2 {
      let result = parser.parse(page, now: Timestamp(milliseconds: 0))
      #expect(result.errors == [LineError(line: 3, column: 1, reason: .duplicateSample)])
      #expect(flatten(result).map(\.description).sorted() == ["a 1.0 @5", "a 3.0 @6", "b 1.0 @5"])
    }
  }

  @Test func aHostIsNamedByTheBestOfItsLabels() {
    for (labels, host) in [
      ("Hostname=\"h\",instance=\"i:1\",node=\"n\"", "h"), ("hostname=\"g\",node=\"n\"", "g"), ("node=\"n\"", "n"),
      ("instance=\"i:1\"", "i"), ("instance=\"[::1]:9400\"", "::1"), ("gpu=\"0\"", ""),
    ] {
      var parser = ExpositionParser(Self.configuration)
      let result = parser.parse(Array("up{\(labels)} 1\n".utf8), now: Timestamp(milliseconds: 0))
      #expect(result.hosts.map { String(decoding: $0, as: UTF8.self) } == [host], "\(labels)")
    }
  }

  @Test func byteCountFollowsTheParser() {
    var parser = ExpositionParser(Self.configuration)
    #expect(parser.byteCount == 0)
    let page = Array(Self.lines(.bySeries, hosts: 3, times: 2, series: 10).map(\.text).joined().utf8)
    _ = parser.parse(page, now: Timestamp(milliseconds: 0))
    let once = parser.byteCount
    #expect(once > 30 * 20 && once < 100_000)
    _ = parser.parse(page, now: Timestamp(milliseconds: 0))
    #expect(parser.byteCount == once)
  }
}
