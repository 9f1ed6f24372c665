import ApusIO
import ApusModel

/// Puts the label set of a new series together from bytes of a request, and checks it. Used once a series, not once a
/// sample: `SeriesCache` remembers the result.
struct LabelAssembly {
  /// What becomes of labels that are out of order or have no value.
  enum Strictness: Sendable {
    /// They are refused, as remote write's specification has it.
    case strict
    /// They are sorted and left out.
    case lenient
  }

  private struct Pair {
    var name: Range<Int>
    var value: Range<Int>
  }

  private var bytes: [UInt8] = []
  private var pairs: [Pair] = []

  mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    pairs.removeAll(keepingCapacity: true)
  }

  /// Adds one label; both parts are copied. Beyond the bound on labels nothing is copied any more.
  mutating func add(name: some Collection<UInt8>, value: some Collection<UInt8>) {
    guard pairs.count <= FormatLimits.labelsPerSeries else { return }
    let start = bytes.count
    bytes.append(contentsOf: name)
    let middle = bytes.count
    bytes.append(contentsOf: value)
    pairs.append(Pair(name: start..<middle, value: middle..<bytes.count))
  }

  mutating func add(name: StaticString, value: some Collection<UInt8>) {
    add(name: UnsafeBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount), value: value)
  }

  /// The label set, with `__name__` in it, or what is wrong with it.
  mutating func finish(_ strictness: Strictness) throws(IngestProblem) -> Labels {
    guard pairs.count <= FormatLimits.labelsPerSeries else {
      throw .tooManyLabels(limit: FormatLimits.labelsPerSeries)
    }
    for pair in pairs {
      guard !pair.name.isEmpty else { throw .emptyLabelName }
      if strictness == .strict, pair.value.isEmpty { throw .emptyLabelValue }
      guard pair.name.count <= FormatLimits.labelNameBytes else {
        throw .labelTooLong(limit: FormatLimits.labelNameBytes)
      }
      guard pair.value.count <= FormatLimits.labelValueBytes else {
        throw .labelTooLong(limit: FormatLimits.labelValueBytes)
      }
    }
    // Each part by itself: two broken halves of a character do not make a label right.
    guard pairs.allSatisfy({ isUTF8($0.name) && isUTF8($0.value) }) else { throw .notUTF8 }
    if !isSorted() {
      if strictness == .strict { throw hasDuplicate() ? .duplicateLabel : .unsortedLabels }
      sort()
    }
    var hasName = false
    var total = 0
    var previous: Range<Int>?
    for pair in pairs {
      if let previous, bytes[previous] == bytes[pair.name] { throw .duplicateLabel }
      previous = pair.name
      total += pair.name.count + pair.value.count + 6
      if !pair.value.isEmpty, bytes[pair.name].elementsEqual(Labels.metricNameLabel.utf8) { hasName = true }
    }
    guard hasName else { throw .missingMetricName }
    var canonical = ByteWriter(reserving: total)
    for pair in pairs where !pair.value.isEmpty {
      canonical.writeVarint(UInt64(pair.name.count))
      canonical.write(bytes[pair.name])
      canonical.writeVarint(UInt64(pair.value.count))
      canonical.write(bytes[pair.value])
    }
    // A copy of just the right size: label sets live long.
    return Labels(canonicalBytes: Array(canonical.bytes[...]))
  }

  private func isUTF8(_ range: Range<Int>) -> Bool {
    bytes.withUnsafeBytes { UTF8Check.isValid(UnsafeRawBufferPointer(rebasing: $0[range])) }
  }

  /// Ascending, or equal: duplicates are told by themselves.
  private func isSorted() -> Bool {
    for index in pairs.indices.dropFirst() where isBefore(pairs[index], pairs[index - 1]) { return false }
    return true
  }

  private func isBefore(_ left: Pair, _ right: Pair) -> Bool {
    bytes[left.name].lexicographicallyPrecedes(bytes[right.name])
  }

  private mutating func sort() {
    let text = bytes
    pairs.sort { text[$0.name].lexicographicallyPrecedes(text[$1.name]) }
  }

  private func hasDuplicate() -> Bool {
    Set(pairs.map { bytes[$0.name] }).count < pairs.count
  }
}
