import ApusModel

/// `prometheus.WriteRequest` (proto/prometheus/remote_write_1.proto).
extension RemoteWriteDecoder {
  /// The head of a `TimeSeries`' first field, its labels: number 1, bytes.
  private static let labelTag: UInt8 = 0x0a

  mutating func decodeV1(_ body: UnsafeRawBufferPointer) throws(FormatError) {
    var request = ProtobufReader(body)
    while let field = try request.next() {
      switch field.number {
      case 1: try decodeSeriesV1(try request.message(field))
      case 3: try decodeMetadataV1(try request.message(field))
      default: try request.skip(field)
      }
    }
  }

  /// The labels stand together at the beginning in all that senders write. They are taken as one run of bytes, which the
  /// cache knows from the last request; the wire format would allow them anywhere, so a later one starts over.
  private mutating func decodeSeriesV1(_ message: ProtobufReader) throws(FormatError) {
    seriesSeen += 1
    var rest = message
    let bytes = message.bytes
    let first = message.position
    var entry = cache.guess
    if entry >= 0 {
      let end = cache.prefixEnd(entry, in: bytes, at: first)
      if end >= 0, end <= message.end, end == message.end || bytes[end] != RemoteWriteDecoder.labelTag {
        rest.resume(at: end)
      } else {
        entry = -1
      }
    }
    if entry < 0 {
      while !rest.isAtEnd, bytes[rest.position] == RemoteWriteDecoder.labelTag, let field = try rest.next() {
        try rest.skip(field)
      }
      let key = SeriesCache.Key(
        prefix: UnsafeRawBufferPointer(rebasing: bytes[first..<rest.position]),
        suffix: UnsafeRawBufferPointer(start: nil, count: 0))
      entry = cache.find(key)
      if entry < 0 {
        let labels: Labels
        do throws(SeriesFailure) { labels = try labelsV1(message, until: rest.position) } catch {
          switch error {
          case .problem(let problem): return try refuseV1(problem, message)
          case .format(let error): throw error
          }
        }
        entry = cache.insert(key, labels)
        if entry < 0 { return try decodeSamplesV1(rest, message, try addSeries(labels)) }
      }
    }
    try decodeSamplesV1(rest, message, try series(of: entry))
  }

  private mutating func decodeSamplesV1(
    _ rest: ProtobufReader, _ message: ProtobufReader, _ series: Int32
  ) throws(FormatError) {
    var rest = rest
    let samplesBefore = collector.sampleCount
    var hasHistograms = false
    while let field = try rest.next() {
      switch field.number {
      case 1:
        collector.truncate(toSamples: samplesBefore)
        return try decodeScatteredV1(message)
      case 2: _ = try addSample(try rest.message(field), to: series)
      case 3:
        batch.skipped.exemplars += 1
        try rest.skip(field)
      case 4:
        hasHistograms = true
        batch.skipped.histograms += 1
        try rest.skip(field)
      default: try rest.skip(field)
      }
    }
    if hasHistograms { batch.problems.add(.nativeHistogram, at: seriesSeen) }
  }

  /// A series whose labels do not stand together; never cached.
  private mutating func decodeScatteredV1(_ message: ProtobufReader) throws(FormatError) {
    let labels: Labels
    do throws(SeriesFailure) { labels = try labelsV1(message, until: message.end) } catch {
      switch error {
      case .problem(let problem): return try refuseV1(problem, message)
      case .format(let error): throw error
      }
    }
    let series = try addSeries(labels)
    var fields = message
    while let field = try fields.next() {
      if field.number == 2 {
        _ = try addSample(try fields.message(field), to: series)
      } else {
        try fields.skip(field)
      }
    }
  }

  private mutating func labelsV1(_ message: ProtobufReader, until end: Int) throws(SeriesFailure) -> Labels {
    assembly.removeAll()
    do throws(FormatError) {
      var fields = message
      while fields.position < end, let field = try fields.next() {
        guard field.number == 1 else {
          try fields.skip(field)
          continue
        }
        var label = try fields.message(field)
        var name = UnsafeRawBufferPointer(start: nil, count: 0)
        var value = UnsafeRawBufferPointer(start: nil, count: 0)
        while let part = try label.next() {
          switch part.number {
          case 1: name = try label.data(part)
          case 2: value = try label.data(part)
          default: try label.skip(part)
          }
        }
        assembly.add(name: name, value: value)
      }
      try countLabelBytes(end - message.position)
    } catch { throw .format(error) }
    do throws(IngestProblem) { return try assembly.finish(strictness) } catch { throw .problem(error) }
  }

  /// Tells the problem and checks that the rest of the series can be read.
  private mutating func refuseV1(_ problem: IngestProblem, _ message: ProtobufReader) throws(FormatError) {
    batch.problems.add(problem, at: seriesSeen)
    var fields = message
    while let field = try fields.next() { try fields.skip(field) }
  }

  private mutating func decodeMetadataV1(_ message: ProtobufReader) throws(FormatError) {
    var fields = message
    var descriptor = MetricDescriptor(name: "", kind: .unknown)
    while let field = try fields.next() {
      switch field.number {
      case 1: descriptor.kind = RemoteWriteDecoder.kind(try fields.varint(field))
      case 2:
        descriptor.name =
          RemoteWriteDecoder.text(try fields.data(field), max: FormatLimits.labelValueBytes) ?? ""
      case 4: descriptor.help = RemoteWriteDecoder.text(try fields.data(field), max: FormatLimits.helpBytes) ?? ""
      case 5: descriptor.unit = RemoteWriteDecoder.text(try fields.data(field), max: FormatLimits.unitBytes) ?? ""
      default: try fields.skip(field)
      }
    }
    if !descriptor.name.isEmpty, batch.descriptors.count < FormatLimits.descriptorsPerSet {
      batch.descriptors.append(descriptor)
    }
  }
}
