import ApusModel

/// The series that one source has shown, numbered as they came. Decoders keep numbers where they would keep labels.
struct SeriesDirectory: Sendable {
  private(set) var labels: [Labels] = []
  private var numbers: [Labels: Int32] = [:]
  /// Of all label sets together.
  private(set) var labelBytes = 0

  var count: Int { labels.count }

  func contains(_ series: Labels) -> Bool { numbers[series] != nil }

  /// The series' number, a new one if it has none.
  mutating func number(of series: Labels) -> Int32 {
    if let number = numbers[series] { return number }
    let number = Int32(labels.count)
    labels.append(series)
    numbers[series] = number
    labelBytes += series.bytes.count
    return number
  }
}
