import ApusIO

/// For each label and value, in which groups of a block it occurs. Within a group the label columns tell which series,
/// so the lists stay as short as the groups are few.
struct Postings: Sendable {
  private struct Name {
    var values: Int
    var entries: Range<Int>
  }

  private let map: MappedBytes
  private let groups: Int
  private var names: [Int: Name] = [:]

  /// Reads the names' directory, checked against the section's end.
  init(_ map: MappedBytes, section: Range<Int>, groups: Int, symbols: Int) throws(ByteReaderError) {
    self.map = map
    self.groups = groups
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: map.bytes[section]))
    let count = try reader.readCount(max: symbols)
    for _ in 0..<count {
      let name = try reader.readCount(max: symbols - 1)
      let values = try reader.readCount(max: symbols)
      let length = try reader.readCount(max: reader.remaining)
      let start = section.lowerBound + reader.position
      _ = try reader.readBytes(length)
      names[name] = Name(values: values, entries: start..<start + length)
    }
  }

  /// The groups in which a label has one of these values, ascending. `wanted` is ascending.
  func groups(name: Int, values wanted: [Int]) throws(ByteReaderError) -> [Int] {
    guard let entry = names[name], !wanted.isEmpty else { return [] }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: map.bytes[entry.entries]))
    var found: Set<Int> = []
    var value = 0
    var next = 0
    for _ in 0..<entry.values {
      value += try reader.readCount(max: .max >> 1)
      let count = try reader.readCount(max: groups)
      while next < wanted.count && wanted[next] < value { next += 1 }
      if next == wanted.count { break }
      let isWanted = wanted[next] == value
      if count == 0 {
        // All groups have it.
        if isWanted { return Array(0..<groups) }
        continue
      }
      var group = 0
      for _ in 0..<count {
        group += try reader.readCount(max: groups)
        if isWanted { found.insert(group) }
      }
    }
    return found.sorted()
  }

  /// The symbols of all label names that there are.
  var labelNames: [Int] { names.keys.sorted() }

  /// How many values a label has.
  func valueCount(name: Int) -> Int { names[name]?.values ?? 0 }

  /// All values of a label, ascending, each with the groups that have it.
  func lists(name: Int) throws(ByteReaderError) -> [(value: Int, groups: [Int])] {
    guard let entry = names[name] else { return [] }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: map.bytes[entry.entries]))
    var result: [(value: Int, groups: [Int])] = []
    var value = 0
    for _ in 0..<entry.values {
      value += try reader.readCount(max: .max >> 1)
      let count = try reader.readCount(max: groups)
      var group = 0
      var members: [Int] = count == 0 ? Array(0..<groups) : []
      for _ in 0..<count {
        group += try reader.readCount(max: groups)
        members.append(group)
      }
      result.append((value, members))
    }
    return result
  }

  /// Encodes the lists of all groups' label columns.
  static func encode(_ groups: [LabelColumns], renumbered numbers: [Int], to out: inout OutputBuffer) {
    var lists: [Int: [Int: [Int]]] = [:]
    for (group, labels) in groups.enumerated() {
      for column in labels.columns {
        for value in column.dictionary where value != 0 {
          lists[numbers[column.name], default: [:]][numbers[value], default: []].append(group)
        }
      }
    }
    out.putVarint(UInt64(lists.count))
    for (name, values) in lists.sorted(by: { $0.key < $1.key }) {
      var entries = OutputBuffer()
      var previousValue = 0
      for (value, members) in values.sorted(by: { $0.key < $1.key }) {
        entries.putVarint(UInt64(value - previousValue))
        previousValue = value
        if members.count == groups.count {
          entries.putVarint(0)
          continue
        }
        entries.putVarint(UInt64(members.count))
        var previous = 0
        for group in members {
          entries.putVarint(UInt64(group - previous))
          previous = group
        }
      }
      out.putVarint(UInt64(name))
      out.putVarint(UInt64(values.count))
      out.putVarint(UInt64(entries.count))
      out.put(entries.bytes)
    }
  }
}
