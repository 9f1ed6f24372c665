// Goal: times are read and written by the calendar, before 1970 too. Method: tables with known instants, every day of a
// long span counted against its neighbour, and round trips.

import ApusIO
import ApusTestKit
import Testing

struct RFC3339Tests {
  @Test(arguments: [
    ("1970-01-01T00:00:00Z", 0), ("2025-07-18T20:42:34Z", 1_752_871_354_000), ("1969-12-31T23:59:59.999Z", -1),
    ("2025-07-18t20:42:34.5z", 1_752_871_354_500), ("2025-07-18 20:42:34.123456789Z", 1_752_871_354_123),
    ("2025-07-18T22:42:34+02:00", 1_752_871_354_000), ("2025-07-18T15:12:34-05:30", 1_752_871_354_000),
    ("2000-02-29T12:00:00Z", 951_825_600_000), ("1900-03-01T00:00:00Z", -2_203_891_200_000),
    ("0000-01-01T00:00:00Z", RFC3339.earliest), ("9999-12-31T23:59:59.999Z", RFC3339.latest),
    ("2016-12-31T23:59:60Z", 1_483_228_800_000), ("1970-01-01T00:00:00.001Z", 1),
  ])
  func reads(_ text: String, _ milliseconds: Int64) {
    #expect(RFC3339.parse(text) == milliseconds)
  }

  @Test(arguments: [
    "", "2025-07-18", "2025-07-18T20:42:34", "2025-7-18T20:42:34Z", "2025-13-01T00:00:00Z", "2025-00-01T00:00:00Z",
    "2025-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2025-04-31T00:00:00Z", "2025-01-00T00:00:00Z",
    "2025-01-01T24:00:00Z", "2025-01-01T00:60:00Z", "2025-01-01T00:00:61Z", "2025-01-01T00:00:00.Z",
    "2025-01-01T00:00:00+0200", "2025-01-01T00:00:00+24:00", "2025-01-01T00:00:00+01:60", "2025-01-01T00:00:00ZZ",
    "2025-01-01X00:00:00Z", "2025-01-01T00:00:00+1:00", "-001-01-01T00:00:00Z", "2025-01-01T00:00:00.5",
  ])
  func refuses(_ text: String) {
    #expect(RFC3339.parse(text) == nil)
  }

  @Test func daysFollowEachOther() {
    var previous = RFC3339.parse("1580-01-01T00:00:00Z") ?? 0
    for year in 1580...2420 {
      let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
      for (index, days) in [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31].enumerated() {
        for day in 1...days {
          let text = "\(year)-\(index < 9 ? "0" : "")\(index + 1)-\(day < 10 ? "0" : "")\(day)T00:00:00Z"
          let instant = RFC3339.parse(text)
          #expect(instant == previous)
          #expect(RFC3339.format(previous) == text)
          previous += 86_400_000
        }
      }
    }
  }

  @Test func whatIsWrittenReadsBack() {
    var generator = Seed(5)
    for _ in 0..<20_000 {
      let instant = Int64.random(in: RFC3339.earliest...RFC3339.latest, using: &generator)
      let text = RFC3339.format(instant)
      #expect(text.utf8.count <= RFC3339.maxLength)
      #expect(RFC3339.parse(text) == instant, "\(text)")
    }
  }

  @Test func timesOutsideOfTheNotationAreClamped() {
    #expect(RFC3339.format(.max) == "9999-12-31T23:59:59.999Z")
    #expect(RFC3339.format(.min) == "0000-01-01T00:00:00Z")
  }
}
