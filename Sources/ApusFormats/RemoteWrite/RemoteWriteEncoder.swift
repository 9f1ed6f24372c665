import ApusIO
import ApusModel

/// Writes remote write 1.0 requests, for stores that take them. Keeps its buffers from one request to the next.
package struct RemoteWriteEncoder {
  private var writer = ProtobufWriter()

  package init() {}

  /// The protocol buffer of one request: `prometheus.WriteRequest`.
  package mutating func encode(_ series: [SeriesSamples], descriptors: [MetricDescriptor] = []) -> [UInt8] {
    write(series, descriptors)
    return writer.bytes
  }

  /// The body of one request, Snappy and all.
  package mutating func encodeCompressed(
    _ series: [SeriesSamples], descriptors: [MetricDescriptor] = []
  ) -> [UInt8] {
    write(series, descriptors)
    var body: [UInt8] = []
    writer.bytes.withUnsafeBytes { Snappy.compress($0, appendingTo: &body) }
    return body
  }

  private mutating func write(_ series: [SeriesSamples], _ descriptors: [MetricDescriptor]) {
    writer.removeAll()
    for one in series {
      var size = 0
      one.labels.forEach { name, value in
        size += ProtobufWriter.dataBytes(RemoteWriteEncoder.labelBytes(name.count, value.count))
      }
      for index in one.timestamps.indices {
        size += ProtobufWriter.dataBytes(RemoteWriteEncoder.sampleBytes(one.timestamps[index], one.values[index]))
      }
      writer.messageHead(count: size, field: 1)
      one.labels.forEach { name, value in
        writer.messageHead(count: RemoteWriteEncoder.labelBytes(name.count, value.count), field: 1)
        writer.data(name, field: 1)
        writer.data(value, field: 2)
      }
      for index in one.timestamps.indices { write(one.timestamps[index], one.values[index]) }
    }
    for descriptor in descriptors {
      writer.message(field: 3) { inner in
        let type = RemoteWriteEncoder.type(descriptor.kind)
        if type != 0 { inner.varint(type, field: 1) }
        inner.string(descriptor.name, field: 2)
        if !descriptor.help.isEmpty { inner.string(descriptor.help, field: 4) }
        if !descriptor.unit.isEmpty { inner.string(descriptor.unit, field: 5) }
      }
    }
  }

  private mutating func write(_ timestamp: Int64, _ value: Double) {
    writer.messageHead(count: RemoteWriteEncoder.sampleBytes(timestamp, value), field: 2)
    // Left out where all bits are zero, as protocol buffers have it; -0 is written.
    if value.bitPattern != 0 { writer.double(value, field: 1) }
    if timestamp != 0 { writer.int64(timestamp, field: 2) }
  }

  private static func labelBytes(_ name: Int, _ value: Int) -> Int {
    ProtobufWriter.dataBytes(name) + ProtobufWriter.dataBytes(value)
  }

  private static func sampleBytes(_ timestamp: Int64, _ value: Double) -> Int {
    (value.bitPattern != 0 ? 9 : 0)
      + (timestamp != 0 ? 1 + ProtobufWriter.varintBytes(UInt64(bitPattern: timestamp)) : 0)
  }

  private static func type(_ kind: MetricDescriptor.Kind) -> UInt64 {
    switch kind {
    case .unknown: 0
    case .counter: 1
    case .gauge: 2
    case .histogram: 3
    case .gaugehistogram: 4
    case .summary: 5
    case .info: 6
    case .stateset: 7
    }
  }
}
