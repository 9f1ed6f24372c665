// Goal: pages of both formats are read as their specifications say, line by line, and a line that breaks them costs only
// itself. Method: tables of lines with the samples or the fault expected, and pages as real exporters write them.

import ApusFormats
import ApusModel
import Testing

struct ExpositionParserTests {
  @Test(arguments: [
    ("up 1", "up", 1.0), ("up{} 1", "up", 1), ("up{a=\"b\"} 1", "up{a=\"b\"}", 1), ("up{a=\"b\",} 1", "up{a=\"b\"}", 1),
    (" up { a = \"b\" , c=\"d\" } 1.5 ", "up{a=\"b\", c=\"d\"}", 1.5), ("up\t2", "up", 2),
    ("a:b_1{x=\"\\\\ \\\" \\n\"} -3e-2", "a:b_1{x=\"\\\\ \\\" \\n\"}", -0.03), ("up +Inf", "up", .infinity),
    ("up -Inf", "up", -.infinity), ("up inf", "up", .infinity), ("up{empty=\"\"} 1", "up", 1),
    ("up{a=\"é😀 {},=\"} 1", "up{a=\"é😀 {},=\"}", 1), ("up 30.982000", "up", 30.982), ("up 5\r", "up", 5),
    ("up{z=\"1\",a=\"2\"} 1", "up{a=\"2\", z=\"1\"}", 1), ("up 0.1e1", "up", 1), ("up{a=\"#\"} 1", "up{a=\"#\"}", 1),
  ])
  func readsALine(_ line: String, _ expected: String, _ value: Double) throws {
    for ending in ["\n", ""] {
      let result = parse(line + ending)
      #expect(result.errorCount == 0, "\(result.errors)")
      let sample = try #require(flatten(result).first)
      #expect(sample.labels.description == expected)
      #expect(sample.bits == value.bitPattern)
      #expect(sample.timestamp == noon.milliseconds)
    }
  }

  @Test func readsNaN() throws {
    let sample = try #require(flatten(parse("up NaN\n")).first)
    #expect(Double(bitPattern: sample.bits).isNaN)
  }

  @Test(arguments: [
    ("1up 1", 1, ExpositionProblem.invalidMetricName), ("{a=\"b\"} 1", 1, .invalidMetricName), ("up", 3, .missingValue),
    ("up ", 4, .missingValue), ("up{a=\"b\"}", 10, .missingValue), ("up{a=\"b\" 1", 10, .expectedCommaOrBrace),
    ("up{a=\"b\"c=\"d\"} 1", 9, .expectedCommaOrBrace), ("up{a=b} 1", 6, .expectedQuote),
    ("up{a} 1", 5, .expectedEquals),
    ("up{a=\"b} 1", 7, .unterminatedValue), ("up{1a=\"b\"} 1", 4, .invalidLabelName),
    ("up{a=\"\\x\"} 1", 7, .invalidEscape),
    ("up{a=\"b\",a=\"c\"} 1", 10, .duplicateLabel), ("up{,} 1", 4, .invalidLabelName), ("up x", 4, .invalidValue),
    ("up 1x", 4, .invalidValue), ("up 0x10", 4, .invalidValue), ("up 1_0", 4, .invalidValue),
    ("up 1 x", 6, .invalidTimestamp),
    ("up 1 1.5", 6, .invalidTimestamp), ("up 1 2 3", 8, .textBehindSample), ("up 1 # {} 1", 6, .textBehindSample),
    ("# TYPE up speed", 11, .invalidComment), ("# HELP 1up text", 8, .invalidComment),
    ("up-down 1", 3, .invalidMetricName),
    ("up{pod=\"a\"b\"} 1", 11, .expectedCommaOrBrace), ("up{__name__=\"x\"} 1", 4, .duplicateLabel),
  ])
  func rejectsALineAndKeepsTheRest(_ line: String, _ column: Int, _ reason: ExpositionProblem) {
    let result = parse("before 1\n\(line)\nafter 2\n")
    #expect(result.errors == [LineError(line: 2, column: column, reason: reason)])
    #expect(result.errorCount == 1)
    #expect(flatten(result).map(\.labels) == [series("after"), series("before")].sorted())
  }

  @Test func rejectsWhatIsNotUTF8() {
    var parser = ExpositionParser()
    let result = parser.parse(Array("a 1\nb{x=\"".utf8) + [0xff] + Array("\"} 1\nc 1\n".utf8), now: noon)
    #expect(result.errors == [LineError(line: 2, column: 6, reason: .notUTF8)])
    #expect(result.sampleCount == 2)
  }

  @Test func readsTypesHelpAndUnits() throws {
    let result = parse(
      "# HELP a Text \\\\ with \\n and \\\" here\n# TYPE a counter\na 1\n# a comment\n#\n# TYPE b untyped\nb 2\n")
    #expect(result.errorCount == 0)
    #expect(
      result.scrapes[0].set.descriptors == [
        MetricDescriptor(name: "a", kind: .counter, help: "Text \\ with \n and \\\" here"),
        MetricDescriptor(name: "b", kind: .unknown),
      ])
    let open = parse(
      "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds Said \\\"so\\\"\na_seconds_total 1\n# EOF\n",
      .openMetrics)
    #expect(
      open.scrapes[0].set.descriptors == [
        MetricDescriptor(name: "a_seconds", kind: .counter, help: "Said \"so\"", unit: "seconds")
      ])
  }

  @Test func histogramsKeepTheirFamily() {
    let result = parse("# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1.5\nh_count 3\n")
    #expect(result.scrapes[0].set.descriptors == [MetricDescriptor(name: "h", kind: .histogram)])
    #expect(result.sampleCount == 3)
  }

  @Test func timestampsAreMillisecondsOrSeconds() {
    #expect(flatten(parse("a 1 1500\n")).map(\.timestamp) == [1500])
    #expect(flatten(parse("a 1 -1500\n")).map(\.timestamp) == [-1500])
    #expect(flatten(parse("a 1 1.5\n# EOF\n", .openMetrics)).map(\.timestamp) == [1500])
    #expect(flatten(parse("a 1 1520879607.789\n# EOF\n", .openMetrics)).map(\.timestamp) == [1_520_879_607_789])
  }

  @Test func openMetricsExemplarsAreLetGo() {
    let page = """
      # TYPE foo histogram
      foo_bucket{le="0.01"} 0
      foo_bucket{le="0.1"} 8 # {} 0.054
      foo_bucket{le="1"} 11 # {trace_id="KOO5S4vxi0o"} 0.67
      foo_bucket{le="10"} 17 # {trace_id="oHg5SJYRHA0"} 9.8 1520879607.789
      foo_bucket{le="+Inf"} 17 12.5 # {a="#"} 9.8
      foo_bucket{le="x"} 17 # 9.8
      foo_bucket{le="y"} 17 # {a="b"} x
      foo_count 17
      foo_created 1520430000.123
      # EOF

      """
    let result = parse(page, .openMetrics)
    #expect(result.sampleCount == 7)
    #expect(result.errors.map(\.reason) == [.invalidExemplar, .invalidExemplar])
  }

  @Test func openMetricsMustEnd() {
    #expect(parse("a 1\n", .openMetrics).errors.map(\.reason) == [.missingEnd])
    // The last line may have been cut: 12 of 123.
    let cut = parse("a 1\nb 12", .openMetrics)
    #expect(cut.sampleCount == 1)
    #expect(cut.errors.map(\.reason) == [.missingEnd, .missingEnd])
    let more = parse("a 1\n# EOF\nb 2\nc 3\n", .openMetrics)
    #expect(more.sampleCount == 1)
    #expect(more.errors.map(\.reason) == [.textBehindEnd])
    #expect(parse("a 1\n# EOF\nb 2\n").sampleCount == 2)
  }

  @Test func aSeriesHasOneValueAPage() {
    let result = parse("a{x=\"1\",y=\"2\"} 1\nb 2\na{y=\"2\",x=\"1\"} 3\n")
    #expect(result.errors == [LineError(line: 3, column: 1, reason: .duplicateSample)])
    #expect(flatten(result).map { Double(bitPattern: $0.bits) }.sorted() == [1, 2])
  }

  @Test func anEmptyPageSaysNothing() {
    var parser = ExpositionParser()
    let page = Array("a 1\nb 2\n".utf8)
    let first = parser.parse(page, now: noon)
    for empty in ["", "\n", "# TYPE a gauge\n"] {
      let result = parser.parse(Array(empty.utf8), now: noon)
      #expect(result.scrapes.isEmpty && result.samples.isEmpty && result.errorCount == 0)
    }
    let again = parser.parse(page, now: noon)
    #expect(again.matchedCount == 2)
    #expect(again.scrapes[0].set.id == first.scrapes[0].set.id)
  }

  @Test func extraLabelsAreAddedUnlessThere() {
    var configuration = ExpositionParser.Configuration()
    configuration.extraLabels = [("instance", "node-a:9400"), ("job", "dcgm")]
    var parser = ExpositionParser(configuration)
    let result = parser.parse(Array("a 1\nb{job=\"own\"} 2\n".utf8), now: noon)
    #expect(
      flatten(result).map(\.labels)
        == [
          series("a", ["instance": "node-a:9400", "job": "dcgm"]),
          series("b", ["instance": "node-a:9400", "job": "own"]),
        ].sorted())
  }

  @Test func blanksOfDCGMAreAbsent() {
    var configuration = ExpositionParser.Configuration()
    configuration.dropsBlanks = true
    var parser = ExpositionParser(configuration)
    let page = """
      a 2147483631
      b 2147483632
      c 2147483635
      d 2147483636
      e 9223372036854775792
      f 9223372036854775794
      g 9223372036854774000
      h 140737488355328.000000
      i 140737488355330
      j 140737488355327.000000

      """
    for _ in 0..<2 {
      let result = parser.parse(Array(page.utf8), now: noon)
      #expect(flatten(result).map(\.labels.metricName) == ["a", "d", "g", "i", "j"])
      #expect(result.blankCount == 5)
    }
    #expect(parse(page).sampleCount == 10)
  }

  @Test func linesOfOneTimeFormAScrape() {
    var page = ""
    for time in [1000, 2000] {
      for number in 0..<10 { page += "m{i=\"\(number)\"} \(number) \(time)\n" }
    }
    page += "lone 1 3000\nlone 2 4000\nlone 3 3000\n"
    let result = parse(page)
    #expect(result.scrapes.map(\.timestamp.milliseconds) == [1000, 2000])
    #expect(result.scrapes[0].set.id == result.scrapes[1].set.id)
    #expect(result.samples.map(\.timestamps) == [[3000, 4000]])
    #expect(result.errors == [LineError(line: 23, column: 1, reason: .duplicateSample)])
    #expect(result.sampleCount == 22)
  }

  @Test func aPageOfOneTimeIsAScrapeHoweverSmall() {
    let result = parse("a 1 1000\nb 2 1000\n")
    #expect(result.scrapes.count == 1 && result.samples.isEmpty)
    #expect(result.scrapes[0].timestamp.milliseconds == 1000)
  }

  @Test func boundsHold() {
    var configuration = ExpositionParser.Configuration()
    configuration.lineBytesMax = 20
    configuration.seriesMax = 2
    configuration.errorsListedMax = 1
    var parser = ExpositionParser(configuration)
    let page = Array("a 1\nb{x=\"0123456789abcdef\"} 1\nc 1\nd 1\ne 1\n".utf8)
    for _ in 0..<3 {
      let result = parser.parse(page, now: noon)
      #expect(result.sampleCount == 2)
      #expect(result.errorCount == 3)
      #expect(result.errors == [LineError(line: 2, column: 1, reason: .lineTooLong)])
    }
    let labels = (0...128).map { "l\($0)=\"x\"" }.joined(separator: ",")
    #expect(parse("a{\(labels)} 1\n").errors.map(\.reason) == [.tooManyLabels])
  }

  @Test func readsAnExporterAsItIs() throws {
    let result = parse(ExamplePage.kubernetes)
    #expect(result.errorCount == 0)
    #expect(result.sampleCount == 4)
    let labels = try #require(result.scrapes.first).set.series[0]
    #expect(labels["pod"] == "train-0" && labels["Hostname"] == "worker-7")
  }

  private func parse(_ page: String, _ format: ExpositionFormat = .text) -> ExpositionResult {
    var parser = ExpositionParser(.init(format: format))
    return parser.parse(Array(page.utf8), now: noon)
  }
}

/// Pages in the manner of dcgm-exporter; identifiers are invented.
enum ExamplePage {
  static let kubernetes = """
    # HELP DCGM_FI_DEV_GPU_UTIL Utilisation of the GPU in percent.
    # TYPE DCGM_FI_DEV_GPU_UTIL gauge
    DCGM_FI_DEV_GPU_UTIL{gpu="0",UUID="GPU-1",pci_bus_id="00000000:8D:00.0",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="worker-7",container="trainer",namespace="ml",pod="train-0"} 97
    DCGM_FI_DEV_GPU_UTIL{gpu="1",UUID="GPU-2",pci_bus_id="00000000:91:00.0",device="nvidia1",modelName="NVIDIA H100 80GB HBM3",Hostname="worker-7"} 0
    # HELP DCGM_FI_DEV_POWER_USAGE Board power in W.
    # TYPE DCGM_FI_DEV_POWER_USAGE gauge
    DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-1",pci_bus_id="00000000:8D:00.0",device="nvidia0",modelName="NVIDIA H100 80GB HBM3",Hostname="worker-7",container="trainer",namespace="ml",pod="train-0"} 612.448000
    DCGM_FI_DEV_POWER_USAGE{gpu="1",UUID="GPU-2",pci_bus_id="00000000:91:00.0",device="nvidia1",modelName="NVIDIA H100 80GB HBM3",Hostname="worker-7"} 71.300000

    """
}
