import ApusModel

/// The metrics that a simulated node reports: the counters that dcgm-exporter has switched on from the start, without
/// the profiling ones, in ascending order of their DCGM field id, which is the order in which it prints them.
package enum SimulatedMetric: Int, CaseIterable, Sendable {
  case smClock
  case memoryClock
  case memoryTemperature
  case gpuTemperature
  case powerUsage
  case totalEnergy
  case pcieReplays
  case gpuUtilization
  case memoryCopyUtilization
  case encoderUtilization
  case decoderUtilization
  case xid
  case framebufferFree
  case framebufferUsed
  case framebufferReserved
  case uncorrectableRemappedRows
  case correctableRemappedRows
  case rowRemapFailure
  case nvlinkBandwidth
  case vgpuLicense

  /// Name, type, unit and help of each metric, in the order of the cases.
  package static let descriptors: [MetricDescriptor] = [
    describe("DCGM_FI_DEV_SM_CLOCK", .gauge, "Clock of the streaming multiprocessors in MHz."),
    describe("DCGM_FI_DEV_MEM_CLOCK", .gauge, "Clock of the memory in MHz."),
    describe("DCGM_FI_DEV_MEMORY_TEMP", .gauge, "Temperature of the memory in degrees Celsius."),
    describe("DCGM_FI_DEV_GPU_TEMP", .gauge, "Temperature of the GPU in degrees Celsius."),
    describe("DCGM_FI_DEV_POWER_USAGE", .gauge, "Power draw of the board in watts."),
    describe("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", .counter, "Energy used since the driver was loaded in mJ."),
    describe("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", .counter, "Number of PCIe link-layer retries."),
    describe("DCGM_FI_DEV_GPU_UTIL", .gauge, "Share of time with a kernel running in percent."),
    describe("DCGM_FI_DEV_MEM_COPY_UTIL", .gauge, "Share of time with memory traffic in percent."),
    describe("DCGM_FI_DEV_ENC_UTIL", .gauge, "Utilization of the video encoder in percent."),
    describe("DCGM_FI_DEV_DEC_UTIL", .gauge, "Utilization of the video decoder in percent."),
    describe("DCGM_FI_DEV_XID_ERRORS", .gauge, "Code of the last XID error."),
    describe("DCGM_FI_DEV_FB_FREE", .gauge, "Free framebuffer memory in MiB."),
    describe("DCGM_FI_DEV_FB_USED", .gauge, "Used framebuffer memory in MiB."),
    describe("DCGM_FI_DEV_FB_RESERVED", .gauge, "Framebuffer memory held by the driver in MiB."),
    describe(
      "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", .counter, "Number of rows remapped after uncorrectable errors."),
    describe("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", .counter, "Number of rows remapped after correctable errors."),
    describe("DCGM_FI_DEV_ROW_REMAP_FAILURE", .gauge, "Whether remapping of a row has failed."),
    describe("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", .counter, "Traffic over all NVLink lanes in MB."),
    describe("DCGM_FI_DEV_VGPU_LICENSE_STATUS", .gauge, "Whether a vGPU license is held."),
  ]

  package var descriptor: MetricDescriptor { SimulatedMetric.descriptors[rawValue] }

  package static let count = allCases.count

  private static func describe(_ name: String, _ kind: MetricDescriptor.Kind, _ help: String) -> MetricDescriptor {
    MetricDescriptor(name: name, kind: kind, help: help)
  }
}
