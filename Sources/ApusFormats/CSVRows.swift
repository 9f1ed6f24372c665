/// Samples read from a CSV, as columns of equal length. The reader that filled it knows the series by their numbers.
package struct CSVRows: Sendable {
  package private(set) var series: [Int32] = []
  /// Milliseconds since 1970.
  package private(set) var timestamps: [Int64] = []
  package private(set) var values: [Double] = []
  /// Bytes of the file up to the end of each row.
  package private(set) var ends: [Int64] = []
  /// The first rejected rows since `removeAll`.
  package private(set) var errors: [FormatError] = []
  /// All rejected rows since `removeAll`.
  package private(set) var errorCount = 0
  var errorsListedMax = 64

  package init() {}

  package var count: Int { series.count }

  /// Empties the columns and keeps their memory.
  package mutating func removeAll() {
    series.removeAll(keepingCapacity: true)
    timestamps.removeAll(keepingCapacity: true)
    values.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
    errors.removeAll(keepingCapacity: true)
    errorCount = 0
  }

  @inline(__always)
  mutating func append(_ number: Int32, _ timestamp: Int64, _ value: Double, _ end: Int64) {
    series.append(number)
    timestamps.append(timestamp)
    values.append(value)
    ends.append(end)
  }

  mutating func reject(_ error: FormatError) {
    errorCount += 1
    if errors.count < errorsListedMax { errors.append(error) }
  }
}
