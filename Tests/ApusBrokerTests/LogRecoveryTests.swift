// Goal: recovery tells a torn tail from corruption, loses nothing that is good, serves nothing that is bad and never
// gives an offset out twice.
// Method: damage to the files of a small log at chosen places, then a fresh start; every finding is looked at.

import ApusBroker
import ApusIO
import ApusTestKit
import Testing

@Suite struct LogRecoveryTests {
  /// Three batches of one kilobyte in one segment, closed in order, so that the checkpoint covers them.
  private func threeBatches() throws -> LogFixture {
    let fixture = LogFixture()
    let core = try fixture.open()
    for name in ["a", "b", "c"] { try fixture.append(core, try fixture.filler(name)) }
    try core.close()
    return fixture
  }

  @Test func aTornTailIsCut() throws {
    let fixture = try threeBatches()
    let path = fixture.segmentPath(0)
    let size = try fixture.disk.open(path, .read).size()
    // What an unfinished write leaves behind the checkpoint: half a batch, rubbish, zeros.
    let half = Array(try fixture.filler("d").bytes.prefix(500))
    for tail in [half, [1, 2, 3], [UInt8](repeating: 0, count: 5000), [UInt8](repeating: 0xff, count: 100)] {
      try fixture.disk.open(path, .update).write(tail, at: size)
      let core = try fixture.open()
      #expect(core.recovery.tornTails == 1)
      #expect(core.recovery.corruptions == 0)
      #expect(try fixture.disk.open(path, .read).size() == size)
      #expect(try fixture.readAll(core) == [0: "a", 1: "b", 2: "c"])
      try core.close()
    }
    let core = try fixture.open()
    #expect(core.recovery.findings.isEmpty)
    #expect(try fixture.append(core, try fixture.filler("d")).baseOffset == 3)
  }

  @Test func aWholeUnacknowledgedBatchIsKept() throws {
    let fixture = try threeBatches()
    let path = fixture.segmentPath(0)
    var next = try fixture.filler("d")
    next.baseOffset = 3
    try fixture.disk.open(path, .update).write(next.bytes, at: try fixture.disk.open(path, .read).size())
    let core = try fixture.open()
    #expect(core.recovery.findings.isEmpty)
    #expect(try fixture.readAll(core) == [0: "a", 1: "b", 2: "c", 3: "d"])
  }

  @Test(arguments: [0, 9, 17, 500]) func corruptionInTheNewestSegmentIsSetAside(_ byte: Int) throws {
    let fixture = try threeBatches()
    // In the second batch, which the checkpoint covers.
    let start = try fixture.filler("a").bytes.count
    fixture.disk.flipBit(fixture.segmentPath(0), byte: start + byte, bit: 1)
    let core = try fixture.open()
    #expect(core.recovery.corruptions == 1)
    #expect(core.recovery.tornTails == 0)
    #expect(try fixture.files("corrupt").count == 1)
    let found = try fixture.readAll(core)
    #expect(found[0] == "a")
    #expect(found[1] == nil)
    // With a broken length nothing says where the third begins: then it is lost with the second, and said so.
    #expect(found[2] == (byte == 9 ? nil : "c"))
    // An offset that was acknowledged is not given out again.
    #expect(try fixture.append(core, try fixture.filler("d")).baseOffset == 3)
    try core.close()
    let again = try fixture.open()
    #expect(again.recovery.corruptions == 0)
    #expect(try fixture.readAll(again)[3] == "d")
  }

  @Test func aShortenedSegmentIsCorruption() throws {
    let fixture = try threeBatches()
    let size = try fixture.filler("a").bytes.count
    try fixture.disk.open(fixture.segmentPath(0), .update).truncate(to: Int64(size))
    let core = try fixture.open()
    #expect(
      core.recovery.findings.contains(.missing(partition: fixture.partition, from: 1, to: 3)),
      "\(core.recovery.findings)")
    #expect(try fixture.readAll(core) == [0: "a"])
    #expect(try fixture.append(core, try fixture.filler("d")).baseOffset == 3)
  }

  @Test func corruptionInAClosedSegmentIsFoundByTheReader() throws {
    let fixture = LogFixture()
    let core = try fixture.open()
    for index in 0..<12 { try fixture.append(core, try fixture.filler("v\(index)")) }
    core.maintain()
    #expect(try fixture.files("index").count >= 2)
    let size = try fixture.filler("v0").bytes.count
    fixture.disk.flipBit(fixture.segmentPath(0), byte: size + 300, bit: 5)
    // The good batches before it are served, the bad one never.
    let first = try core.reader.read(fixture.partition, from: 0, maxBytes: 1 << 20)
    #expect(first.batches.map(\.baseOffset) == [0])
    let refusal = LogFixture.refusal { _ = try core.reader.read(fixture.partition, from: 1, maxBytes: 1 << 20) }
    guard case .corrupt(_, let file, let position, _)? = refusal else {
      Issue.record("corrupt bytes were served")
      return
    }
    #expect(file == fixture.segmentPath(0))
    #expect(position == Int64(size))
    core.repair(fixture.partition, segment: 0)
    #expect(core.recovery.corruptions == 1)
    var expected = Dictionary(uniqueKeysWithValues: (0..<12).map { (Int64($0), "v\($0)") })
    expected[1] = nil
    #expect(try fixture.readAll(core) == expected)
    // A second look finds nothing more, and a restart neither.
    core.repair(fixture.partition, segment: 0)
    #expect(core.recovery.corruptions == 1)
    try core.close()
    let again = try fixture.open()
    #expect(again.recovery.findings.isEmpty, "\(again.recovery.findings)")
    #expect(try fixture.readAll(again) == expected)
  }

  @Test func aRepairIsSafeAgainstAPowerCutAtAnyStep() throws {
    var step = 1
    while true {
      let fixture = LogFixture(seed: UInt64(step))
      let core = try fixture.open()
      for index in 0..<8 { try fixture.append(core, try fixture.filler("v\(index)")) }
      core.maintain()
      let size = try fixture.filler("v0").bytes.count
      fixture.disk.flipBit(fixture.segmentPath(0), byte: size + 300, bit: 5)
      fixture.disk.crash(afterOperations: step)
      core.repair(fixture.partition, segment: 0)
      let isOver = !fixture.disk.isCrashed
      fixture.disk.restart()
      let again = try fixture.open()
      // Where the repair had not begun the restart sees a closed segment of the right size: then a reader finds it.
      again.repair(fixture.partition, segment: 0)
      var expected = Dictionary(uniqueKeysWithValues: (0..<8).map { (Int64($0), "v\($0)") })
      expected[1] = nil
      #expect(try fixture.readAll(again) == expected, "step \(step)")
      if isOver { break }
      step += 1
    }
    #expect(step > 8, "the power was cut at each of \(step - 1) steps")
  }

  @Test(arguments: ["index", "timeindex"]) func aBadIndexIsMadeAnew(_ suffix: String) throws {
    let fixture = LogFixture()
    let core = try fixture.open()
    for index in 0..<12 { try fixture.append(core, try fixture.filler("v\(index)")) }
    try core.close()
    let expected = try fixture.readAll(core)
    fixture.disk.flipBit(fixture.segmentPath(0, suffix), byte: 20, bit: 0)
    let again = try fixture.open()
    #expect(
      again.recovery.findings
        == [.indexRebuilt(partition: fixture.partition, file: fixture.segmentPath(0, "index"))])
    #expect(try fixture.readAll(again) == expected)
  }

  @Test func producersAreKnownAfterARestartAndOverSegments() throws {
    let fixture = LogFixture()
    var core = try fixture.open()
    let producer = try core.registerProducer()
    var batches: [RecordBatch] = []
    var receipts: [AppendReceipt] = []
    for index in 0..<10 {
      let filling = String(repeating: ".", count: 900)
      batches.append(try fixture.batch(["v\(index)\(filling)"], producer: producer, sequence: Int32(index)))
      receipts.append(try fixture.append(core, batches[index]))
    }
    for withSnapshot in [true, false] {
      try core.close()
      if !withSnapshot {
        for name in try fixture.files("producers") { try fixture.disk.remove("log/topics/t/0/" + name) }
      }
      core = try fixture.open()
      for index in 5..<10 {
        let again = try fixture.append(core, batches[index])
        #expect(again.isDuplicate)
        #expect(again.baseOffset == receipts[index].baseOffset)
      }
      #expect(throws: LogError.self, "older than the five kept") { try fixture.append(core, batches[0]) }
      #expect(throws: LogError.self, "a gap") {
        try fixture.append(core, try fixture.batch(["x"], producer: producer, sequence: 11))
      }
    }
    #expect(try core.registerProducer().id > producer.id)
    #expect(throws: LogError.self, "an id that was never given out") {
      let stranger = ProducerIdentity(id: 1 << 40, epoch: 0)
      try fixture.append(core, try fixture.batch(["x"], producer: stranger, sequence: 0))
    }
    #expect(try fixture.readAll(core).count == 10)
  }

  @Test func sequencesBeginAnewBehindTheGreatest() throws {
    let fixture = LogFixture()
    let core = try fixture.open()
    let producer = try core.registerProducer()
    try fixture.append(core, try fixture.batch(["a", "b"], producer: producer, sequence: .max - 1))
    try fixture.append(core, try fixture.batch(["c"], producer: producer, sequence: 0))
    let over = try fixture.batch(["d", "e", "f"], producer: producer, sequence: 1)
    #expect(try fixture.append(core, over).isDuplicate == false)
    #expect(try fixture.append(core, over).isDuplicate)
  }

  @Test func lostMetadataIsReportedAndReplaced() throws {
    let fixture = try threeBatches()
    for name in ["log/checkpoint", "log/identities", "log/topics/t/topic"] {
      fixture.disk.flipBit(name, byte: 9, bit: 2)
    }
    let core = try fixture.open()
    #expect(core.recovery.findings.count == 3, "\(core.recovery.findings)")
    #expect(try fixture.readAll(core) == [0: "a", 1: "b", 2: "c"])
    #expect(try core.registerProducer().id >= fixture.clock.now, "ids go on behind all that were given out")
  }

  @Test func theFolderHasOneOwner() throws {
    let fixture = LogFixture()
    let core = try fixture.open()
    let refusal = LogFixture.refusal { _ = try fixture.open() }
    guard case .disk(let error)? = refusal else {
      Issue.record("a second owner got in")
      return
    }
    #expect(error.kind == .busy)
    try core.close()
    _ = try fixture.open()
  }

  @Test func aDeletedTopicLeavesNothing() throws {
    let fixture = try threeBatches()
    let core = try fixture.open()
    try core.deleteTopic(fixture.topic)
    #expect(try fixture.disk.list("log/topics").isEmpty)
    #expect(try fixture.disk.list("log/deleted").isEmpty)
    // Its successor does not inherit the checkpoint.
    try core.createTopic(fixture.topic, TopicConfiguration())
    try core.close()
    let again = try fixture.open()
    #expect(again.recovery.findings.isEmpty)
    #expect(try fixture.append(again, try fixture.filler("new")).baseOffset == 0)
  }
}
