// Goal: equal label sets have equal bytes, and nothing else passes for a label set. Method: tables, and seeded random
// sets put together in different orders and with later values winning.

import ApusModel
import Testing

struct LabelsTests {
  @Test func orderDoesNotMatter() {
    let pairs = [("b", "2"), ("__name__", "up"), ("a", "1"), ("Z", "3"), ("ab", "4")]
    let labels = Labels(pairs)
    for turn in pairs.indices {
      #expect(Labels(pairs[turn...] + pairs[..<turn]) == labels)
      #expect(Labels((pairs[turn...] + pairs[..<turn]).reversed()) == labels)
    }
    #expect(labels.pairs.map(\.name) == ["Z", "__name__", "a", "ab", "b"])
    #expect(labels.count == 5 && labels.metricName == "up")
    #expect(labels["ab"] == "4" && labels["abc"] == nil && labels[""] == nil)
    #expect(labels.description == "up{Z=\"3\", a=\"1\", ab=\"4\", b=\"2\"}")
  }

  @Test func emptyValuesAreNoLabels() {
    #expect(Labels([("a", ""), ("b", "x")]) == Labels([("b", "x")]))
    #expect(Labels([("a", "")]) == .empty && Labels.empty.count == 0)
    #expect(Labels([("a", "x"), ("a", "")]) == .empty)
    #expect(Labels([("a", "x"), ("a", "y")])["a"] == "y")
    #expect(Labels([("a", "x")]).setting([("a", ""), ("c", "z")]) == Labels([("c", "z")]))
  }

  @Test func longPartsKeepTheirLength() {
    for count in [1, 127, 128, 300, 16_383, 16_384, 70_000] {
      let text = String(repeating: "x", count: count)
      let labels = Labels([("name", text), (text + "n", "value")])
      #expect(labels["name"] == text && labels[text + "n"] == "value")
      #expect(Labels(validating: labels.bytes) == labels)
    }
  }

  @Test func builderReplacesAndRemoves() {
    var builder = LabelsBuilder(Labels([("a", "1"), ("b", "2")]))
    #expect(builder.contains(nameBytes: "a".utf8) && !builder.contains(nameBytes: "c".utf8))
    builder.set("a", "longer than before")
    builder.set("b", "")
    builder.set(nameBytes: "c".utf8, valueBytes: "3".utf8)
    #expect(builder.contains(nameBytes: "b".utf8))
    #expect(builder.finish() == Labels([("a", "longer than before"), ("c", "3")]))
  }

  @Test(
    arguments: [
      [1], [1, 0x61], [1, 0x61, 1], [0, 1, 0x61], [1, 0x61, 0], [1, 0x61, 2, 0x62],
      // Descending and repeated names, and a length that never ends.
      [1, 0x62, 1, 0x78, 1, 0x61, 1, 0x78], [1, 0x61, 1, 0x78, 1, 0x61, 1, 0x78],
      [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
    ] as [[UInt8]])
  func whatIsNotCanonicalIsRefused(_ bytes: [UInt8]) {
    #expect(Labels(validating: bytes) == nil)
  }

  @Test func orderIsThatOfTheBytes() {
    let sets = [Labels([("a", "1")]), Labels([("a", "2")]), Labels([("b", "1")]), Labels([("aa", "1")])]
    for left in sets {
      for right in sets { #expect((left < right) == left.bytes.lexicographicallyPrecedes(right.bytes)) }
    }
  }

  @Test func equalSetsHashEqually() {
    var seen: Set<Labels> = []
    for index in 0..<1000 { seen.insert(Labels([("i", "\(index % 100)"), ("j", "x")])) }
    #expect(seen.count == 100)
  }
}
