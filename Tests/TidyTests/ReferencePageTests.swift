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

@Test func aMetricThatThePageLacksIsFound() {
  let source = SwiftSource(
    path: "Sources/ApusIO/A.swift",
    text: """
      let a = registry.counter("gpu_telemetry_a_total", help: "")
      let b = registry.counter("gpu_telemetry_b_total", help: "") // "gpu_telemetry_c_total"
      let d = "gpu_telemetry_store_" + name

      """)
  let findings = ReferencePages.checkMetrics(source, page: "| `gpu_telemetry_a_total` | all |")
  #expect(findings.map(\.line) == [2])
  #expect(ReferencePages.checkMetricNames(source).map(\.line) == [3])
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
