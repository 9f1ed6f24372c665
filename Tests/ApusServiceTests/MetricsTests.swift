// Goal: the page of /metrics is what Prometheus reads. Method: whole pages compared with text written by hand.
import ApusService
import Testing

@Suite struct MetricsTests {
  private func page(_ registry: MetricsRegistry) -> String { String(decoding: registry.render(), as: UTF8.self) }

  @Test func aPage() {
    let registry = MetricsRegistry()
    registry.counter("b_total", help: "Bs.", labels: [("kind", "z")]).add(3)
    registry.counter("b_total", help: "Bs.", labels: [("kind", "a\"\\\n")]).add()
    registry.gauge("a_level", help: "Back\\slash and\nline.").set(1.5)
    let histogram = registry.histogram("c_seconds", help: "Cs.", labels: [("x", "1")], buckets: [0.1, 1])
    for value in [0.05, 0.1, 0.5, 7] { histogram.observe(value) }
    #expect(
      page(registry) == #"""
        # HELP a_level Back\\slash and\nline.
        # TYPE a_level gauge
        a_level 1.5
        # HELP b_total Bs.
        # TYPE b_total counter
        b_total{kind="a\"\\\n"} 1
        b_total{kind="z"} 3
        # HELP c_seconds Cs.
        # TYPE c_seconds histogram
        c_seconds_bucket{le="0.1",x="1"} 2
        c_seconds_bucket{le="1",x="1"} 3
        c_seconds_bucket{le="+Inf",x="1"} 4
        c_seconds_sum{x="1"} 7.65
        c_seconds_count{x="1"} 4

        """#)
  }

  @Test func theSameNameAndLabelsAreTheSameInstrument() {
    let registry = MetricsRegistry()
    let first = registry.counter("n_total", help: "", labels: [("a", "1"), ("b", "2")])
    #expect(first === registry.counter("n_total", help: "", labels: [("b", "2"), ("a", "1")]))
    #expect(first !== registry.counter("n_total", help: ""))
  }

  @Test func collectedValuesJoinTheirFamily() {
    let registry = MetricsRegistry()
    registry.gauge("g", help: "G.", labels: [("from", "instrument")]).set(1)
    registry.collect {
      [MetricFamily(name: "g", help: "other", kind: .gauge, samples: [.init(labels: [("from", "scrape")], value: 2)])]
    }
    registry.collect { [MetricFamily(.gauge, "empty", "E.", .nan), MetricFamily(.counter, "big_total", "B.", 1e15)] }
    // A second sample of the same series would make a scraper refuse the page.
    registry.collect { [MetricFamily(.gauge, "empty", "E.", 3)] }
    #expect(
      page(registry) == """
        # HELP big_total B.
        # TYPE big_total counter
        big_total 1000000000000000
        # HELP empty E.
        # TYPE empty gauge
        empty NaN
        # HELP g G.
        # TYPE g gauge
        g{from="instrument"} 1
        g{from="scrape"} 2

        """)
  }

  @Test func manyThreadsLoseNothing() async {
    let registry = MetricsRegistry()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          let counter = registry.counter("n_total", help: "")
          let gauge = registry.gauge("g", help: "")
          let histogram = registry.histogram("h", help: "", buckets: [1])
          for _ in 0..<1000 {
            counter.add()
            gauge.add(1)
            histogram.observe(0.5)
          }
        }
      }
    }
    #expect(registry.counter("n_total", help: "").value == 8000)
    #expect(registry.gauge("g", help: "").value == 8000)
    #expect(registry.histogram("h", help: "", buckets: [1]).cumulativeCounts == [8000, 8000])
    #expect(registry.histogram("h", help: "", buckets: [1]).sum == 4000)
  }

  @Test func theProcessShowsItself() throws {
    let registry = MetricsRegistry()
    ProcessMetrics.register(in: registry, version: "1.2.3", role: "test")
    let text = page(registry)
    #expect(text.contains("apus_build_info{role=\"test\",version=\"1.2.3\"} 1\n"))
    #if os(Linux)
      let process = ProcessMetrics.read()
      #expect(try #require(process.cpuSeconds) > 0)
      #expect(try #require(process.residentBytes) > 1_000_000)
      #expect(try #require(process.openFileDescriptors) >= 3)
      // After 2020, so that the sum of boot time and start time is not one of the two.
      #expect(try #require(process.startTimeSeconds) > 1_577_836_800)
      for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"] {
        #expect(text.contains("\nprocess_\(name) "))
      }
    #endif
  }
}
