import ApusBroker
import ApusService

/// Every instrument of the broker's doors (docs/reference/metrics.md).
package struct BrokerMetrics: Sendable {
  package let messagesEnqueued: Counter
  package let bytesEnqueued: Counter
  package let duplicates: Counter
  package let messagesDelivered: Counter
  package let bytesDelivered: Counter
  package let backpressureEvents: Counter
  package let queueDepth: Gauge
  package let subscribers: Gauge
  package let connections: Gauge
  package let connectionsAccepted: Counter
  package let connectionsRefused: Counter
  package let stalledReaders: Counter
  package let publishLatency: Histogram
  private let registry: MetricsRegistry

  /// - Parameter log: the embedded log behind the doors. It counts what comes past them too, such as what a streamer in
  ///   the same process appends; without it the doors' own numbers are shown.
  package init(_ registry: MetricsRegistry, log: (@Sendable () -> LogStatistics)? = nil) {
    self.registry = registry
    func counter(_ name: String, _ help: String) -> Counter {
      registry.counter("gpu_telemetry_broker_\(name)", help: help)
    }
    func gauge(_ name: String, _ help: String) -> Gauge { registry.gauge("gpu_telemetry_broker_\(name)", help: help) }
    let (enqueued, bytes, repeated) = (Counter(), Counter(), Counter())
    (messagesEnqueued, bytesEnqueued, duplicates) = (enqueued, bytes, repeated)
    messagesDelivered = counter("messages_delivered_total", "Messages sent to subscribers.")
    bytesDelivered = counter("bytes_delivered_total", "Bytes of frames sent to subscribers.")
    let heldUp = Counter()
    backpressureEvents = heldUp
    registry.collect {
      let statistics = log?()
      let totals = statistics?.totals
      func family(_ name: String, _ help: String, _ value: UInt64) -> MetricFamily {
        MetricFamily(.counter, name, help, Double(value))
      }
      return [
        family(
          "gpu_telemetry_broker_messages_enqueued_total", "Messages appended to the log for producers.",
          totals.map { UInt64(clamping: $0.messagesAppended) } ?? enqueued.value),
        family(
          "gpu_telemetry_broker_bytes_enqueued_total", "Bytes of the record batches appended for producers.",
          totals.map { UInt64(clamping: $0.bytesAppended) } ?? bytes.value),
        family(
          "gpu_telemetry_broker_duplicate_messages_total",
          "Messages that a producer repeated and that were there already.",
          totals.map { UInt64(clamping: $0.duplicateMessages) } ?? repeated.value),
        family(
          "gpu_telemetry_broker_backpressure_events_total",
          "Times that a producer was held up: too many bytes in flight on its connection or not yet durable.",
          heldUp.value + UInt64(clamping: statistics?.backpressureEvents ?? 0)),
      ]
    }
    queueDepth = gauge("queue_depth", "Messages received from producers that are not yet answered.")
    subscribers = gauge("subscribers", "Subscriptions that are open, and topics followed by fetching.")
    connections = gauge("connections", "TCP connections that are open.")
    connectionsAccepted = counter("connections_accepted_total", "TCP connections accepted.")
    connectionsRefused = counter("connections_refused_total", "TCP connections refused because there were too many.")
    stalledReaders = counter(
      "stalled_readers_total", "TCP connections closed because the client did not take what was sent.")
    publishLatency = registry.histogram(
      "gpu_telemetry_broker_publish_latency_seconds",
      help: "Time from taking up publishes until the log has answered for them.")
  }

  /// Errors answered by code, for requests, subscriptions and connections alike.
  func countError(_ code: DoorErrorCode) {
    registry.counter(
      "gpu_telemetry_broker_errors_total", help: "Errors answered to clients, by code.",
      labels: [("code", code.rawValue)]
    ).add()
  }
}
