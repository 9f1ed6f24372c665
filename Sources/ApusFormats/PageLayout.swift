#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// How the last page of a source was laid out: for each sample the bytes from behind the sample before it to its value,
/// which are the comments between the two and the series' name and labels, and the number of the series.
///
/// Where a page holds the same bytes at the same place, its series is known without a look at what they say.
struct PageLayout: Sendable {
  struct Entry: Sendable {
    /// Where the bytes begin in `bytes`.
    var start: UInt32
    /// How many of them stand before the line of the sample: comments and empty lines.
    var prefix: UInt32
    /// How many there are.
    var length: UInt32
  }

  private(set) var bytes: [UInt8] = []
  private(set) var entries: [Entry] = []
  /// The number of each entry's series.
  private(set) var series: [Int32] = []

  init() {}

  /// The first entries of another layout.
  init(_ layout: PageLayout, prefix count: Int) {
    let end = count < layout.entries.count ? Int(layout.entries[count].start) : layout.bytes.count
    bytes.reserveCapacity(layout.bytes.count)
    bytes.append(contentsOf: layout.bytes[..<end])
    entries.reserveCapacity(layout.entries.count)
    entries.append(contentsOf: layout.entries[..<count])
    series.reserveCapacity(layout.entries.count)
    series.append(contentsOf: layout.series[..<count])
  }

  var count: Int { entries.count }

  /// - Parameters:
  ///   - segment: from behind the last sample to the value.
  ///   - prefix: how many of its bytes stand before the sample's own line.
  mutating func append(_ segment: UnsafeRawBufferPointer, prefix: Int, series number: Int32) {
    entries.append(
      Entry(start: UInt32(bytes.count), prefix: UInt32(prefix), length: UInt32(segment.count)))
    bytes.append(contentsOf: segment)
    series.append(number)
  }

  /// Whether the page has all of an entry's bytes at `position`.
  @inline(__always)
  func matches(_ index: Int, _ page: UnsafeRawBufferPointer, at position: Int) -> Bool {
    let entry = entries[index]
    return equals(Int(entry.start), Int(entry.length), page, at: position)
  }

  /// Whether the page has an entry's name and labels, without the comments before them, at `position`.
  func matchesKey(_ index: Int, _ page: UnsafeRawBufferPointer, at position: Int) -> Bool {
    let entry = entries[index]
    return equals(Int(entry.start + entry.prefix), Int(entry.length - entry.prefix), page, at: position)
  }

  /// How long an entry's name and labels are, blanks before the value included.
  func keyLength(_ index: Int) -> Int { Int(entries[index].length - entries[index].prefix) }

  private func equals(_ start: Int, _ length: Int, _ page: UnsafeRawBufferPointer, at position: Int) -> Bool {
    guard length <= page.count - position, let other = page.baseAddress else { return false }
    return bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return false }
      return memcmp(base + start, other + position, length) == 0
    }
  }

  /// Finds entries by the bytes of their name and labels; made when a page first differs from the layout.
  func makeIndex() -> [UInt64: Int32] {
    var index: [UInt64: Int32] = [:]
    index.reserveCapacity(count)
    bytes.withUnsafeBytes { bytes in
      for (number, entry) in entries.enumerated() {
        let key = Int(entry.start + entry.prefix)..<Int(entry.start + entry.length)
        index[KeyHash.hash(UnsafeRawBufferPointer(rebasing: bytes[key]))] = Int32(number)
      }
    }
    return index
  }
}
