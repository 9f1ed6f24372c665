import ApusIO
import ApusModel

/// One sample as JSON and the CSV write it: the twelve fields of `TelemetryField`. For people, the REST API and small
/// requests; bulk goes through `TelemetryJSONReader` and `CSVReader`, which build no object a sample.
package struct TelemetryObject: Hashable, Sendable {
  /// Nil when the object does not say; its receiver then takes the time of arrival.
  package var timestamp: Timestamp?
  package var metricName = ""
  package var gpuID = ""
  package var device = ""
  package var uuid = ""
  package var modelName = ""
  package var hostname = ""
  package var container = ""
  package var pod = ""
  package var namespace = ""
  package var value: Double
  /// All labels as `name="value"` pairs joined by commas.
  package var labelsRaw = ""

  package init(timestamp: Timestamp?, metricName: String, gpuID: String, value: Double) {
    self.timestamp = timestamp
    self.metricName = metricName
    self.gpuID = gpuID
    self.value = value
  }

  /// A stored sample as an object. Every generation of label names is understood (`TelemetryField.labelsRead`); all of
  /// the labels stand in `labelsRaw`, under their own names.
  package init(labels: Labels, timestamp: Timestamp, value: Double) {
    self.timestamp = timestamp
    self.value = value
    for field in TelemetryField.allCases where field.label != nil { self[field] = labels.text(of: field) }
    labelsRaw = LabelsText.format(labels)
  }

  /// The text of one field; empty for the timestamp and the value, which are none.
  package subscript(field: TelemetryField) -> String {
    get {
      switch field {
      case .timestamp, .value: ""
      case .metricName: metricName
      case .gpuID: gpuID
      case .device: device
      case .uuid: uuid
      case .modelName: modelName
      case .hostname: hostname
      case .container: container
      case .pod: pod
      case .namespace: namespace
      case .labelsRaw: labelsRaw
      }
    }
    set {
      switch field {
      case .timestamp, .value: break
      case .metricName: metricName = newValue
      case .gpuID: gpuID = newValue
      case .device: device = newValue
      case .uuid: uuid = newValue
      case .modelName: modelName = newValue
      case .hostname: hostname = newValue
      case .container: container = newValue
      case .pod: pod = newValue
      case .namespace: namespace = newValue
      case .labelsRaw: labelsRaw = newValue
      }
    }
  }

  /// The labels of the series that the sample belongs to: the union of the fields and `labelsRaw`. Fields win, empty
  /// ones are dropped, the metric's name is `__name__`.
  package func labels() throws(TelemetryProblem) -> Labels {
    if gpuID.isEmpty { throw .missingGPU }
    var builder = try LabelsText.parse(labelsRaw)
    for field in TelemetryField.allCases {
      let text = self[field]
      if let label = field.label, !text.isEmpty { builder.set(label, text) }
    }
    let labels = builder.finish()
    if labels.metricName.isEmpty { throw .missingMetricName }
    try LabelsText.checkLimits(labels)
    return labels
  }
}

extension Labels {
  /// A field of a telemetry object out of a stored series, under whichever of its names is there; empty when none is.
  package func text(of field: TelemetryField) -> String {
    for label in field.labelsRead {
      if let value = self[label] { return value }
    }
    if field == .hostname, let instance = self["instance"] { return Labels.host(ofInstance: instance) }
    return ""
  }

  /// The host part of `host:port` or `[v6]:port`.
  package static func host(ofInstance instance: String) -> String {
    if instance.hasPrefix("["), let end = instance.firstIndex(of: "]") {
      return String(instance[instance.index(after: instance.startIndex)..<end])
    }
    guard let colon = instance.lastIndex(of: ":"), instance.firstIndex(of: ":") == colon else { return instance }
    return String(instance[..<colon])
  }
}
