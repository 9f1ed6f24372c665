import ApusFormats
import ApusModel

extension FuzzTarget {
  /// The input is a run of messages parted by zero bytes. The bulk reader, which remembers, must give what the plain
  /// one gives; what was read must read the same once it is written.
  static let telemetryJSON = FuzzTarget("telemetry-json", bytesMax: 4096) { bytes in
    var reader = TelemetryJSONReader(seriesMax: 8, errorsListedMax: 1000)
    let now = Timestamp(milliseconds: 7)
    for message in bytes.split(separator: 0) {
      let message = UnsafeRawBufferPointer(rebasing: message)
      var plain: TelemetryJSON.Decoded?
      var refusal: FormatError?
      do throws(FormatError) { plain = try TelemetryJSON.decode(message) } catch { refusal = error }
      do throws(FormatError) {
        try reader.read(message, now: now)
        precondition(refusal == nil, "only one reader refused: \(refusal.map(String.init(describing:)) ?? "")")
      } catch {
        precondition(refusal == error, "\(error) and \(refusal.map(String.init(describing:)) ?? "nothing")")
      }
      let batch = reader.take()
      var expected: [Sample: Int] = [:]
      for object in plain?.objects ?? [] {
        guard let labels = try? object.labels() else { preconditionFailure("an object without labels was taken") }
        checkLabels(labels)
        let sample = Sample(
          labels: labels, timestamp: (object.timestamp ?? now).milliseconds, bits: object.value.bitPattern)
        expected[sample, default: 0] += 1
      }
      precondition(counted([], batch.samples) == expected, "the samples differ")
      precondition(batch.errors == plain?.errors ?? [], "the errors differ")
      guard let objects = plain?.objects, !objects.isEmpty else { continue }
      guard let back = try? TelemetryJSON.decode(TelemetryJSON.encode(objects)).objects else {
        preconditionFailure("what was written cannot be read")
      }
      for (left, right) in zip(objects, back) {
        // Times outside of the years 0 to 9999 cannot be written as RFC 3339.
        let isNear = left.timestamp.map { abs($0.milliseconds) < 200_000_000_000_000 } ?? true
        precondition(left.labelsRaw == right.labelsRaw && left.metricName == right.metricName, "texts differ")
        precondition(!isNear || left.timestamp.map(clamped) == right.timestamp.map(clamped), "times differ")
      }
    }
  }

  private static func clamped(_ timestamp: Timestamp) -> Int64 {
    min(max(timestamp.milliseconds, -62_167_219_200_000), 253_402_300_799_999)
  }
}
