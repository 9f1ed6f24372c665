// Goal: what goes, goes by append time and size, a segment at a time; what the store has not covered never goes; a new
// segment begins with its prologue; a full disk stops writers only.
// Method: a log core with small segments and a clock that is moved by hand.

import ApusBroker
import ApusIO
import ApusTestKit
import Testing

@Suite struct LogRetentionTests {
  @Test func oldSegmentsGoByAppendTime() throws {
    let fixture = LogFixture { $0.retentionMilliseconds = 60_000 }
    let core = try fixture.open()
    // The samples' own times are of 1970: they play no part.
    for index in 0..<8 {
      let filling = String(repeating: ".", count: 930)
      try fixture.append(core, try fixture.batch(["v\(index)\(filling)"], timestamp: 5))
      fixture.clock.advance(milliseconds: 10_000)
      core.maintain()
    }
    #expect(try fixture.readAll(core).count == 8)
    fixture.clock.advance(milliseconds: 25_000)
    core.maintain()
    // Appended 105 to 75 s ago: the first segment; 65 to 35 s ago: the second, whose newest is young enough.
    #expect(try fixture.readAll(core).keys.sorted() == [4, 5, 6, 7])
    #expect(core.totals.segmentsDropped == 1)
    #expect(throws: LogError.self) { try core.reader.read(fixture.partition, from: 3, maxBytes: 1000) }
    // The newest segment goes as well when it is old, and the offsets go on.
    fixture.clock.advance(milliseconds: 60_000)
    core.maintain()
    #expect(try fixture.readAll(core).isEmpty)
    #expect(try fixture.append(core, try fixture.filler("next")).baseOffset == 8)
    try core.close()
    let again = try fixture.open()
    #expect(again.recovery.findings.isEmpty)
    #expect(try fixture.readAll(again) == [8: "next"])
    #expect(try fixture.files("log").count == 1)
    #expect(try fixture.files("index").isEmpty)
  }

  @Test func theOldestSegmentsGoBySize() throws {
    let fixture = LogFixture {
      $0.retentionMilliseconds = nil
      $0.retentionBytes = 32_768
    }
    let core = try fixture.open()
    for index in 0..<100 {
      try fixture.append(core, try fixture.filler("v\(index)"))
      #expect(core.bytes <= 32_768 + 4096)
    }
    let found = try fixture.readAll(core)
    #expect(found.count >= 28)
    #expect(found.keys.max() == 99)
    #expect(found.keys.sorted() == Array(found.keys.min()!...99))
  }

  @Test func whatIsNotCoveredStays() throws {
    let fixture = LogFixture {
      $0.retentionMilliseconds = 1000
      $0.retentionBytes = 32_768
      $0.coverageTopics = [TopicName("t")!]
    }
    let core = try fixture.open()
    var refusal: LogError?
    var accepted: Int64 = 0
    while refusal == nil, accepted < 1000 {
      do {
        try fixture.append(core, try fixture.filler("v\(accepted)"))
        accepted += 1
      } catch { refusal = error as? LogError }
      fixture.clock.advance(milliseconds: 10_000)
      core.maintain()
    }
    guard case .logFull(let bytes, 32_768) = refusal else {
      Issue.record("expected that the log is full, not \(String(describing: refusal))")
      return
    }
    #expect(bytes <= 32_768)
    #expect(try fixture.readAll(core).count == Int(accepted), "nothing was dropped")
    #expect(core.totals.logFullEvents == 1)
    // Half a segment covered frees nothing; a floor beyond the end counts as the end.
    core.setCoveredOffset(2, for: fixture.partition)
    #expect(throws: LogError.self) { try fixture.append(core, try fixture.filler("no")) }
    core.setCoveredOffset(10, for: fixture.partition)
    core.setCoveredOffset(5, for: fixture.partition)
    #expect(try fixture.append(core, try fixture.filler("yes")).baseOffset == accepted)
    let start = try core.reader.offset(of: .earliest, in: fixture.partition)
    #expect(start > 4 && start <= 10, "dropped up to the floor, which does not move back")
    core.setCoveredOffset(.max, for: fixture.partition)
    fixture.clock.advance(milliseconds: 10_000)
    core.maintain()
    #expect(try fixture.readAll(core).isEmpty)
  }

  @Test func eachSegmentBeginsWithThePrologue() throws {
    let fixture = LogFixture {
      $0.retentionMilliseconds = nil
      $0.prologue = { _ in CountingPrologue() }
    }
    var core = try fixture.open()
    for index in 0..<6 { try fixture.append(core, try fixture.filler("v\(index)")) }
    // Four batches fill the first segment; the prologue takes the next offset.
    var found = try fixture.readAll(core)
    #expect(found[3] == "v3")
    #expect(found[4] == "prologue 4")
    #expect(found[5] == "v4")
    // After a restart it has seen the newest segment only.
    try core.close()
    core = try fixture.open()
    for index in 6..<9 { try fixture.append(core, try fixture.filler("v\(index)")) }
    found = try fixture.readAll(core)
    #expect(found[8] == "v7")
    #expect(found[9] == "prologue 5", "the prologue at 4 and v4 to v7: \(found)")
    #expect(found[10] == "v8")
  }

  @Test func aFullDiskStopsWritersOnly() throws {
    let fixture = LogFixture { $0.retentionMilliseconds = nil }
    let core = try fixture.open()
    for index in 0..<3 { try fixture.append(core, try fixture.filler("v\(index)")) }
    fixture.disk.setCapacity(fixture.disk.usedBytes + 300)
    for _ in 0..<3 {
      let refusal = LogFixture.refusal { try fixture.append(core, try fixture.filler("no")) }
      guard case .diskFull? = refusal else {
        Issue.record("expected a full disk, not \(String(describing: refusal))")
        return
      }
      #expect(try fixture.readAll(core) == [0: "v0", 1: "v1", 2: "v2"])
    }
    #expect(core.totals.diskFullEvents == 3)
    #expect(core.writeProblem != nil)
    fixture.disk.setCapacity(.max)
    #expect(try fixture.append(core, try fixture.filler("yes")).baseOffset == 3)
    #expect(core.writeProblem == nil)
    fixture.disk.restart()
    let again = try fixture.open()
    #expect(again.recovery.corruptions == 0)
    #expect(try fixture.readAll(again) == [0: "v0", 1: "v1", 2: "v2", 3: "yes"])
  }

  @Test func limitsAreKept() throws {
    let fixture = LogFixture {
      $0.partitionsMax = 4
      $0.topicsMax = 2
      $0.maxMessageBytes = 2048
    }
    let core = try fixture.open()
    #expect(throws: LogError.self) { try core.createTopic(TopicName("a")!, TopicConfiguration(partitions: 5)) }
    #expect(throws: LogError.self) { try core.createTopic(TopicName("a")!, TopicConfiguration(partitions: 0)) }
    try core.createTopic(TopicName("a")!, TopicConfiguration(partitions: 2, maxMessageBytes: 1024))
    try core.createTopic(TopicName("b")!, TopicConfiguration(partitions: 2))
    #expect(throws: LogError.self) { try core.createTopic(TopicName("c")!, TopicConfiguration()) }
    let large = try fixture.filler("x", bytes: 1500)
    let results = core.append(
      ["a", "b", "c"].map {
        AppendRequest(partition: TopicPartition(topic: TopicName($0)!, partition: 0), batch: large)
      })
    if case .failure(.messageTooLarge(_, 1024)) = results[0] {} else { Issue.record("\(results[0])") }
    #expect(try results[1].get().baseOffset == 0)
    if case .failure(.invalidConfiguration) = results[2] {} else { Issue.record("\(results[2])") }
    var bad = EmbeddedLog.Configuration()
    bad.durability = .interval(.zero)
    #expect(throws: LogError.self) { try bad.validate() }
    bad = EmbeddedLog.Configuration()
    bad.readThreads = 0
    #expect(throws: LogError.self) { try bad.validate() }
  }

  @Test func timesAreFoundOverManySegments() throws {
    let fixture = LogFixture { $0.retentionMilliseconds = nil }
    var core = try fixture.open()
    // Times that go up and down; the model is a plain search.
    var times: [Int64] = []
    var random = Seed(11)
    for index in 0..<120 {
      times.append(Int64(index) * 10 + Int64(random.below(60)))
      let filling = String(repeating: ".", count: 200)
      try fixture.append(core, try fixture.batch(["v\(index)\(filling)"], timestamp: times[index]))
    }
    for life in 0..<2 {
      for wanted in stride(from: Int64(-5), to: 1300, by: 7) {
        let expected = Int64(times.firstIndex { $0 >= wanted } ?? times.count)
        let found = try core.reader.offset(of: .timestamp(wanted), in: fixture.partition)
        #expect(found == expected, "time \(wanted) in life \(life)")
      }
      try core.close()
      core = try fixture.open()
    }
  }
}
