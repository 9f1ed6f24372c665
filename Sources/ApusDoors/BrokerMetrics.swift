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

  /// - Parameter log: the embedded log behind the doors: what it counts of the same kind is added.
  package init(_ registry: MetricsRegistry, log: (@Sendable () -> LogStatistics)? = nil) {
    self.registry = registry
    func counter(_ name: String, _ help: String) -> Counter {
      registry.counter("gpu_telemetry_broker_\(name)", help: help)
    }
    func gauge(_ name: String, _ help: String) -> Gauge { registry.gauge("gpu_telemetry_broker_\(name)", help: help) }
    messagesEnqueued = counter("messages_enqueued_total", "Messages appended to the log for producers.")
    bytesEnqueued = counter("bytes_enqueued_total", "Bytes of the record batches appended for producers.")
    duplicates = counter("duplicate_messages_total", "Messages that a producer repeated and that were there already.")
    messagesDelivered = counter("messages_delivered_total", "Messages sent to subscribers.")
    bytesDelivered = counter("bytes_delivered_total", "Bytes of frames sent to subscribers.")
    let heldUp = Counter()
    backpressureEvents = heldUp
    registry.collect {
      let events = heldUp.value + UInt64(clamping: log?().backpressureEvents ?? 0)
      return [
        MetricFamily(
          .counter, "gpu_telemetry_broker_backpressure_events_total",
          "Times that a producer was held up: too many bytes in flight on its connection or not yet durable.",
          Double(events))
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
