import ApusModel

/// `io.prometheus.write.v2.Request` (proto/prometheus/remote_write_2.proto).
extension RemoteWriteDecoder {
  /// More than any request of a million series needs, for their number of names and values.
  static let symbolsMax = 4_000_000

  mutating func decodeV2(_ body: UnsafeRawBufferPointer) throws(FormatError) {
    try readSymbols(body)
    var request = ProtobufReader(body)
    while let field = try request.next() {
      if field.number == 5 {
        try decodeSeriesV2(try request.message(field))
      } else {
        try request.skip(field)
      }
    }
  }

  /// The table comes first in all that senders write, but the wire format does not demand it.
  private mutating func readSymbols(_ body: UnsafeRawBufferPointer) throws(FormatError) {
    symbols.removeAll(keepingCapacity: true)
    describedNames.removeAll(keepingCapacity: true)
    var request = ProtobufReader(body)
    while let field = try request.next() {
      guard field.number == 4 else {
        try request.skip(field)
        continue
      }
      let symbol = try request.range(field)
      if symbols.isEmpty, !symbol.isEmpty { throw .protobuf(.firstSymbolNotEmpty, offset: symbol.lowerBound) }
      guard symbols.count < RemoteWriteDecoder.symbolsMax else {
        throw .tooMany(.symbols, limit: RemoteWriteDecoder.symbolsMax)
      }
      symbols.append(symbol)
    }
    describedNames.append(contentsOf: repeatElement(false, count: symbols.count))
  }

  /// Samples may stand before the labels that they belong to, so the labels are looked for first.
  private mutating func decodeSeriesV2(_ message: ProtobufReader) throws(FormatError) {
    seriesSeen += 1
    references.removeAll(keepingCapacity: true)
    var fields = message
    var firstOther: Int? = nil
    while true {
      let place = fields.position
      guard let field = try fields.next() else { break }
      if field.number == 1 {
        try fields.varints(field) { reference throws(FormatError) in
          if references.count <= 2 * FormatLimits.labelsPerSeries {
            references.append(UInt32(truncatingIfNeeded: min(reference, UInt64(UInt32.max))))
          }
        }
      } else {
        if firstOther == nil { firstOther = place }
        try fields.skip(field)
      }
    }
    let series: Int32
    do throws(SeriesFailure) { series = try seriesV2(message) } catch {
      switch error {
      case .problem(let problem): return batch.problems.add(problem, at: seriesSeen)
      case .format(let error): throw error
      }
    }
    if let firstOther {
      var rest = message
      rest.resume(at: firstOther)
      try decodeContentV2(rest, series)
    }
  }

  /// The label set that the references spell, through the cache: symbols are numbered anew in each request, so the key is
  /// what they stand for.
  private mutating func seriesV2(_ message: ProtobufReader) throws(SeriesFailure) -> Int32 {
    guard references.count <= 2 * FormatLimits.labelsPerSeries else {
      throw .problem(.tooManyLabels(limit: FormatLimits.labelsPerSeries))
    }
    guard references.count.isMultiple(of: 2), references.allSatisfy({ Int($0) < symbols.count }) else {
      throw .problem(.invalidSymbol)
    }
    expanded.removeAll(keepingCapacity: true)
    for reference in references {
      let symbol = symbols[Int(reference)]
      // Checked here already: what is too long is not copied once for each series that names it.
      guard symbol.count <= FormatLimits.labelValueBytes else {
        throw .problem(.labelTooLong(limit: FormatLimits.labelValueBytes))
      }
      var length = symbol.count
      while length >= 0x80 {
        expanded.append(UInt8(truncatingIfNeeded: length) | 0x80)
        length >>= 7
      }
      expanded.append(UInt8(length))
      expanded.append(contentsOf: UnsafeRawBufferPointer(rebasing: message.bytes[symbol]))
    }
    do throws(FormatError) {
      try countLabelBytes(expanded.count)
      let entry = findExpanded()
      if entry >= 0 { return try series(of: entry) }
    } catch { throw .format(error) }
    assembly.removeAll()
    for index in stride(from: 0, to: references.count, by: 2) {
      assembly.add(
        name: UnsafeRawBufferPointer(rebasing: message.bytes[symbols[Int(references[index])]]),
        value: UnsafeRawBufferPointer(rebasing: message.bytes[symbols[Int(references[index + 1])]]))
    }
    let labels: Labels
    do throws(IngestProblem) { labels = try assembly.finish(strictness) } catch { throw .problem(error) }
    do throws(FormatError) {
      let entry = insertExpanded(labels)
      return entry < 0
        ? try addSeries(labels) : try series(of: entry)
    } catch { throw .format(error) }
  }

  private func findExpanded() -> Int {
    expanded.withUnsafeBytes {
      cache.find(SeriesCache.Key(prefix: $0, suffix: UnsafeRawBufferPointer(start: nil, count: 0)))
    }
  }

  private mutating func insertExpanded(_ labels: Labels) -> Int {
    let bytes = expanded
    return bytes.withUnsafeBytes {
      cache.insert(SeriesCache.Key(prefix: $0, suffix: UnsafeRawBufferPointer(start: nil, count: 0)), labels)
    }
  }

  private mutating func decodeContentV2(_ fields: ProtobufReader, _ series: Int32) throws(FormatError) {
    var fields = fields
    var hasHistograms = false
    var start: Int64 = 0
    while let field = try fields.next() {
      switch field.number {
      case 2:
        let told = try addSample(try fields.message(field), to: series)
        if told != 0 { start = told }
      case 3:
        hasHistograms = true
        batch.skipped.histograms += 1
        try fields.skip(field)
      case 4:
        batch.skipped.exemplars += 1
        try fields.skip(field)
      case 5: try decodeMetadataV2(try fields.message(field), series)
      // Where earlier drafts of 2.0 had it: once a series.
      case 6: start = Int64(bitPattern: try fields.varint(field))
      default: try fields.skip(field)
      }
    }
    if hasHistograms { batch.problems.add(.nativeHistogram, at: seriesSeen) }
    if start != 0 {
      batch.starts.append(IngestBatch.SeriesStart(labels: collector.labels(of: series), timestamp: start))
    }
  }

  /// 2.0 repeats the metadata with each series; one descriptor a metric is kept.
  private mutating func decodeMetadataV2(_ message: ProtobufReader, _ series: Int32) throws(FormatError) {
    var fields = message
    var kind = MetricDescriptor.Kind.unknown
    var help = 0
    var unit = 0
    while let field = try fields.next() {
      switch field.number {
      case 1: kind = RemoteWriteDecoder.kind(try fields.varint(field))
      case 3: help = Int(truncatingIfNeeded: try fields.varint(field))
      case 4: unit = Int(truncatingIfNeeded: try fields.varint(field))
      default: try fields.skip(field)
      }
    }
    guard kind != .unknown || help != 0 || unit != 0, let name = nameSymbol(message.bytes) else { return }
    guard !describedNames[name], batch.descriptors.count < FormatLimits.descriptorsPerSet else { return }
    describedNames[name] = true
    var descriptor = MetricDescriptor(name: collector.labels(of: series).metricName, kind: kind)
    if kind == .histogram || kind == .summary || kind == .gaugehistogram {
      descriptor.name = RemoteWriteDecoder.familyName(descriptor.name)
      if batch.descriptors.contains(where: { $0.name == descriptor.name }) { return }
    }
    descriptor.help = symbolText(help, message.bytes, max: FormatLimits.helpBytes)
    descriptor.unit = symbolText(unit, message.bytes, max: FormatLimits.unitBytes)
    batch.descriptors.append(descriptor)
  }

  /// The symbol of the metric's name in the series at hand.
  private func nameSymbol(_ bytes: UnsafeRawBufferPointer) -> Int? {
    for index in stride(from: 0, to: references.count, by: 2) {
      let symbol = bytes[symbols[Int(references[index])]]
      if symbol.elementsEqual(Labels.metricNameLabel.utf8) { return Int(references[index + 1]) }
    }
    return nil
  }

  private func symbolText(_ symbol: Int, _ bytes: UnsafeRawBufferPointer, max: Int) -> String {
    guard symbols.indices.contains(symbol) else { return "" }
    return RemoteWriteDecoder.text(UnsafeRawBufferPointer(rebasing: bytes[symbols[symbol]]), max: max) ?? ""
  }

  /// The name that a histogram's or summary's series share.
  private static func familyName(_ name: String) -> String {
    for suffix in ["_bucket", "_count", "_sum"] where name.hasSuffix(suffix) && name.utf8.count > suffix.utf8.count {
      return String(name.dropLast(suffix.count))
    }
    return name
  }
}
