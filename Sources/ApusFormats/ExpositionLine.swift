import ApusIO
import ApusModel

/// Why a line was rejected, and at which byte of the page.
struct LineFault: Error {
  var reason: ExpositionProblem
  var position: Int
}

/// The grammar of one line of text exposition. Positions are bytes of the page; `end` is the end of the line.
struct ExpositionLine {
  /// A label as it stands on the page.
  struct LabelPart {
    var name: Range<Int>
    var value: Range<Int>
    var hasEscapes: Bool
  }

  let page: UnsafeRawBufferPointer
  let end: Int
  let format: ExpositionFormat

  /// The metric's name, and where the value begins; fills `parts` with the labels.
  func scanKey(from start: Int, into parts: inout [LabelPart]) throws(LineFault) -> (name: Range<Int>, value: Int) {
    parts.removeAll(keepingCapacity: true)
    var position = skipBlanks(start)
    let first = position
    guard position < end, ExpositionLine.beginsName(page[position], allowingColon: true) else {
      throw LineFault(reason: .invalidMetricName, position: position)
    }
    while position < end, ExpositionLine.continuesName(page[position], allowingColon: true) { position += 1 }
    let name = first..<position
    let behindName = position
    position = skipBlanks(position)
    if position < end, page[position] == UInt8(ascii: "{") {
      position = try scanLabels(from: position + 1, into: &parts)
      position = skipBlanks(position)
    } else if position == behindName {
      throw LineFault(reason: position == end ? .missingValue : .invalidMetricName, position: position)
    }
    guard position < end else { throw LineFault(reason: .missingValue, position: position) }
    return (name, position)
  }

  /// From behind the opening brace to behind the closing one.
  private func scanLabels(from start: Int, into parts: inout [LabelPart]) throws(LineFault) -> Int {
    var position = skipBlanks(start)
    while true {
      guard position < end else { throw LineFault(reason: .expectedCommaOrBrace, position: position) }
      if page[position] == UInt8(ascii: "}") { return position + 1 }
      let nameStart = position
      guard ExpositionLine.beginsName(page[position], allowingColon: false) else {
        throw LineFault(reason: .invalidLabelName, position: position)
      }
      while position < end, ExpositionLine.continuesName(page[position], allowingColon: false) { position += 1 }
      let name = nameStart..<position
      position = skipBlanks(position)
      guard position < end, page[position] == UInt8(ascii: "=") else {
        throw LineFault(reason: .expectedEquals, position: position)
      }
      position = skipBlanks(position + 1)
      guard position < end, page[position] == UInt8(ascii: "\"") else {
        throw LineFault(reason: .expectedQuote, position: position)
      }
      position += 1
      let valueStart = position
      var hasEscapes = false
      while true {
        guard position < end else { throw LineFault(reason: .unterminatedValue, position: valueStart) }
        let byte = page[position]
        if byte == UInt8(ascii: "\"") { break }
        if byte == UInt8(ascii: "\\") {
          hasEscapes = true
          position += 1
          guard position < end, ExpositionLine.unescaped(page[position]) != nil else {
            throw LineFault(reason: .invalidEscape, position: position - 1)
          }
        }
        position += 1
      }
      guard parts.count < FormatLimits.labelsPerSeries else {
        throw LineFault(reason: .tooManyLabels, position: nameStart)
      }
      parts.append(LabelPart(name: name, value: valueStart..<position, hasEscapes: hasEscapes))
      position = skipBlanks(position + 1)
      guard position < end else { throw LineFault(reason: .expectedCommaOrBrace, position: position) }
      if page[position] == UInt8(ascii: ",") {
        position = skipBlanks(position + 1)
      } else if page[position] != UInt8(ascii: "}") {
        throw LineFault(reason: .expectedCommaOrBrace, position: position)
      }
    }
  }

  /// The label set of what `scanKey` found.
  func labels(
    _ name: Range<Int>, _ parts: [LabelPart], extra: [(name: String, value: String)]
  ) throws(LineFault) -> Labels {
    var builder = LabelsBuilder()
    guard name.count <= FormatLimits.labelValueBytes else {
      throw LineFault(reason: .labelTooLong, position: name.lowerBound)
    }
    // The name is ASCII: the grammar has seen to it.
    var metricNameLabel = Labels.metricNameLabel
    metricNameLabel.withUTF8 {
      builder.set(name: UnsafeRawBufferPointer($0), value: UnsafeRawBufferPointer(rebasing: page[name]))
    }
    for (index, part) in parts.enumerated() {
      guard part.name.count <= FormatLimits.labelNameBytes, part.value.count <= FormatLimits.labelValueBytes else {
        throw LineFault(reason: .labelTooLong, position: part.name.lowerBound)
      }
      let label = UnsafeRawBufferPointer(rebasing: page[part.name])
      let value = UnsafeRawBufferPointer(rebasing: page[part.value])
      guard UTF8Check.isValid(value) else { throw LineFault(reason: .notUTF8, position: part.value.lowerBound) }
      let isTaken =
        label.elementsEqual(Labels.metricNameLabel.utf8)
        || parts[..<index].contains { $0.name.count == label.count && page[$0.name].elementsEqual(label) }
      guard !isTaken else { throw LineFault(reason: .duplicateLabel, position: part.name.lowerBound) }
      if part.hasEscapes {
        ExpositionLine.unescape(page, part.value).withUnsafeBytes { builder.set(name: label, value: $0) }
      } else {
        builder.set(name: label, value: value)
      }
    }
    for label in extra where !builder.contains(nameBytes: label.name.utf8) { builder.set(label.name, label.value) }
    return builder.finish()
  }

  /// What stands behind name and labels.
  struct Tail {
    var value: Double
    /// The bytes of the value.
    var valueEnd: Int
    /// In milliseconds.
    var timestamp: Int64?
  }

  func scanTail(from start: Int) throws(LineFault) -> Tail {
    var position = start
    guard let value = scanValue(&position) else {
      throw LineFault(reason: start < end ? .invalidValue : .missingValue, position: start)
    }
    var tail = Tail(value: value, valueEnd: position, timestamp: nil)
    position = skipBlanks(position)
    if position == end { return tail }
    if page[position] != UInt8(ascii: "#") {
      tail.timestamp = try scanTimestamp(&position)
      position = skipBlanks(position)
    }
    if position < end { try checkExemplar(position) }
    return tail
  }

  private func scanValue(_ position: inout Int) -> Double? {
    let tokenEnd = endOfToken(position)
    guard tokenEnd > position else { return nil }
    defer { position = tokenEnd }
    return SampleValue.parse(UnsafeRawBufferPointer(rebasing: page[position..<tokenEnd]))
  }

  private func scanTimestamp(_ position: inout Int) throws(LineFault) -> Int64 {
    let tokenEnd = endOfToken(position)
    let token = UnsafeRawBufferPointer(rebasing: page[position..<tokenEnd])
    let milliseconds: Int64?
    switch format {
    case .text: milliseconds = DecimalNumber.parseInteger(token)
    case .openMetrics:
      let seconds = DecimalNumber.parse(token) ?? .nan
      milliseconds = seconds.magnitude < 9e15 ? Int64((seconds * 1000).rounded()) : nil
    }
    guard let milliseconds else { throw LineFault(reason: .invalidTimestamp, position: position) }
    position = tokenEnd
    return milliseconds
  }

  /// OpenMetrics: `# {labels} value [timestamp]` behind a sample. It is checked and let go.
  private func checkExemplar(_ start: Int) throws(LineFault) {
    guard page[start] == UInt8(ascii: "#") else { throw LineFault(reason: .textBehindSample, position: start) }
    guard format == .openMetrics else { throw LineFault(reason: .textBehindSample, position: start) }
    var position = skipBlanks(start + 1)
    guard position < end, page[position] == UInt8(ascii: "{") else {
      throw LineFault(reason: .invalidExemplar, position: position)
    }
    var parts: [LabelPart] = []
    position = skipBlanks(try scanLabels(from: position + 1, into: &parts))
    guard scanValue(&position) != nil else { throw LineFault(reason: .invalidExemplar, position: position) }
    position = skipBlanks(position)
    if position < end {
      guard DecimalNumber.parse(UnsafeRawBufferPointer(rebasing: page[position..<endOfToken(position)])) != nil,
        skipBlanks(endOfToken(position)) == end
      else { throw LineFault(reason: .invalidExemplar, position: position) }
    }
  }

  /// A comment: takes what TYPE, HELP and UNIT say. Returns whether it is `# EOF`.
  func scanComment(from start: Int, into families: inout MetricFamilies) throws(LineFault) -> Bool {
    var position = skipBlanks(start + 1)
    let keyword = position..<endOfToken(position)
    position = skipBlanks(keyword.upperBound)
    if isWord(keyword, "EOF") { return format == .openMetrics && position == end }
    let isType = isWord(keyword, "TYPE")
    let isHelp = isWord(keyword, "HELP")
    let isUnit = isWord(keyword, "UNIT")
    guard isType || isHelp || isUnit else { return false }
    let nameRange = position..<endOfToken(position)
    guard !nameRange.isEmpty, nameRange.count <= FormatLimits.labelValueBytes, isName(nameRange) else {
      throw LineFault(reason: .invalidComment, position: position)
    }
    position = skipBlanks(nameRange.upperBound)
    let rest = position..<end
    let name = String(decoding: page[nameRange], as: UTF8.self)
    if isType {
      guard let kind = ExpositionLine.kind(trimmed(rest)) else {
        throw LineFault(reason: .invalidComment, position: position)
      }
      families.update(name) { $0.kind = kind }
      return false
    }
    let limit = isHelp ? FormatLimits.helpBytes : FormatLimits.unitBytes
    guard rest.count <= limit else { throw LineFault(reason: .invalidComment, position: position) }
    guard let text = String(validating: unescapedHelp(rest), as: UTF8.self) else {
      throw LineFault(reason: .notUTF8, position: position)
    }
    families.update(name) { descriptor in
      if isHelp { descriptor.help = text } else { descriptor.unit = text }
    }
    return false
  }

  /// In the older format HELP knows only two escapes; a backslash before a quote stands for itself.
  private func unescapedHelp(_ range: Range<Int>) -> [UInt8] {
    ExpositionLine.unescape(page, range, includingQuotes: format == .openMetrics)
  }

  private static func kind(_ word: String) -> MetricDescriptor.Kind? {
    switch word {
    case "untyped", "unknown": .unknown
    case "gauge": .gauge
    case "counter": .counter
    case "histogram": .histogram
    case "summary": .summary
    case "info": .info
    case "stateset": .stateset
    case "gaugehistogram": .gaugehistogram
    default: nil
    }
  }

  private func trimmed(_ range: Range<Int>) -> String {
    var upper = range.upperBound
    while upper > range.lowerBound, ExpositionLine.isBlank(page[upper - 1]) { upper -= 1 }
    return String(decoding: page[range.lowerBound..<upper], as: UTF8.self)
  }

  private func isName(_ range: Range<Int>) -> Bool {
    ExpositionLine.beginsName(page[range.lowerBound], allowingColon: true)
      && page[range].allSatisfy { ExpositionLine.continuesName($0, allowingColon: true) }
  }

  private func isWord(_ range: Range<Int>, _ word: StaticString) -> Bool {
    guard range.count == word.utf8CodeUnitCount else { return false }
    for index in 0..<range.count where page[range.lowerBound + index] != word.utf8Start[index] { return false }
    return true
  }

  func skipBlanks(_ start: Int) -> Int {
    var position = start
    while position < end, ExpositionLine.isBlank(page[position]) { position += 1 }
    return position
  }

  private func endOfToken(_ start: Int) -> Int {
    var position = start
    while position < end, !ExpositionLine.isBlank(page[position]) { position += 1 }
    return position
  }

  static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

  private static func beginsName(_ byte: UInt8, allowingColon: Bool) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"): true
    case UInt8(ascii: ":"): allowingColon
    default: false
    }
  }

  private static func continuesName(_ byte: UInt8, allowingColon: Bool) -> Bool {
    beginsName(byte, allowingColon: allowingColon) || byte &- 0x30 < 10
  }

  /// What a backslash before `byte` means, or nil where it means nothing.
  private static func unescaped(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "\\"), UInt8(ascii: "\""): byte
    case UInt8(ascii: "n"): UInt8(ascii: "\n")
    default: nil
    }
  }

  /// Text with its escapes resolved; a backslash that escapes nothing stands for itself (as in HELP).
  private static func unescape(
    _ page: UnsafeRawBufferPointer, _ range: Range<Int>, includingQuotes: Bool = true
  ) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(range.count)
    var position = range.lowerBound
    while position < range.upperBound {
      let byte = page[position]
      if byte == UInt8(ascii: "\\"), position + 1 < range.upperBound, let meant = unescaped(page[position + 1]),
        includingQuotes || meant != UInt8(ascii: "\"")
      {
        result.append(meant)
        position += 2
      } else {
        result.append(byte)
        position += 1
      }
    }
    return result
  }
}
