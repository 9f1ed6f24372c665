import ApusFormats
import ApusModel

extension FuzzTarget {
  /// The first byte says into pieces of which size the file is cut; the pieces must give what the whole gives, and the
  /// scrapes put together from the rows must hold each of them once.
  static let csv = FuzzTarget("csv", bytesMax: 4096) { bytes in
    guard let option = bytes.first else { return }
    let file = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
    var configuration = CSVReader.Configuration()
    configuration.rowBytesMax = 300
    if option & 1 != 0 { configuration.timestamps = .now }
    let (reader, whole) = read(file, configuration, piece: file.count + 1)
    let (other, pieces) = read(file, configuration, piece: 1 + Int(option >> 1))
    precondition(whole.series == pieces.series && whole.timestamps == pieces.timestamps, "the rows differ")
    precondition(whole.values.map(\.bitPattern) == pieces.values.map(\.bitPattern), "the values differ")
    precondition(whole.errors == pieces.errors && whole.errorCount == pieces.errorCount, "the errors differ")
    precondition(whole.ends == pieces.ends, "the offsets differ")
    if reader.failure == nil {
      precondition(reader.offset == Int64(file.count) && other.offset == reader.offset, "bytes were lost")
    }

    var assembler = CSVScrapeAssembler(rowsWaitingMax: 1 + Int(option))
    var output = CSVScrapeAssembler.Output()
    assembler.add(whole, 0..<whole.count, from: reader, into: &output)
    assembler.flush(from: reader, into: &output)
    var expected: [Sample: Int] = [:]
    for index in 0..<whole.count {
      let labels = reader.labels(of: whole.series[index])
      checkLabels(labels)
      let sample = Sample(labels: labels, timestamp: whole.timestamps[index], bits: whole.values[index].bitPattern)
      expected[sample, default: 0] += 1
    }
    let assembled = counted(output.scrapes.map(\.scrape), output.samples.map(\.samples))
    precondition(assembled == expected, "the scrapes do not hold the rows")
  }

  private static func read(
    _ file: UnsafeRawBufferPointer, _ configuration: CSVReader.Configuration, piece: Int
  ) -> (CSVReader, CSVRows) {
    var reader = CSVReader(configuration)
    var rows = CSVRows()
    let now = Timestamp(milliseconds: 1)
    var position = 0
    while position < file.count {
      let end = min(position + piece, file.count)
      reader.feed(UnsafeRawBufferPointer(rebasing: file[position..<end]), now: now, into: &rows)
      position = end
    }
    reader.finish(now: now, into: &rows)
    return (reader, rows)
  }
}
