/// The identity of a series: label names and values, sorted by name, the metric's name among them as `__name__`.
///
/// Kept as one run of bytes rather than as strings: a fleet has millions of label sets and compares and hashes them
/// far more often than it reads one label. The run is, for each label in ascending byte order of its name:
/// length of the name, name, length of the value, value; lengths are LEB128 varints. Equal label sets have equal bytes.
/// A label with an empty value is the same as no label (as in Prometheus) and is never stored.
package struct Labels: Hashable, Sendable {
  /// The canonical encoding described above; stable, so that it may be hashed, stored and sent.
  package let bytes: [UInt8]

  /// The label set without labels.
  package static let empty = Labels(canonicalBytes: [])

  /// Takes bytes that are known to be canonical, for example because this type produced them.
  package init(canonicalBytes: [UInt8]) {
    bytes = canonicalBytes
  }

  /// Takes bytes from outside, or returns nil when they are not a canonical encoding.
  package init?(validating bytes: some Collection<UInt8>) {
    let copy = [UInt8](bytes)
    var position = 0
    var previous: Range<Int>? = nil
    while position < copy.count {
      guard let name = Labels.readPart(copy, &position), let value = Labels.readPart(copy, &position),
        !name.isEmpty, !value.isEmpty
      else { return nil }
      if let previous, !copy[previous].lexicographicallyPrecedes(copy[name]) { return nil }
      previous = name
    }
    self.bytes = copy
  }

  /// Sorts the pairs and drops empty values. Of two labels with one name the later is kept.
  package init(_ pairs: some Sequence<(String, String)>) {
    var builder = LabelsBuilder()
    for (name, value) in pairs { builder.set(name, value) }
    self = builder.finish()
  }

  /// The value of one label, or nil where the label is absent. Cost: a walk over the bytes.
  package subscript(name: String) -> String? {
    var name = name
    return name.withUTF8 { wanted in
      var position = 0
      while position < bytes.count {
        guard let foundName = Labels.readPart(bytes, &position), let foundValue = Labels.readPart(bytes, &position)
        else { return nil }
        if foundName.count == wanted.count, bytes[foundName].elementsEqual(wanted) {
          return String(decoding: bytes[foundValue], as: UTF8.self)
        }
      }
      return nil
    }
  }

  /// The metric's name: the label `__name__`, or an empty string.
  package var metricName: String { self[Labels.metricNameLabel] ?? "" }

  /// All labels in ascending order of their names.
  package var pairs: [(name: String, value: String)] {
    var result: [(name: String, value: String)] = []
    forEach { name, value in
      result.append((String(decoding: name, as: UTF8.self), String(decoding: value, as: UTF8.self)))
    }
    return result
  }

  /// How many labels there are.
  package var count: Int {
    var number = 0
    forEach { _, _ in number += 1 }
    return number
  }

  /// Calls `body` with the bytes of each name and value, in order.
  package func forEach(_ body: (ArraySlice<UInt8>, ArraySlice<UInt8>) -> Void) {
    var position = 0
    while position < bytes.count {
      guard let name = Labels.readPart(bytes, &position), let value = Labels.readPart(bytes, &position) else { return }
      body(bytes[name], bytes[value])
    }
  }

  /// A copy with some labels set; an empty value removes the label.
  package func setting(_ changes: some Sequence<(String, String)>) -> Labels {
    var builder = LabelsBuilder(self)
    for (name, value) in changes { builder.set(name, value) }
    return builder.finish()
  }

  /// The name of the label that holds the metric's name.
  package static let metricNameLabel = "__name__"

  /// One length-prefixed part at `position`, which moves behind it; nil when the bytes end too early.
  private static func readPart(_ bytes: [UInt8], _ position: inout Int) -> Range<Int>? {
    var length = 0
    var shift = 0
    while true {
      guard position < bytes.count, shift < 28 else { return nil }
      let byte = bytes[position]
      position += 1
      length |= Int(byte & 0x7f) << shift
      if byte < 0x80 { break }
      shift += 7
    }
    guard length <= bytes.count - position else { return nil }
    defer { position += length }
    return position..<position + length
  }
}

extension Labels {
  /// All bytes at once: what the compiler would make of it takes them one by one, which costs some 400 ns a label set.
  package func hash(into hasher: inout Hasher) {
    bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
  }
}

extension Labels: Comparable {
  /// By the canonical bytes: a total order that is stable over runs, used for pagination. It is not the order of names.
  package static func < (left: Labels, right: Labels) -> Bool {
    left.bytes.lexicographicallyPrecedes(right.bytes)
  }
}

extension Labels: CustomStringConvertible {
  /// As PromQL writes a series: `name{label="value", …}`.
  package var description: String {
    var name = ""
    var parts: [String] = []
    for pair in pairs {
      if pair.name == Labels.metricNameLabel {
        name = pair.value
      } else {
        parts.append("\(pair.name)=\"\(Labels.escape(pair.value))\"")
      }
    }
    return parts.isEmpty ? name : "\(name){\(parts.joined(separator: ", "))}"
  }

  private static func escape(_ value: String) -> String {
    var result = ""
    for character in value.unicodeScalars {
      switch character {
      case "\\": result += "\\\\"
      case "\"": result += "\\\""
      case "\n": result += "\\n"
      default: result.unicodeScalars.append(character)
      }
    }
    return result
  }
}

/// Puts a label set together in any order.
package struct LabelsBuilder: Sendable {
  /// A label as it was set, in `text`.
  private struct Pair: Sendable {
    var name: Range<Int>
    var value: Range<Int>
  }

  private var text: [UInt8] = []
  private var pairs: [Pair] = []

  package init() {}

  package init(_ labels: Labels) {
    text.reserveCapacity(labels.bytes.count + 64)
    labels.forEach { name, value in
      let start = text.count
      text.append(contentsOf: name)
      let middle = text.count
      text.append(contentsOf: value)
      pairs.append(Pair(name: start..<middle, value: middle..<text.count))
    }
  }

  /// Sets a label; of two values for one name the later is kept, an empty one removes the label.
  package mutating func set(_ name: String, _ value: String) {
    var name = name
    var value = value
    name.withUTF8 { name in
      value.withUTF8 { set(name: UnsafeRawBufferPointer(name), value: UnsafeRawBufferPointer($0)) }
    }
  }

  /// As `set`, for bytes of UTF-8.
  package mutating func set(nameBytes: some Sequence<UInt8>, valueBytes: some Sequence<UInt8>) {
    Array(nameBytes).withUnsafeBytes { name in
      Array(valueBytes).withUnsafeBytes { set(name: name, value: $0) }
    }
  }

  /// As `set`, for borrowed bytes of UTF-8; both are copied.
  package mutating func set(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    let known = index(of: name)
    let start = text.count
    if known == nil { text.append(contentsOf: name) }
    let middle = text.count
    text.append(contentsOf: value)
    if let known {
      pairs[known].value = middle..<text.count
    } else {
      pairs.append(Pair(name: start..<middle, value: middle..<text.count))
    }
  }

  /// Whether a label of this name has been set, even to nothing. Parsers use it to refuse duplicates.
  package func contains(nameBytes: some Sequence<UInt8>) -> Bool {
    Array(nameBytes).withUnsafeBytes { index(of: $0) != nil }
  }

  /// The canonical label set.
  package consuming func finish() -> Labels {
    var size = 0
    for pair in pairs { size += pair.name.count + pair.value.count + 6 }
    sort()
    var bytes: [UInt8] = []
    bytes.reserveCapacity(size)
    text.withUnsafeBytes { text in
      for pair in pairs where !pair.value.isEmpty && !pair.name.isEmpty {
        LabelsBuilder.append(UnsafeRawBufferPointer(rebasing: text[pair.name]), to: &bytes)
        LabelsBuilder.append(UnsafeRawBufferPointer(rebasing: text[pair.value]), to: &bytes)
      }
    }
    // A copy of just the right size: label sets live long.
    return Labels(canonicalBytes: Array(bytes[...]))
  }

  private func index(of name: UnsafeRawBufferPointer) -> Int? {
    text.withUnsafeBytes { text in
      pairs.firstIndex { pair in
        guard pair.name.count == name.count else { return false }
        for offset in 0..<name.count where text[pair.name.lowerBound + offset] != name[offset] { return false }
        return true
      }
    }
  }

  /// By insertion: there are few labels, and they mostly come in order.
  private mutating func sort() {
    text.withUnsafeBytes { text in
      for end in pairs.indices.dropFirst() {
        let pair = pairs[end]
        var place = end
        while place > 0, LabelsBuilder.isBefore(text, pair.name, pairs[place - 1].name) {
          pairs[place] = pairs[place - 1]
          place -= 1
        }
        pairs[place] = pair
      }
    }
  }

  private static func isBefore(_ text: UnsafeRawBufferPointer, _ left: Range<Int>, _ right: Range<Int>) -> Bool {
    for offset in 0..<min(left.count, right.count) {
      let (a, b) = (text[left.lowerBound + offset], text[right.lowerBound + offset])
      if a != b { return a < b }
    }
    return left.count < right.count
  }

  private static func append(_ part: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
    var length = part.count
    while length >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: length) | 0x80)
      length >>= 7
    }
    bytes.append(UInt8(length))
    bytes.append(contentsOf: part)
  }
}
