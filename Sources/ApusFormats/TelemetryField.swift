/// The twelve fields of a telemetry object and columns of the CSV, in the order in which they are written.
package enum TelemetryField: Int, Hashable, Sendable, CaseIterable {
  case timestamp = 0
  case metricName
  case gpuID
  case device
  case uuid
  case modelName
  case hostname
  case container
  case pod
  case namespace
  case value
  case labelsRaw

  /// How the field is called in JSON and in the CSV's header.
  package var name: String {
    switch self {
    case .timestamp: "timestamp"
    case .metricName: "metric_name"
    case .gpuID: "gpu_id"
    case .device: "device"
    case .uuid: "uuid"
    case .modelName: "modelName"
    case .hostname: "Hostname"
    case .container: "container"
    case .pod: "pod"
    case .namespace: "namespace"
    case .value: "value"
    case .labelsRaw: "labels_raw"
    }
  }

  /// The label of a stored series that holds the field, as dcgm-exporter names it; nil for what is not a label.
  package var label: String? {
    switch self {
    case .timestamp, .value, .labelsRaw: nil
    case .metricName: "__name__"
    case .gpuID: "gpu"
    case .device: "device"
    case .uuid: "UUID"
    case .modelName: "modelName"
    case .hostname: "Hostname"
    case .container: "container"
    case .pod: "pod"
    case .namespace: "namespace"
    }
  }

  /// The labels in which the field may be found in a stored series, the best first: other generations of exporters, and
  /// a Prometheus server in between, have other names for it.
  package var labelsRead: [String] {
    switch self {
    case .timestamp, .value, .labelsRaw: []
    case .metricName: ["__name__"]
    case .gpuID: ["gpu"]
    case .device: ["device"]
    case .uuid: ["UUID", "uuid", "gpu_uuid"]
    case .modelName: ["modelName", "model_name"]
    case .hostname: ["Hostname", "hostname", "node"]
    case .container: ["exported_container", "container", "container_name"]
    case .pod: ["exported_pod", "pod", "pod_name"]
    case .namespace: ["exported_namespace", "namespace", "pod_namespace"]
    }
  }
}
