import ApusModel

/// The series of a head: their numbers, their label sets, where their samples are, and postings to find them by label.
/// A series is looked up by its labels once a set, never once a sample.
struct HeadIndex {
  private(set) var labels: [Labels] = []
  private var numbers: [Labels: UInt32] = [:]
  /// Where each series is: nearly always one place; the others in `morePlaces`.
  private var firstPlace: [SeriesPlace] = []
  private var morePlaces: [UInt32: [SeriesPlace]] = [:]
  /// By label name and value, the numbers of the series that have it, ascending.
  private var postings: [ByteKey: [ByteKey: [UInt32]]] = [:]
  /// An estimate of what all of this takes in memory.
  private(set) var bytes = 0

  var count: Int { labels.count }

  func number(_ series: Labels) -> UInt32? { numbers[series] }

  /// Adds a series that is not there yet, with its first place.
  mutating func add(_ series: Labels, _ place: SeriesPlace) -> UInt32 {
    let number = UInt32(labels.count)
    labels.append(series)
    numbers[series] = number
    firstPlace.append(place)
    series.forEach { name, value in
      let isNew = postings[ByteKey(name)]?.append(number, to: ByteKey(value)) ?? true
      if isNew {
        postings[ByteKey(name).owned, default: [:]][ByteKey(value).owned] = [number]
        bytes += 128 + name.count + value.count
      }
      bytes += 4
    }
    bytes += series.bytes.count + 96
    return number
  }

  mutating func addPlace(_ series: UInt32, _ place: SeriesPlace) {
    morePlaces[series, default: []].append(place)
    bytes += 24
  }

  /// The places of a series, in ascending order of their tracks.
  func places(_ series: UInt32) -> [SeriesPlace] {
    let first = firstPlace[Int(series)]
    if !morePlaces.isEmpty, let more = morePlaces[series] { return [first] + more }
    return [first]
  }

  /// Whether one of a series' places meets a condition.
  func isAnywhere(_ series: UInt32, where condition: (SeriesPlace) -> Bool) -> Bool {
    if condition(firstPlace[Int(series)]) { return true }
    if morePlaces.isEmpty { return false }
    return morePlaces[series]?.contains(where: condition) ?? false
  }

  /// The values that a label has in the series of a set that meet a condition, asked for one after another until one of
  /// a value's series does.
  func addValues(
    of label: [UInt8], in series: SeriesNumbers, where condition: (UInt32) -> Bool, to result: inout Set<ByteKey>
  ) {
    for (value, members) in postings[ByteKey(label)] ?? [:] {
      if members.contains(where: { series.contains($0) && condition($0) }) { result.insert(value) }
    }
  }

  /// The names of the labels that those series have.
  func addNames(in series: SeriesNumbers, where condition: (UInt32) -> Bool, to result: inout Set<ByteKey>) {
    for (name, values) in postings where !result.contains(name) {
      let isThere = values.values.contains { members in
        members.contains { series.contains($0) && condition($0) }
      }
      if isThere { result.insert(name) }
    }
  }

  /// The numbers of the series that meet every matcher, ascending.
  func match(_ matchers: [CompiledMatcher]) -> [UInt32] {
    var result: [UInt32]?
    for matcher in matchers where !matcher.matchesAbsent {
      let found = series(matcher)
      result = result.map { HeadIndex.intersection($0, found) } ?? found
      if result?.isEmpty == true { return [] }
    }
    var kept = result ?? Array(0..<UInt32(labels.count))
    for matcher in matchers where matcher.matchesAbsent {
      // Those that have the label with a value that does not meet the condition are taken out.
      guard let values = postings[ByteKey(matcher.label)] else { continue }
      var refused = SeriesNumbers(count: labels.count)
      if matcher.isNegated {
        for value in matcher.values { refused.insert(values[ByteKey(value)] ?? []) }
      } else {
        for (value, members) in values where !matcher.matches(Array(value.bytes)) { refused.insert(members) }
      }
      kept.removeAll { refused.contains($0) }
    }
    return kept
  }

  /// The series that have the label with a value that meets the condition, ascending.
  private func series(_ matcher: CompiledMatcher) -> [UInt32] {
    guard let values = postings[ByteKey(matcher.label)] else { return [] }
    var lists: [[UInt32]] = []
    if matcher.isNegated {
      for (value, members) in values where matcher.matches(Array(value.bytes)) { lists.append(members) }
    } else {
      for value in matcher.values {
        if let members = values[ByteKey(value)] { lists.append(members) }
      }
    }
    if lists.count < 2 { return lists.first ?? [] }
    // Of few series they are sorted, of many all numbers are gone through, which is the cheaper by far.
    let total = lists.reduce(0) { $0 + $1.count }
    if total < labels.count / 64 { return lists.flatMap { $0 }.sorted() }
    var found = SeriesNumbers(count: labels.count)
    for members in lists { found.insert(members) }
    return found.ascending(count: total)
  }

  private static func intersection(_ left: [UInt32], _ right: [UInt32]) -> [UInt32] {
    var result: [UInt32] = []
    var index = 0
    for number in left {
      while index < right.count && right[index] < number { index += 1 }
      if index == right.count { break }
      if right[index] == number { result.append(number) }
    }
    return result
  }
}

/// A set of series of one head, a bit each.
struct SeriesNumbers {
  private var words: [UInt64]

  /// Empty, with room for the numbers below `count`.
  init(count: Int) { words = [UInt64](repeating: 0, count: (count + 63) / 64) }

  mutating func insert(_ numbers: [UInt32]) {
    for number in numbers { words[Int(number >> 6)] |= 1 << UInt64(number & 63) }
  }

  func contains(_ number: UInt32) -> Bool { words[Int(number >> 6)] >> UInt64(number & 63) & 1 != 0 }

  /// - Parameter count: about how many there are.
  func ascending(count: Int) -> [UInt32] {
    var result: [UInt32] = []
    result.reserveCapacity(count)
    for (index, word) in words.enumerated() {
      var bits = word
      while bits != 0 {
        result.append(UInt32(index * 64 + bits.trailingZeroBitCount))
        bits &= bits - 1
      }
    }
    return result
  }
}

extension [ByteKey: [UInt32]] {
  /// Appends to the list of a key that is there; true when it is not.
  fileprivate mutating func append(_ number: UInt32, to key: ByteKey) -> Bool {
    guard let place = index(forKey: key) else { return true }
    values[place].append(number)
    return false
  }
}
