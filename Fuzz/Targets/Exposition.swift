import ApusFormats
import ApusModel

extension FuzzTarget {
  /// The input is a run of pages of one source, parted by zero bytes; the first byte chooses format and options. A parser
  /// that remembers must give what one gives that does not.
  static let exposition = FuzzTarget("exposition", bytesMax: 4096) { bytes in
    guard let options = bytes.first else { return }
    var configuration = ExpositionParser.Configuration(format: options & 1 == 0 ? .text : .openMetrics)
    configuration.dropsBlanks = options & 2 != 0
    if options & 4 != 0 { configuration.lineBytesMax = 40 }
    if options & 8 != 0 { configuration.seriesMax = 3 }
    if options & 16 != 0 { configuration.extraLabels = [("instance", "a")] }
    configuration.cutsByHost = options & 32 != 0
    configuration.errorsListedMax = 1000
    var parser = ExpositionParser(configuration)
    for (number, page) in bytes.dropFirst().split(separator: 0, omittingEmptySubsequences: false).enumerated() {
      let page = UnsafeRawBufferPointer(rebasing: page)
      let now = Timestamp(milliseconds: Int64(number))
      let known = parser.parse(page, now: now)
      var fresh = ExpositionParser(configuration)
      let anew = fresh.parse(page, now: now)
      precondition(known.errors == anew.errors, "\(known.errors) and \(anew.errors)")
      precondition(known.errorCount == anew.errorCount && known.blankCount == anew.blankCount)
      precondition(known.hosts.count == (configuration.cutsByHost ? known.scrapes.count : 0))
      let samples = counted(known.scrapes, known.samples)
      precondition(samples == counted(anew.scrapes, anew.samples), "the samples differ on page \(number)")
      precondition(known.sampleCount == samples.values.reduce(0, +), "the samples are miscounted on page \(number)")
      for sample in samples.keys { checkLabels(sample.labels) }
    }
  }
}
