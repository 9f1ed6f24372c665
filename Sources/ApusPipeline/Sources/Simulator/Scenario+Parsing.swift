import ApusService

extension Scenario {
  /// Reads a scenario file: one fault a line, `#` begins a comment.
  ///
  /// ```text
  /// load 0.7
  /// at 10m for 15m hot node-2/3 celsius=25
  /// at 5m          xid node-1/0 code=79
  /// at 20m for 5m  lost node-3/7
  /// at 30m for 10m ecc node-1/2 correctable=4 uncorrectable=1
  /// at 40m for 5m  stop node-4
  /// ```
  ///
  /// A target is `NODE/GPU`, `NODE` for all its GPUs, `*` for everything or `*/GPU`.
  package init(parsing text: String) throws(PipelineError) {
    self.init()
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let content = line.prefix { $0 != "#" }
      let words = content.split { $0 == " " || $0 == "\t" || $0 == "\r" }
      guard let first = words.first else { continue }
      var parser = ScenarioLine(words: words[...], number: index + 1)
      switch first {
      case "load": load = try parser.load()
      case "at":
        guard faults.count < Scenario.faultsMax else {
          throw .invalidScenario(line: index + 1, reason: "there are more than \(Scenario.faultsMax) faults")
        }
        faults.append(try parser.fault())
      default:
        throw .invalidScenario(
          line: index + 1, reason: "it begins with \"\(first)\"; a line begins with \"at TIME\" or \"load SHARE\"")
      }
    }
  }
}

/// Takes the words of one line, one after another.
private struct ScenarioLine {
  var words: ArraySlice<Substring>
  let number: Int

  func failure(_ reason: String) -> PipelineError { .invalidScenario(line: number, reason: reason) }

  mutating func word(_ what: String) throws(PipelineError) -> Substring {
    guard let word = words.popFirst() else { throw failure("it ends where \(what) should stand") }
    return word
  }

  mutating func load() throws(PipelineError) -> Double {
    _ = try word("load")
    let text = try word("the share of GPU time that jobs take")
    guard let share = Double(text), share >= 0.01, share <= 0.99 else {
      throw failure("\"\(text)\" is not a share from 0.01 to 0.99")
    }
    try end()
    return share
  }

  mutating func fault() throws(PipelineError) -> Scenario.Fault {
    _ = try word("at")
    let start = try milliseconds("the time of the fault")
    var length: Int64?
    if words.first == "for" {
      words.removeFirst()
      length = try milliseconds("the length of the fault")
    }
    let kind = try word("a fault: hot, xid, lost, ecc or stop")
    let target = try word("a target such as node-1/0")
    let parts = target.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let node = parts[0] == "*" ? nil : String(parts[0])
    var gpu: Int?
    if parts.count == 2, parts[1] != "*" {
      guard let index = Int(parts[1]), index >= 0 else {
        throw failure("\"\(parts[1])\" in \"\(target)\" is not a GPU's index")
      }
      gpu = index
    }
    var options = try self.options()
    let effect = try effect(kind, &options)
    if let unknown = options.keys.min() { throw failure("\(kind) does not know \"\(unknown)\"") }
    if effect == .stop, gpu != nil { throw failure("a node stops, not a GPU; use \"lost \(target)\"") }
    return Scenario.Fault(
      startMilliseconds: start, lengthMilliseconds: length, node: node, gpu: gpu, effect: effect, line: number)
  }

  private func effect(
    _ kind: Substring, _ options: inout [Substring: Double]
  ) throws(PipelineError) -> Scenario.Effect {
    switch kind {
    case "hot":
      let celsius = options.removeValue(forKey: "celsius") ?? 25
      guard celsius > 0, celsius <= 200 else { throw failure("celsius must be above 0 and at most 200") }
      return .hot(celsius: celsius)
    case "xid": return .xid(code: try count(&options, "code", default: nil))
    case "lost": return .lost
    case "ecc":
      let correctable = try count(&options, "correctable", default: 0)
      let uncorrectable = try count(&options, "uncorrectable", default: 0)
      let failure = try count(&options, "failure", default: 0)
      guard correctable + uncorrectable + failure > 0 else {
        throw self.failure("ecc needs correctable=N, uncorrectable=N or failure=1")
      }
      return .ecc(correctable: correctable, uncorrectable: uncorrectable, remapFails: failure > 0)
    case "stop": return .stop
    default: throw failure("\"\(kind)\" is not a fault; there are hot, xid, lost, ecc and stop")
    }
  }

  private func count(
    _ options: inout [Substring: Double], _ name: Substring, default fallback: Int?
  ) throws(PipelineError) -> Int {
    guard let value = options.removeValue(forKey: name) else {
      guard let fallback else { throw failure("it needs \(name)=NUMBER") }
      return fallback
    }
    guard value >= 0, value <= 1_000_000, value == value.rounded() else {
      throw failure("\(name) must be a whole number up to 1000000")
    }
    return Int(value)
  }

  private mutating func options() throws(PipelineError) -> [Substring: Double] {
    var result: [Substring: Double] = [:]
    while let word = words.popFirst() {
      let parts = word.split(separator: "=", maxSplits: 1)
      guard parts.count == 2, let value = Double(parts[1]), value.isFinite else {
        throw failure("\"\(word)\" is not NAME=NUMBER")
      }
      guard result.updateValue(value, forKey: parts[0]) == nil else { throw failure("\(parts[0]) is given twice") }
    }
    return result
  }

  private mutating func milliseconds(_ what: String) throws(PipelineError) -> Int64 {
    let text = try word(what)
    do throws(ServiceError) {
      return try DurationText.parse(String(text)).wholeNanoseconds / 1_000_000
    } catch { throw failure(error.description) }
  }

  private func end() throws(PipelineError) {
    if let word = words.first { throw failure("\"\(word)\" is one word too many") }
  }
}
