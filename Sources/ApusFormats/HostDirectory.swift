import ApusModel

/// The hosts that the series of one source belong to, numbered as they came. A series names its host by the first there
/// is of `Hostname`, `hostname`, `node` and the host part of `instance`.
struct HostDirectory: Sendable {
  /// The number of the host of series that name none; also for whatever is not cut by host.
  static let none: Int32 = 0
  /// The number under which lines of several hosts are kept together.
  static let mixed: Int32 = -1

  private var names: [[UInt8]] = [[]]
  private var numbers: [[UInt8]: Int32] = [[]: HostDirectory.none]
  /// By series number, as far as they have been asked for.
  private(set) var ofSeries: [Int32] = []

  /// Empty for `none` and `mixed`.
  func name(_ host: Int32) -> [UInt8] { host > 0 ? names[Int(host)] : [] }

  /// Makes `ofSeries` as long as the directory of series.
  mutating func follow(_ directory: SeriesDirectory) {
    for number in ofSeries.count..<max(ofSeries.count, directory.count) {
      let name = HostDirectory.host(of: directory.labels[number])
      if let known = numbers[name] {
        ofSeries.append(known)
      } else {
        let host = Int32(names.count)
        names.append(name)
        numbers[name] = host
        ofSeries.append(host)
      }
    }
  }

  /// The host of all these series; nil where they have several.
  mutating func common(to series: [Int32], _ directory: SeriesDirectory) -> Int32? {
    follow(directory)
    guard let first = series.first else { return HostDirectory.none }
    let host = ofSeries[Int(first)]
    for number in series where ofSeries[Int(number)] != host { return nil }
    return host
  }

  private static let labels: [[UInt8]] = (TelemetryField.hostname.labelsRead + ["instance"]).map { Array($0.utf8) }

  /// The name of a series' host, UTF-8; empty where there is none.
  static func host(of series: Labels) -> [UInt8] {
    var best = labels.count
    var found = ArraySlice<UInt8>()
    series.forEach { name, value in
      guard let rank = labels.firstIndex(where: { name.elementsEqual($0) }), rank < best else { return }
      best = rank
      found = value
    }
    guard best == labels.count - 1 else { return Array(found) }
    return Array(Labels.host(ofInstance: String(decoding: found, as: UTF8.self)).utf8)
  }
}
