import ApusService

/// The ways in, as metrics name them.
enum IngestWay: String, Sendable, CaseIterable {
  case text = "prometheus_text"
  case remoteWrite = "remote_write"
  case lineProtocol = "line_protocol"
  case otlp
}

/// The self-metrics of the ways in.
struct IngestMetrics: Sendable {
  /// Those of one way.
  struct Way: Sendable {
    let way: IngestWay
    let samples: Counter
    let rejected: Counter
    let bytes: Counter
    let latency: Histogram
    private let registry: MetricsRegistry
    private let statuses: [Int: Counter]

    init(_ way: IngestWay, _ registry: MetricsRegistry) {
      let labels = [("way", way.rawValue)]
      self.way = way
      self.registry = registry
      samples = registry.counter(
        "gpu_telemetry_ingest_samples_total", help: "Samples taken in, durable, by way in.", labels: labels)
      rejected = registry.counter(
        "gpu_telemetry_ingest_rejected_total",
        help: "Lines, series or data points that were refused while others of their request were taken, by way in.",
        labels: labels)
      bytes = registry.counter(
        "gpu_telemetry_ingest_bytes_total", help: "Bytes of bodies as they were sent, by way in.", labels: labels)
      latency = registry.histogram(
        "gpu_telemetry_ingest_request_duration_seconds",
        help: "Time from a request to its answer, when what it brought is durable and visible, by way in.",
        labels: labels)
      var statuses: [Int: Counter] = [:]
      for status in [200, 204, 400, 413, 415, 503] {
        statuses[status] = IngestMetrics.Way.status(status, way, registry)
      }
      self.statuses = statuses
    }

    func count(status: Int) { (statuses[status] ?? Way.status(status, way, registry)).add() }

    private static func status(_ status: Int, _ way: IngestWay, _ registry: MetricsRegistry) -> Counter {
      registry.counter(
        "gpu_telemetry_ingest_requests_total", help: "Requests of the ways in by way and status.",
        labels: [("way", way.rawValue), ("status", "\(status)")])
    }
  }

  let text: Way
  let remoteWrite: Way
  let lineProtocol: Way
  let otlp: Way
  let linesMatched: Counter
  let inFlightBytes: Gauge
  let refusedBusy: Counter
  let skippedStrings: Counter
  let skippedExemplars: Counter
  let skippedHistograms: Counter
  let sources: Gauge
  let sourceBytes: Gauge

  init(_ registry: MetricsRegistry) {
    text = Way(.text, registry)
    remoteWrite = Way(.remoteWrite, registry)
    lineProtocol = Way(.lineProtocol, registry)
    otlp = Way(.otlp, registry)
    linesMatched = registry.counter(
      "gpu_telemetry_ingest_lines_matched_total",
      help: "Lines of text whose series was known by its place on the page.")
    inFlightBytes = registry.gauge(
      "gpu_telemetry_ingest_in_flight_bytes", help: "Bytes of bodies that are being taken in, as sent and expanded.")
    refusedBusy = registry.counter(
      "gpu_telemetry_ingest_refused_busy_total", help: "Requests refused because too much was being taken in.")
    let skipped = "Values that were understood and have no place here, by kind."
    skippedStrings = registry.counter(
      "gpu_telemetry_ingest_skipped_total", help: skipped, labels: [("kind", "string")])
    skippedExemplars = registry.counter(
      "gpu_telemetry_ingest_skipped_total", help: skipped, labels: [("kind", "exemplar")])
    skippedHistograms = registry.counter(
      "gpu_telemetry_ingest_skipped_total", help: skipped, labels: [("kind", "native_histogram")])
    sources = registry.gauge(
      "gpu_telemetry_ingest_sources", help: "Sources of text whose last page is remembered.")
    sourceBytes = registry.gauge(
      "gpu_telemetry_ingest_source_bytes", help: "Memory of the pages that are remembered.")
  }
}
