/// Bounds on what comes from outside, shared by all formats. They keep a broken or hostile input from taking memory out
/// of proportion; none is near what real telemetry needs.
package enum FormatLimits {
  /// Series in a set, and in a record of the per-series lane.
  package static let seriesPerSet = 1_000_000
  package static let labelsPerSeries = 128
  package static let labelNameBytes = 1024
  package static let labelValueBytes = 64 * 1024
  /// All labels of a set, or of a record of the per-series lane, as they lie in memory.
  package static let labelBytesPerSet = 256 * 1024 * 1024
  package static let descriptorsPerSet = 100_000
  package static let helpBytes = 64 * 1024
  package static let unitBytes = 1024
}
