import ApusService

/// Every instrument of a collector.
package struct CollectorMetrics: Sendable {
  let messagesReceived: Counter
  let messagesFlushed: Counter
  let messagesInvalid: Counter
  let flushErrors: Counter
  let readErrors: Counter
  let backlog: Gauge
  let flushLatency: Histogram
  let bytesReceived: Counter
  let samplesFlushed: Counter
  let samplesOverSeriesLimit: Counter
  let samplesTooOld: Counter
  let recordsSkipped: Counter
  let setsSeen: Counter
  let setsFetched: Counter
  let recordsParked: Counter
  let parked: Gauge
  let deadLetters: Counter
  let deadLettersFailed: Counter
  let recordsLost: Counter
  let positionsAhead: Counter

  package init(_ registry: MetricsRegistry) {
    func counter(_ name: String, _ help: String, _ labels: [(String, String)] = []) -> Counter {
      registry.counter("gpu_telemetry_collector_" + name, help: help, labels: labels)
    }
    func gauge(_ name: String, _ help: String) -> Gauge {
      registry.gauge("gpu_telemetry_collector_" + name, help: help)
    }
    messagesReceived = counter("messages_received_total", "Records read from the log, set definitions included.")
    messagesFlushed = counter("messages_flushed_total", "Records whose content the store has taken in.")
    messagesInvalid = counter(
      "messages_dropped_invalid_total", "Records that could not be read and went to dead letters.")
    flushErrors = counter("flush_errors_total", "Failed attempts to hand records to the store.")
    readErrors = counter("read_errors_total", "Failed attempts to read from the log.")
    backlog = gauge("backlog", "Records in the log that the store has not taken in yet.")
    flushLatency = registry.histogram(
      "gpu_telemetry_collector_flush_latency_seconds", help: "Time that the store takes for a batch.")
    bytesReceived = counter("bytes_received_total", "Bytes of the record batches read from the log.")
    samplesFlushed = counter("samples_flushed_total", "Samples that the store has accepted.")
    let rejected = "Samples that the store did not accept by reason."
    samplesOverSeriesLimit = counter("samples_rejected_total", rejected, [("reason", "series_limit")])
    samplesTooOld = counter("samples_rejected_total", rejected, [("reason", "too_old")])
    recordsSkipped = counter("records_skipped_total", "Records that the store had taken in before.")
    setsSeen = counter("sets_seen_total", "Series sets read, repeated copies included.")
    setsFetched = counter("sets_fetched_total", "Series sets fetched from the offset that a scrape names.")
    recordsParked = counter("records_parked_total", "Records that had to wait for a copy of their series set.")
    parked = gauge("parked_records", "Records that wait for a copy of their series set now.")
    deadLetters = counter("dead_letters_total", "Records written to the topic of dead letters.")
    deadLettersFailed = counter("dead_letters_failed_total", "Dead letters that the log refused for good.")
    recordsLost = counter("records_lost_total", "Records that were gone from the log before they were read.")
    positionsAhead = counter("positions_ahead_total", "Times that the log ended before the store's position.")
  }
}
