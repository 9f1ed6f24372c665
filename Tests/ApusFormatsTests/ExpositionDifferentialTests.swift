// Goal: a parser that knows a source's last page gives exactly what one gives that sees the page for the first time.
// Method: seeded sources whose pages change from one to the next in all ways that pages do and some that they should
// not; samples and rejected lines are compared page after page.

import ApusFormats
import ApusModel
import ApusTestKit
import Testing

struct ExpositionDifferentialTests {
  @Test(arguments: 0..<120)
  func bothWaysGiveTheSame(_ number: UInt64) {
    var seed = Seed(number)
    var configuration = ExpositionParser.Configuration(format: seed.oneIn(4) ? .openMetrics : .text)
    configuration.dropsBlanks = seed.oneIn(3)
    configuration.lineBytesMax = 200
    if seed.oneIn(3) { configuration.extraLabels = [("instance", "node-a")] }
    configuration.errorsListedMax = 1000
    configuration.cutsByHost = seed.oneIn(2)
    if seed.oneIn(5) { configuration.seriesMax = 30 }
    var source = MutatingSource(seed: &seed, isOpenMetrics: configuration.format == .openMetrics)
    var parser = ExpositionParser(configuration)
    for page in 0..<30 {
      let bytes = source.nextPage(&seed)
      let now = Timestamp(milliseconds: Int64(page) * 10_000)
      let known = parser.parse(bytes, now: now)
      var fresh = ExpositionParser(configuration)
      let anew = fresh.parse(bytes, now: now)
      let isSame =
        flatten(known) == flatten(anew) && known.errors == anew.errors
        && known.errorCount == anew.errorCount && known.sampleCount == anew.sampleCount
        && known.blankCount == anew.blankCount
      let difference = Set(flatten(known)).symmetricDifference(flatten(anew))
      #expect(isSame, "page \(page): \(difference), \(known.errors) and \(anew.errors)")
      if !isSame { return }
    }
  }

  @Test func anUnchangedPageIsKnownByItsPlaces() {
    var seed = Seed(7)
    var source = MutatingSource(seed: &seed, isOpenMetrics: false)
    source.mutates = false
    var parser = ExpositionParser()
    let first = parser.parse(source.nextPage(&seed), now: noon)
    #expect(first.matchedCount == 0 && first.sampleCount > 0)
    for _ in 0..<5 {
      let next = parser.parse(source.nextPage(&seed), now: noon)
      #expect(next.matchedCount == first.sampleCount)
      #expect(next.scrapes[0].set === first.scrapes[0].set)
    }
    #expect(parser.setsMade == 1)
  }

  @Test func matchingGoesOnBehindAChange() {
    func page(_ skipped: Int?, _ added: Int?) -> [UInt8] {
      var text = ""
      for number in 0..<100 where number != skipped {
        if number == added { text += "new{i=\"\(number)\"} 1\n" }
        text += "m{i=\"\(number)\"} \(number)\n"
      }
      return Array(text.utf8)
    }
    var parser = ExpositionParser()
    let first = parser.parse(page(nil, nil), now: noon)
    let without = parser.parse(page(50, nil), now: noon)
    // One look-up finds the place again behind the missing line.
    #expect(without.matchedCount == 98)
    #expect(without.scrapes[0].set === first.scrapes[0].set)
    #expect(without.scrapes[0].absent?.setCount == 1 && without.scrapes[0].absent?[50] == true)
    let back = parser.parse(page(nil, nil), now: noon)
    #expect(back.scrapes[0].set === first.scrapes[0].set && back.scrapes[0].absent == nil)
    let with = parser.parse(page(nil, 20), now: noon)
    #expect(with.matchedCount == 100)
    #expect(with.scrapes[0].set.count == 101)
    #expect(Array(with.scrapes[0].set.series[..<100]) == first.scrapes[0].set.series)
    #expect(parser.parse(page(nil, 20), now: noon).matchedCount == 101)
  }

  @Test func whatStandsBehindTheEndIsNotMatched() {
    // Found by the fuzz target: a series known from the last page was taken behind # EOF.
    var parser = ExpositionParser(.init(format: .openMetrics))
    _ = parser.parse(Array("e 1\n# EOF\n".utf8), now: noon)
    let result = parser.parse(Array("# EOF\ne 1\n".utf8), now: noon)
    #expect(result.sampleCount == 0)
    #expect(result.errors == [LineError(line: 2, column: 1, reason: .textBehindEnd)])
  }

  @Test func setsDoNotMultiply() {
    // A source that shows a new series on every page, and loses an old one.
    var parser = ExpositionParser()
    for page in 0..<400 {
      var text = ""
      for number in 0..<200 { text += "m{i=\"\(number)\"} 1\n" }
      text += "job{id=\"\(page)\"} 1\n"
      let result = parser.parse(Array(text.utf8), now: Timestamp(milliseconds: Int64(page)))
      #expect(result.sampleCount == 201)
      #expect(flatten(result).count == 201)
    }
    #expect(parser.setsMade < 120)
  }
}

/// A source of pages: families of series that come and go, with the faults that real pages have.
struct MutatingSource {
  var mutates = true
  private let isOpenMetrics: Bool
  private let usesTimestamps: Bool
  /// Where lines have times, all have.
  private let isTimedThroughout: Bool
  private let familyCount: Int
  private var lines: [String] = []
  private var nextID = 0

  init(seed: inout Seed, isOpenMetrics: Bool) {
    self.isOpenMetrics = isOpenMetrics
    usesTimestamps = seed.oneIn(3)
    isTimedThroughout = seed.oneIn(2)
    familyCount = 1 + seed.below(4)
    for family in 0..<familyCount {
      lines.append("# HELP metric_\(family) Text of \(family).")
      lines.append("# TYPE metric_\(family) gauge")
      for _ in 0...seed.below(15) { lines.append(newKey(family)) }
    }
  }

  /// A line's part before the value, `%` standing for the value.
  private mutating func newKey(_ family: Int) -> String {
    nextID += 1
    switch nextID % 7 {
    case 0: return "metric_\(family)_\(nextID) %"
    case 1: return "metric_\(family)_\(nextID){} %"
    case 2: return "metric_\(family) { gpu = \"\(nextID)\" , x=\"a\\\"b\\\\\" } %"
    case 3, 4: return "metric_\(family){gpu=\"\(nextID)\",Hostname=\"node-\(nextID % 2)\"} %"
    default: return "metric_\(family){gpu=\"\(nextID)\",UUID=\"GPU-\(nextID)\",pod=\"p\(nextID % 3)\"} %"
    }
  }

  mutating func nextPage(_ seed: inout Seed) -> [UInt8] {
    if mutates, !seed.oneIn(3) {
      for _ in 0...seed.below(4) { mutateLines(&seed) }
    }
    var text = ""
    let pageTime = 1_000_000 + seed.below(3) * 1000
    for line in lines {
      guard line.contains("%") else {
        text += line + "\n"
        continue
      }
      var sample = line.replacing("%", with: value(&seed))
      if usesTimestamps, isTimedThroughout || seed.oneIn(2) {
        sample += " \(seed.oneIn(8) ? pageTime + seed.below(3) : pageTime)"
      }
      if isOpenMetrics, seed.oneIn(6) { sample += " # {id=\"\(seed.below(9))\"} 1" }
      text += sample + (mutates && seed.oneIn(40) ? "\r\n" : "\n")
    }
    if isOpenMetrics, !(mutates && seed.oneIn(10)) { text += "# EOF\n" }
    var bytes = Array(text.utf8)
    if mutates, seed.oneIn(6) { spoil(&bytes, &seed) }
    return bytes
  }

  private func value(_ seed: inout Seed) -> String {
    switch seed.below(mutates ? 30 : 20) {
    case 20: "NaN"
    case 21: "+Inf"
    case 22: "-Inf"
    case 23: "x1"
    case 24: "9223372036854775794"
    case 25: "2147483632"
    case 26: "1e3"
    case 0..<8: "\(seed.below(100))"
    case 8..<12: "\(seed.below(1000)).\(100_000 + seed.below(900_000))"
    default: "\(Double(bitPattern: seed.next() >> 2))"
    }
  }

  private mutating func mutateLines(_ seed: inout Seed) {
    let place = lines.isEmpty ? 0 : seed.below(lines.count)
    switch seed.below(12) {
    case 0 where lines.count > 1: lines.remove(at: place)
    case 1: lines.insert(newKey(seed.below(familyCount)), at: place)
    case 2 where lines.count > 1: lines.swapAt(place, seed.below(lines.count))
    case 3: lines.insert("# a comment \(nextID)", at: place)
    case 4: lines.insert("", at: place)
    case 5: lines.insert("broken{a=\"b\"c\"} %", at: place)
    case 6 where !lines.isEmpty: lines.insert(lines[place], at: seed.below(lines.count + 1))
    case 7 where lines.count > 4: lines.removeSubrange(place..<min(place + 3, lines.count))
    case 8 where !lines.isEmpty:
      lines[place] = lines[place].replacing("{", with: "{added=\"\(nextID)\",", maxReplacements: 1)
    case 9 where !lines.isEmpty: lines[place] = lines[place].replacing(" %", with: "  %")
    case 10: lines.insert("long{l=\"\(String(repeating: "x", count: 150 + seed.below(100)))\"} %", at: place)
    case 11: lines.insert("# TYPE metric_\(seed.below(4)) counter", at: place)
    default: break
    }
  }

  /// Changes, drops or adds bytes anywhere.
  private func spoil(_ bytes: inout [UInt8], _ seed: inout Seed) {
    for _ in 0...seed.below(3) where !bytes.isEmpty {
      let place = seed.below(bytes.count)
      switch seed.below(4) {
      case 0: bytes[place] = UInt8(seed.below(256))
      case 1: bytes.remove(at: place)
      case 2: bytes.insert([0x0a, 0x22, 0x5c, 0x7b, 0x7d, 0x20, 0x23, 0x00][seed.below(8)], at: place)
      default: bytes.removeSubrange(place...)
      }
    }
  }
}
