import ApusService
import ApusStore
import ServiceLifecycle

/// Shows the state of a store in `/metrics`. A store may be another process's, so it is asked now and then and not
/// while somebody waits for the page.
struct StoreMetricsPart: Service {
  static let interval = Duration.seconds(5)

  private let store: any Store
  private let seriesInHead: Gauge
  private let samplesInHead: Gauge
  private let headBytes: Gauge
  private let blocks: Gauge
  private let samplesInBlocks: Gauge
  private let diskBytes: Gauge
  private let metrics: MetricsRegistry
  private let newestSample: Gauge
  private let seriesRejected: Gauge
  private let samplesOutOfOrder: Gauge
  private let samplesDuplicate: Gauge
  private let blocksQuarantined: Gauge
  private let rollupFiles: Gauge
  private let rollupBytes: Gauge
  private let rollupsMade: Gauge
  private let rollupAnswers: Gauge

  init(store: any Store, metrics: MetricsRegistry) {
    self.store = store
    self.metrics = metrics
    seriesInHead = metrics.gauge("gpu_telemetry_store_series_in_head", help: "Series with samples in memory.")
    samplesInHead = metrics.gauge("gpu_telemetry_store_samples_in_head", help: "Samples that are not in a block yet.")
    headBytes = metrics.gauge("gpu_telemetry_store_head_bytes", help: "Memory of the samples not in a block yet.")
    blocks = metrics.gauge("gpu_telemetry_store_blocks", help: "Blocks on disk.")
    samplesInBlocks = metrics.gauge("gpu_telemetry_store_samples_in_blocks", help: "Samples in blocks.")
    diskBytes = metrics.gauge("gpu_telemetry_store_disk_bytes", help: "Bytes of the store's files.")
    newestSample = metrics.gauge(
      "gpu_telemetry_store_newest_sample_timestamp_seconds", help: "Time of the newest sample, since 1970.")
    seriesRejected = metrics.gauge(
      "gpu_telemetry_store_series_rejected", help: "New series refused because of the series limit.")
    samplesOutOfOrder = metrics.gauge(
      "gpu_telemetry_store_samples_out_of_order", help: "Samples that came after later ones of their series.")
    samplesDuplicate = metrics.gauge(
      "gpu_telemetry_store_samples_duplicate", help: "Samples that replaced another of the same series and instant.")
    blocksQuarantined = metrics.gauge(
      "gpu_telemetry_store_blocks_quarantined", help: "Blocks set aside because their bytes did not check.")
    rollupFiles = metrics.gauge("gpu_telemetry_store_rollup_files", help: "Files of roll-ups on disk.")
    rollupBytes = metrics.gauge("gpu_telemetry_store_rollup_bytes", help: "Bytes of the roll-ups' files.")
    rollupsMade = metrics.gauge(
      "gpu_telemetry_store_rollup_files_written", help: "Files of roll-ups written since the start.")
    rollupAnswers = metrics.gauge(
      "gpu_telemetry_store_rollup_answers", help: "Answers with a part from roll-ups since the start.")
  }

  func run() async throws {
    // Waiting for the end and for the next turn at once: the turn ends early when the role stops.
    try? await cancelWhenGracefulShutdown {
      while !Task.isCancelled {
        await refresh()
        try await Task.sleep(for: StoreMetricsPart.interval)
      }
    }
  }

  private func refresh() async {
    guard let statistics = try? await store.statistics() else { return }
    seriesInHead.set(Double(statistics.seriesInHead))
    samplesInHead.set(Double(statistics.samplesInHead))
    headBytes.set(Double(statistics.headBytes))
    blocks.set(Double(statistics.blocks))
    samplesInBlocks.set(Double(statistics.samplesInBlocks))
    diskBytes.set(Double(statistics.bytesOnDisk))
    for (part, bytes) in statistics.bytesByPart {
      metrics.gauge(
        "gpu_telemetry_store_part_bytes", help: "Bytes of the store's files by part.", labels: [("part", part)]
      ).set(Double(bytes))
    }
    if let newest = statistics.newestSample { newestSample.set(Double(newest.milliseconds) / 1000) }
    seriesRejected.set(Double(statistics.seriesRejected))
    samplesOutOfOrder.set(Double(statistics.samplesOutOfOrder))
    samplesDuplicate.set(Double(statistics.samplesDuplicate))
    blocksQuarantined.set(Double(statistics.blocksQuarantined))
    rollupFiles.set(Double(statistics.rollups))
    rollupBytes.set(Double(statistics.bytesByPart["rollups"] ?? 0))
    rollupsMade.set(Double(statistics.rollupsMade))
    rollupAnswers.set(Double(statistics.rollupAnswers))
  }
}

extension Assembly {
  func storeMetrics(_ store: any Store) -> ServicePart {
    ServicePart(
      "store-metrics", StoreMetricsPart(store: store, metrics: metrics), whenFinished: .keepOthersRunning)
  }
}
