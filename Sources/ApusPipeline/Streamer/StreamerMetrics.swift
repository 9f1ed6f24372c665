import ApusService

/// Every instrument of a streamer.
package struct StreamerMetrics: Sendable {
  let rowsIngested: Counter
  let itemsPublished: Counter
  let samplesPublished: Counter
  let bytesPublished: Counter
  let backpressure: Counter
  let sourceErrors: Counter
  let publishErrors: Counter
  let spoolErrors: Counter
  let batchPending: Gauge
  let publishLatency: Histogram
  let droppedBufferFull: Counter
  let droppedSpoolFull: Counter
  let droppedTooLarge: Counter
  let droppedRefused: Counter
  let droppedShutdown: Counter
  let rowsInvalid: Counter
  let rowsWithoutGPU: Counter
  let reconnects: Counter
  let producerRegistrations: Counter
  let duplicates: Counter
  let staleMarkers: Counter
  let setChanges: Gauge
  let spoolRecords: Gauge

  package init(_ registry: MetricsRegistry) {
    func counter(_ name: String, _ help: String, _ labels: [(String, String)] = []) -> Counter {
      registry.counter("gpu_telemetry_streamer_" + name, help: help, labels: labels)
    }
    func gauge(_ name: String, _ help: String) -> Gauge {
      registry.gauge("gpu_telemetry_streamer_" + name, help: help)
    }
    rowsIngested = counter("rows_ingested_total", "Rows or samples read from the sources, invalid ones included.")
    itemsPublished = counter("items_published_total", "Records acknowledged by the log, set definitions not counted.")
    samplesPublished = counter("samples_published_total", "Samples acknowledged by the log.")
    bytesPublished = counter("bytes_published_total", "Bytes of the record batches acknowledged by the log.")
    backpressure = counter("backpressure_total", "Times that a source had to wait or the log asked to wait.")
    let errorsHelp = "Failed attempts by kind."
    sourceErrors = counter("errors_total", errorsHelp, [("kind", "source")])
    publishErrors = counter("errors_total", errorsHelp, [("kind", "publish")])
    spoolErrors = counter("errors_total", errorsHelp, [("kind", "spool")])
    batchPending = gauge("batch_pending", "Items collected and not yet acknowledged.")
    publishLatency = registry.histogram(
      "gpu_telemetry_streamer_publish_latency_seconds", help: "From collecting an item to its acknowledgement.")
    let droppedHelp = "Samples given up by reason."
    droppedBufferFull = counter("dropped_samples_total", droppedHelp, [("reason", "buffer_full")])
    droppedTooLarge = counter("dropped_samples_total", droppedHelp, [("reason", "too_large")])
    droppedShutdown = counter("dropped_samples_total", droppedHelp, [("reason", "shutdown")])
    let droppedRecordsHelp = "Records given up by reason."
    droppedSpoolFull = counter("dropped_records_total", droppedRecordsHelp, [("reason", "spool_full")])
    droppedRefused = counter("dropped_records_total", droppedRecordsHelp, [("reason", "refused")])
    let invalidHelp = "Rows skipped by reason."
    rowsInvalid = counter("rows_skipped_total", invalidHelp, [("reason", "invalid")])
    rowsWithoutGPU = counter("rows_skipped_total", invalidHelp, [("reason", "no_gpu")])
    reconnects = counter("reconnects_total", "Times that the log answered again after it could not be reached.")
    producerRegistrations = counter("producer_registrations_total", "Identities asked for as an idempotent producer.")
    duplicates = counter("duplicates_total", "Batches that the log had already: repeats after a lost answer.")
    staleMarkers = counter(
      "stale_markers_total", "Markers written for series that a source reported in one round and not in the next.")
    setChanges = gauge("set_changes", "Changes of the list of series of a host since the start.")
    spoolRecords = gauge("spool_records", "Records in the spool that wait for the log.")
  }
}
