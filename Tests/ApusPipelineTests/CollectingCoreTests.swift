// Goal: the decisions of collecting, each without a log or a store: what may be handed on, what waits, what is given up;
// and which sets a segment begins with.
// Method: event tables against the pure parts.
import ApusBroker
import ApusFormats
import ApusModel
import ApusStore
import Testing

@testable import ApusPipeline

@Suite struct CollectingCoreTests {
  static let content = StoreBatch.Item.Content.samples([])

  static func parked(_ offset: Int64, needs host: Int, hint: Int64 = -1, since: Int64 = 0) -> PartitionWindow.Parked {
    PartitionWindow.Parked(
      offset: offset, needs: TinyFleet.set(host: host).id, hint: hint, value: [1, 2, 3], key: nil, since: since)
  }

  @Test func readyRecordsPassUpToTheFirstParkedOne() throws {
    var window = PartitionWindow(nextOffset: 10)
    window.add(Self.content, offset: 10)
    window.add(Self.content, offset: 11)
    window.park(Self.parked(12, needs: 1))
    window.add(Self.content, offset: 13)
    window.advance(to: 14)
    let firstReady = window.takeReady(behind: 10)
    let first = try #require(firstReady)
    #expect(first.items.map { $0.offset } == [10, 11] && first.nextOffset == 12)
    let result1 = window.takeReady(behind: 12)
    #expect(result1?.nextOffset == nil)
    let invalid = window.retry { _ in .content(Self.content) }
    #expect(invalid.isEmpty && window.parkedCount == 0)
    let secondReady = window.takeReady(behind: 12)
    let second = try #require(secondReady)
    #expect(second.items.map { $0.offset } == [12, 13] && second.nextOffset == 14)
    let third = window.takeReady(behind: 14)
    #expect(window.isEmpty && third?.nextOffset == nil)
  }

  @Test func aPositionMovesWithoutContent() throws {
    var window = PartitionWindow(nextOffset: 0)
    window.advance(to: 3)
    let taken = window.takeReady(behind: 0)
    let ready = try #require(taken)
    #expect(ready.items.isEmpty && ready.nextOffset == 3)
  }

  @Test func eachHintIsTriedOnce() throws {
    var window = PartitionWindow(nextOffset: 0)
    window.park(Self.parked(5, needs: 1, hint: 2))
    window.park(Self.parked(6, needs: 2))
    let firstHint = window.nextHint()
    let hint = try #require(firstHint)
    #expect(hint.offset == 2 && hint.id == TinyFleet.set(host: 1).id)
    let result2 = window.nextHint()
    #expect(result2?.offset == nil)
    // The record turns out to need another set, which has a hint of its own.
    _ = window.retry { $0.offset == 5 ? .needs(TinyFleet.set(host: 3).id, hint: 1) : .needs($0.needs, hint: -1) }
    let result3 = window.nextHint()
    #expect(result3?.offset == 1)
    let result4 = window.nextHint()
    #expect(result4?.offset == nil)
  }

  @Test func theOldestIsGivenUpAtEachBound() {
    var byCount = PartitionWindow(nextOffset: 0, limits: PartitionWindow.Limits(recordsMax: 3))
    for offset in 0..<5 { byCount.park(Self.parked(Int64(offset), needs: offset)) }
    let result5 = byCount.giveUp(now: 0)
    #expect(result5.map { $0.offset } == [0, 1])
    var byBytes = PartitionWindow(nextOffset: 0, limits: PartitionWindow.Limits(bytesMax: 300))
    for offset in 0..<3 { byBytes.park(Self.parked(Int64(offset), needs: offset)) }
    let result6 = byBytes.giveUp(now: 0)
    #expect(result6.map { $0.offset } == [0])
    var byAge = PartitionWindow(nextOffset: 0, limits: PartitionWindow.Limits(parkedAgeMaxMilliseconds: 100))
    byAge.park(Self.parked(0, needs: 0, since: 0))
    byAge.park(Self.parked(1, needs: 1, since: 50))
    let result7 = byAge.giveUp(now: 120)
    #expect(result7.map { $0.offset } == [0])
    #expect(byAge.parkedCount == 1)
  }

  @Test func whatTurnsOutInvalidIsHandedBack() {
    var window = PartitionWindow(nextOffset: 0)
    window.park(Self.parked(0, needs: 0))
    window.park(Self.parked(1, needs: 1))
    let invalid = window.retry { $0.offset == 0 ? .invalid : .nothing }
    #expect(invalid.map { $0.offset } == [0])
    #expect(window.isEmpty && window.parkedCount == 0)
  }

  static func batch(_ values: [[UInt8]], timestamp: Int64) throws -> RecordBatch {
    var builder = RecordBatchBuilder()
    let headers = [RecordHeader(name: ContentType.headerName, value: ContentType.scrape.headerValue)]
    for value in values { builder.append(Record(timestamp: timestamp, key: [7], value: value, headers: headers)) }
    return try builder.finish()
  }

  static func ids(_ prologue: ScrapePrologue, now: Int64) -> [SeriesSetID] {
    prologue.records(now: now).compactMap { $0.value?.withUnsafeBytes { ScrapeRecord.peek($0)?.setID } }
  }

  @Test func aSegmentBeginsWithTheSetsInUse() throws {
    var prologue = ScrapePrologue()
    let sets = (0..<3).map { TinyFleet.set(host: $0) }
    let hour: Int64 = 3_600_000
    #expect(prologue.records(now: 0).isEmpty)
    prologue.observe(try Self.batch(sets.map { ScrapeRecord.encode(set: $0) }, timestamp: 0))
    prologue.observe(
      try Self.batch([ScrapeRecord.encode(TinyFleet.scrape(sets[1], second: 0, value: 1), setOffset: 1)], timestamp: 0))
    // All are young.
    #expect(Set(Self.ids(prologue, now: 1)) == Set(sets.map { $0.id }))
    // Later only the one that a scrape has named since its copy.
    #expect(Self.ids(prologue, now: hour) == [sets[1].id])
    let record = try #require(prologue.records(now: hour).first)
    #expect(record.key == [7] && record.timestamp == hour)
    #expect(record.headers.first?.value == ContentType.scrape.headerValue)
    // The prologue itself is shown to it; unused since then and old, the set is left out of the next.
    prologue.observe(try Self.batch([try #require(record.value)], timestamp: hour))
    #expect(Self.ids(prologue, now: 3 * hour).isEmpty)
  }

  @Test func aSetThatBuildsOnAnotherFollowsIt() throws {
    var prologue = ScrapePrologue()
    let base = TinyFleet.set(host: 0, series: 2)
    let longer = TinyFleet.set(host: 0, series: 4)
    prologue.observe(try Self.batch([ScrapeRecord.encode(set: base)], timestamp: 0))
    prologue.observe(try Self.batch([ScrapeRecord.encode(set: longer, base: base)], timestamp: 0))
    prologue.observe(
      try Self.batch([ScrapeRecord.encode(TinyFleet.scrape(longer, second: 0, value: 1), setOffset: 1)], timestamp: 0))
    #expect(Self.ids(prologue, now: 3_600_000) == [base.id, longer.id])
  }

  @Test func otherRecordsAreNoSets() throws {
    var prologue = ScrapePrologue()
    var builder = RecordBatchBuilder()
    builder.append(Record(timestamp: 0, value: ScrapeRecord.encode(set: TinyFleet.set(host: 0))))
    builder.append(Record(timestamp: 0, value: Array("{}".utf8)))
    prologue.observe(try builder.finish())
    #expect(prologue.records(now: 0).isEmpty)
  }
}
