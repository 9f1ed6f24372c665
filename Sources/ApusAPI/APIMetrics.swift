import ApusService

/// The self-metrics of the API.
struct APIMetrics: Sendable {
  let registry: MetricsRegistry
  let inFlight: Gauge
  let gate: QueryGate.Instruments
  let queriesTimedOut: Counter
  let samplesRead: Counter
  private let known = RequestInstruments()

  init(_ registry: MetricsRegistry) {
    self.registry = registry
    inFlight = registry.gauge(
      "gpu_telemetry_api_requests_in_flight", help: "Requests of the API that are being answered.")
    gate = QueryGate.Instruments(
      running: registry.gauge(
        "gpu_telemetry_api_queries_running", help: "Requests that read the store at this moment."),
      waiting: registry.gauge(
        "gpu_telemetry_api_queries_waiting", help: "Requests that wait for their turn to read the store."),
      refused: registry.counter(
        "gpu_telemetry_api_queries_refused_total", help: "Requests refused because too many were waiting."))
    queriesTimedOut = registry.counter(
      "gpu_telemetry_api_queries_timed_out_total", help: "Requests given up because they took too long.")
    samplesRead = registry.counter(
      "gpu_telemetry_api_samples_read_total", help: "Samples that the store returned to requests.")
  }

  /// Counts one answer. Routes are those declared, so a client cannot make series.
  func count(route: String, status: Int, seconds: Double) {
    let name = RequestInstruments.Name(route: route, method: "", status: status)
    let (count, duration) = known.instruments(name) {
      let count = registry.counter(
        "gpu_telemetry_api_requests_total", help: "Requests of the API by route and status.",
        labels: [("route", route), ("status", "\(status)")])
      let duration = registry.histogram(
        "gpu_telemetry_api_request_duration_seconds", help: "Time from a request to its answer, by route.",
        labels: [("route", route)])
      return (count, duration)
    }
    count.add()
    duration.observe(seconds)
  }
}
