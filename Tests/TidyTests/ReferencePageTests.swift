import Testing

// Goal: every name that a user may rely on is on its reference page, and the page promises nothing that is not there.
// Method: the names in the sources' literals and enums against the pages' text.

@Test func selfMetricsAreOnTheirPage() throws {
  let page = try #require(Repository.text(ReferencePages.metricsPage))
  var findings = Repository.sources.flatMap { ReferencePages.checkMetrics($0, page: page) }
  findings += Repository.sources.flatMap(ReferencePages.checkMetricNames)
  let names = Set(Repository.sources.flatMap { ReferencePages.metricNames(in: $0).map(\.name) })
  findings += ReferencePages.checkPromises(page: page, names: names)
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test func exitCodesAreOnTheirPage() throws {
  let page = try #require(Repository.text(ReferencePages.errorsPage))
  let source = try #require(Repository.sources.first { $0.path == "Sources/ApusService/ExitCode.swift" })
  let findings = ReferencePages.checkCodes(
    of: "ExitCode", in: source, page: page, pagePath: ReferencePages.errorsPage)
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test func doorCodesAreOnTheirPage() throws {
  let page = try #require(Repository.text(ReferencePages.errorsPage))
  let source = try #require(Repository.sources.first { $0.path == "Sources/ApusDoors/DoorError.swift" })
  let findings = ReferencePages.checkCodes(
    of: "DoorErrorCode", in: source, page: page, pagePath: ReferencePages.errorsPage)
  #expect(findings.isEmpty, "\(findings.report)")
}

@Test func optionsAreOnTheirPage() throws {
  let page = try #require(Repository.text(ReferencePages.configurationPage))
  let commands = Repository.sources.filter { $0.module == "ApusCommands" }
  let findings = commands.flatMap { ReferencePages.checkOptions($0, page: page) }
  #expect(findings.isEmpty, "\(findings.report)")
  #expect(commands.contains { !ReferencePages.options(in: $0).isEmpty }, "no options were found; where have they gone?")
}

@Test func anOptionThatThePageLacksIsFound() {
  let text = """
    @Option(name: .long, help: "How much.")
    var headBytes: Int
    @Flag var loop = false
    @Option(name: [.customLong("for"), .short], help: "x")
    var span: Int
    """
  let source = SwiftSource(path: "Sources/ApusCommands/A.swift", text: text)
  let findings = ReferencePages.checkOptions(source, page: "`--head-bytes SIZE` and `--for`")
  #expect(findings.map(\.problem) == ["--loop is not in docs/reference/configuration.md"], "\(findings.report)")
}

@Test func aMetricThatThePageLacksIsFound() {
  let source = SwiftSource(
    path: "Sources/ApusIO/A.swift",
    text: """
      let a = registry.counter("gpu_telemetry_a_total", help: "")
      let b = registry.counter("gpu_telemetry_b_total", help: "") // "gpu_telemetry_c_total"
      func gauge(_ name: String) -> Gauge { registry.gauge("gpu_telemetry_store_\\(name)") }
      let e = gauge("e_bytes", "The bytes.")
      let f = gauge(
        "f_bytes", "The bytes.")

      """)
  let findings = ReferencePages.checkMetrics(
    source, page: "| `gpu_telemetry_a_total` | `gpu_telemetry_store_e_bytes` |")
  #expect(findings.map(\.line) == [2, 6], "\(findings.report)")
  #expect(ReferencePages.checkMetricNames(source).isEmpty)
  let two = SwiftSource(path: "a", text: "let a = \"gpu_telemetry_a_\\(b)\"\nlet c = \"gpu_telemetry_c_\\(b)\"\n")
  #expect(ReferencePages.checkMetricNames(two).map(\.line) == [1, 2])
}

@Test func aMetricThatOnlyThePageHasIsFound() {
  let page = "| `gpu_telemetry_a_total` |\n| `gpu_telemetry_b` and `gpu_telemetry_c` |\n"
  let findings = ReferencePages.checkPromises(page: page, names: ["gpu_telemetry_a_total", "gpu_telemetry_c"])
  #expect(findings.map(\.line) == [2])
}

@Test func aCodeThatThePageLacksIsFound() {
  let source = SwiftSource(
    path: "Sources/ApusIO/A.swift",
    text: """
      /// A.
      enum A: String {
        /// Gone.
        case gone = "gone_away"
        case here
        func b() {
          switch self {
          case gone: break
          }
        }
      }
      enum B { case other }

      """)
  let findings = ReferencePages.checkCodes(of: "A", in: source, page: "`here`", pagePath: "page")
  #expect(findings.map(\.line) == [4])
  #expect(ReferencePages.checkCodes(of: "C", in: source, page: "", pagePath: "page").count == 1)
}
