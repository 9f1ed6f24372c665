import ApusFormats
import ApusModel
import ApusStore

/// The labels of a GPU beside those that name it.
enum GPULabels {
  static let model = TelemetryField.modelName.labelsRead
  static let device = TelemetryField.device.labelsRead
  static let instanceID = "GPU_I_ID"
}

/// A quantity that a GPU's row shows, and the metrics that carry it in the generations of exporters.
struct GPUQuantity: Sendable {
  /// The member of the row, with the unit.
  var name: String
  var text: String
  var metrics: [String]

  static let all: [GPUQuantity] = [
    GPUQuantity(
      name: "utilization_percent", text: "Share of time in which a kernel ran, 0 to 100.",
      metrics: ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO", "dcgm_gpu_utilization"]),
    GPUQuantity(
      name: "memory_copy_utilization_percent", text: "Share of time in which memory was read or written, 0 to 100.",
      metrics: ["DCGM_FI_DEV_MEM_COPY_UTIL", "dcgm_mem_copy_utilization"]),
    GPUQuantity(
      name: "temperature_celsius", text: "Temperature of the GPU's core.",
      metrics: ["DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS", "dcgm_gpu_temp"]),
    GPUQuantity(
      name: "memory_temperature_celsius", text: "Temperature of the GPU's memory.",
      metrics: ["DCGM_FI_DEV_MEMORY_TEMP", "DCGM_FI_DEV_MEMORY_TEMP_CELSIUS", "dcgm_memory_temp"]),
    GPUQuantity(
      name: "power_watts", text: "Power that the board draws.",
      metrics: ["DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS", "dcgm_power_usage"]),
    GPUQuantity(
      name: "memory_used_mebibytes", text: "Device memory in use.",
      metrics: ["DCGM_FI_DEV_FB_USED", "dcgm_fb_used"]),
    GPUQuantity(
      name: "memory_free_mebibytes", text: "Device memory that is free.",
      metrics: ["DCGM_FI_DEV_FB_FREE", "dcgm_fb_free"]),
    GPUQuantity(
      name: "sm_clock_megahertz", text: "Clock of the multiprocessors.",
      metrics: ["DCGM_FI_DEV_SM_CLOCK", "dcgm_sm_clock"]),
    GPUQuantity(
      name: "memory_clock_megahertz", text: "Clock of the memory.",
      metrics: ["DCGM_FI_DEV_MEM_CLOCK", "dcgm_memory_clock"]),
  ]

  private static let positions: [String: Int] = {
    var result: [String: Int] = [:]
    for (index, quantity) in all.enumerated() {
      for metric in quantity.metrics { result[metric] = index }
    }
    return result
  }()

  /// The newest value of each quantity among the newest samples of a GPU's series, those that ended left out. Of equally new ones the board's
  /// comes before a partition's, and then the first in the order of labels, so that the choice does not change.
  static func values(of samples: [NewestSample]) -> [(quantity: GPUQuantity, value: Double)] {
    var chosen: [Int: (timestamp: Int64, isPartition: Bool, value: Double)] = [:]
    for sample in samples where !sample.isEnded {
      guard let position = positions[sample.labels.metricName] else { continue }
      let (timestamp, value) = (sample.timestamp, sample.value)
      let isPartition = sample.labels[GPULabels.instanceID] != nil
      if let present = chosen[position] {
        if present.timestamp > timestamp { continue }
        if present.timestamp == timestamp, !present.isPartition || isPartition { continue }
      }
      chosen[position] = (timestamp, isPartition, value)
    }
    return all.indices.compactMap { index in chosen[index].map { (all[index], $0.value) } }
  }
}
