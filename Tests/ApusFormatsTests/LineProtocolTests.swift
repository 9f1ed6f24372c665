// Goal: line protocol becomes the series that InfluxDB's rules make of it; bad lines are told by number and good ones taken.
// Method: a table of texts, each through a fresh decoder and twice through one that knows the series; seeded mutation.

import ApusFormats
import ApusModel
import ApusTestKit
import Testing

@Suite struct LineProtocolTests {
  static func decode(
    _ text: String, _ decoder: inout LineProtocolDecoder, precision: LineProtocolPrecision = .milliseconds
  ) throws -> IngestBatch {
    try Array(text.utf8).withUnsafeBytes { try decoder.decode($0, precision: precision, now: 99) }
  }

  static func lines(_ text: String, precision: LineProtocolPrecision = .milliseconds) throws -> [String] {
    var decoder = LineProtocolDecoder()
    return ProtobufFixtures.lines(try decode(text, &decoder, precision: precision).series)
  }

  static let good: [(text: String, lines: [String])] = [
    ("", []),
    ("\n\r\n  \n# comment\n", []),
    ("m f=1 5", ["m_f 1.0@5"]),
    ("m value=1 5", ["m 1.0@5"]),
    ("m f=1", ["m_f 1.0@99"]),
    ("m f=1 \r\n", ["m_f 1.0@99"]),
    ("m f=1 5\r\nm f=2 6\r", ["m_f 1.0@5 2.0@6"]),
    ("  m  f=1   5  ", ["m_f 1.0@5"]),
    (
      "m,host=a,gpu=0 f=1,g=2i,h=3u,i=t,j=FALSE -5",
      [
        #"m_f{gpu="0", host="a"} 1.0@-5"#, #"m_g{gpu="0", host="a"} 2.0@-5"#, #"m_h{gpu="0", host="a"} 3.0@-5"#,
        #"m_i{gpu="0", host="a"} 1.0@-5"#, #"m_j{gpu="0", host="a"} 0.0@-5"#,
      ]
    ),
    (
      "m f=-1.5e3,g=+.5,h=7.,i=-9223372036854775808i,j=18446744073709551615u 0",
      [
        "m_f -1500.0@0", "m_g 0.5@0", "m_h 7.0@0", "m_i -9.223372036854776e+18@0", "m_j 1.8446744073709552e+19@0",
      ]
    ),
    (#"m\ a\,b\=c f=1 0"#, [#"m a,b\=c_f 1.0@0"#]),
    (#"m,a\,b=c\ d\=e,q=x\y f\ g\=h=1 0"#, [#"m_f g=h{a,b="c d=e", q="x\\y"} 1.0@0"#]),
    (#"m,a=b\\\,c f=1 0"#, [#"m_f{a="b\\\\,c"} 1.0@0"#]),
    ("m f=1,s=\"text, with = and \\\" and \\\\\",g=2 0", ["m_f 1.0@0", "m_g 2.0@0"]),
    ("m s=\"a\nb\",f=1 0\nn f=2 0", ["m_f 1.0@0", "n_f 2.0@0"]),
    ("m,z=1,a=2 f=1 0\nm,a=2,z=1 f=2 1", [#"m_f{a="2", z="1"} 1.0@0"#, #"m_f{a="2", z="1"} 2.0@1"#]),
    ("m f=2 6\nm f=1 5\nm f=3 6", ["m_f 1.0@5 2.0@6 3.0@6"]),
    ("überall,ort=köln grad=1 0", [#"überall_grad{ort="köln"} 1.0@0"#]),
    ("m f=1,f=2 0", ["m_f 1.0@0 2.0@0"]),
  ]

  @Test(arguments: good) func decodes(_ row: (text: String, lines: [String])) throws {
    var decoder = LineProtocolDecoder()
    for _ in 0..<3 {
      let batch = try Self.decode(row.text, &decoder)
      #expect(ProtobufFixtures.lines(batch.series) == row.lines)
      #expect(batch.problems.isEmpty, "\(batch.problems.summary(unit: "line"))")
    }
  }

  static let bad: [(line: String, problem: IngestProblem)] = [
    ("m", .missingFields), ("m ", .missingFields), ("m,a=b", .missingFields), ("m,a=b ", .missingFields),
    (",a=b f=1", .missingMetricName), ("m,a= f=1", .missingTagValue), ("m,a f=1", .missingTagValue),
    ("m,=b f=1", .emptyLabelName), ("m,a=b=c f=1", .missingTagValue), ("m, f=1", .emptyLabelName),
    ("m,a=b,a=c f=1", .duplicateLabel), ("m,__name__=b f=1", .reservedLabel), ("m =1", .emptyLabelName),
    ("m f", .missingFieldValue), ("m f 5", .missingFieldValue), ("m f=", .missingFieldValue),
    ("m f=,g=1", .missingFieldValue), ("m f=1,", .missingFieldValue), ("m f=x", .invalidFieldValue),
    ("m f=1x", .invalidFieldValue), ("m f=1.5i", .invalidFieldValue), ("m f=-1u", .invalidFieldValue),
    ("m f=9223372036854775808i", .invalidFieldValue), ("m f=NaN", .invalidFieldValue),
    ("m f=1e999", .invalidFieldValue),
    ("m f=truely", .invalidFieldValue), ("m f=\"a\"b", .invalidFieldValue), ("m f=1 x", .invalidTimestamp),
    ("m f=1 5 6", .invalidTimestamp), ("m f=1 5.5", .invalidTimestamp),
    ("m f=1 99999999999999999999", .invalidTimestamp), ("m good=1,bad=x 0", .invalidFieldValue),
  ]

  @Test(arguments: bad) func refusesALineAndTakesTheOthers(_ row: (line: String, problem: IngestProblem)) throws {
    var decoder = LineProtocolDecoder()
    for _ in 0..<2 {
      let batch = try Self.decode("n f=1 1\n\(row.line)\nn f=2 2\n", &decoder)
      #expect(ProtobufFixtures.lines(batch.series) == ["n_f 1.0@1 2.0@2"], "\(row.line)")
      #expect(batch.problems.items == [.init(position: 2, problem: row.problem)], "\(row.line)")
      #expect(batch.sampleCount == 2)
    }
  }

  @Test func anOpenStringCostsItsOwnLineOnly() throws {
    var decoder = LineProtocolDecoder()
    let batch = try Self.decode("n s=\"x\ny\" 0\nm f=\"a\nn f=1 1\nn f=2 2", &decoder)
    #expect(ProtobufFixtures.lines(batch.series) == ["n_f 1.0@1 2.0@2"])
    #expect(batch.problems.items == [.init(position: 3, problem: .unterminatedString)])
  }

  @Test func countsStrings() throws {
    var decoder = LineProtocolDecoder()
    let batch = try Self.decode("m s=\"a\",t=\"\" 1\nm s=\"a\",f=1 1\n", &decoder)
    #expect(batch.skipped.strings == 3)
    #expect(batch.skipped.linesWithoutNumbers == 1)
    #expect(batch.problems.isEmpty)
  }

  static let times: [(word: String?, written: String, milliseconds: Int64)] = [
    (nil, "1700000000123999999", 1_700_000_000_123), ("ns", "-1", -1), ("n", "1000000", 1), ("u", "1999", 1),
    ("us", "-1", -1), ("ms", "5", 5), ("s", "-5", -5000), ("m", "2", 120_000), ("h", "1", 3_600_000),
  ]

  @Test(arguments: times) func precisions(_ row: (word: String?, written: String, milliseconds: Int64)) throws {
    let precision = try #require(LineProtocolPrecision(parameter: row.word))
    #expect(try Self.lines("m value=1 \(row.written)", precision: precision) == ["m 1.0@\(row.milliseconds)"])
  }

  @Test func refusesUnknownPrecisionsAndTimesOutOfRange() throws {
    #expect(LineProtocolPrecision(parameter: "fortnight") == nil)
    var decoder = LineProtocolDecoder()
    let batch = try Self.decode("m f=1 9223372036854775807", &decoder, precision: .hours)
    #expect(batch.problems.items.map(\.problem) == [.invalidTimestamp])
  }

  @Test func classicNames() throws {
    var decoder = LineProtocolDecoder(naming: .classic)
    let batch = try Self.decode("9a.b:c,tag.x:y=v.1 f-ü=1 0", &decoder)
    #expect(ProtobufFixtures.lines(batch.series) == [#"_9a_b:c_f__{tag_x_y="v.1"} 1.0@0"#])
  }

  @Test func boundsTheProblemsThatAreKept() throws {
    var decoder = LineProtocolDecoder()
    let batch = try Self.decode(String(repeating: "bad\n", count: 1000), &decoder)
    #expect(batch.problems.count == 1000)
    #expect(batch.problems.items.count == IngestProblems.keptMax)
    #expect(batch.problems.summary(unit: "line") == "line 1: the line has no fields (and 999 more)")
  }

  /// The order of lines may change from request to request; only speed depends on it.
  @Test func anyOrderGivesTheSameSeries() throws {
    var seed = Seed(5)
    var decoder = LineProtocolDecoder()
    var lines = (0..<300).map { "m\($0 % 7),host=h\($0 % 50) a=\($0),b=\($0)i \($0)" }
    let expected = try Self.lines(lines.joined(separator: "\n"))
    for _ in 0..<10 {
      lines.shuffle(using: &seed)
      let batch = try Self.decode(lines.joined(separator: "\n"), &decoder)
      #expect(ProtobufFixtures.lines(batch.series) == expected)
    }
  }

  @Test func mutationNeverCrashesAndTheCacheChangesNothing() throws {
    var seed = Seed(6)
    let valid = Array(Self.good.map(\.text).joined(separator: "\n").utf8)
    let alphabet = Array(" ,=\\\"\n\r#ituTFe.-+019am".utf8)
    var warm = LineProtocolDecoder()
    for _ in 0..<1500 {
      var bytes = valid
      for _ in 0...seed.below(6) {
        let place = seed.below(bytes.count)
        switch seed.below(4) {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: seed.next())
        case 1: bytes[place] = alphabet[seed.below(alphabet.count)]
        case 2: bytes.remove(at: place)
        default: bytes.insert(alphabet[seed.below(alphabet.count)], at: place)
        }
      }
      if seed.oneIn(5) { bytes.removeSubrange(seed.below(bytes.count)...) }
      var cold = LineProtocolDecoder()
      let left = try bytes.withUnsafeBytes { try cold.decode($0, now: 1) }
      let right = try bytes.withUnsafeBytes { try warm.decode($0, now: 1) }
      #expect(ProtobufFixtures.lines(left.series) == ProtobufFixtures.lines(right.series))
      #expect(left.problems == right.problems)
      #expect(left.skipped == right.skipped)
    }
  }
}
