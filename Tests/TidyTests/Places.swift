/// Calls that belong in one place and nowhere else, so that time, chance and output stay arguments of everything that
/// decides.
enum Places {
  struct Rule {
    /// What the call looks like in code.
    var patterns: [String]
    /// What it is, for the finding.
    var what: String
    /// Paths (or beginnings of paths) where it may stand.
    var places: [String]
    /// Which part of the repository is looked at.
    var scope: [String]
    /// What to do instead.
    var instead: String
    /// What makes the same call right when it stands in the same statement (two lines before to two behind).
    var excuses: [String] = []
  }

  static let rules: [Rule] = [
    Rule(
      patterns: ["print(", "debugPrint(", "dump(", "fputs("], what: "writing to the terminal",
      places: ["Sources/ApusCommands/", "Sources/apus/"], scope: ["Sources/"],
      instead: "log with the logger that was handed in, or answer to the command"),
    Rule(
      patterns: ["try!"], what: "try!", places: [], scope: ["Sources/", "Tests/", "Fuzz/", "Benchmarks/"],
      instead: "handle the error or let it through"),
    Rule(
      patterns: ["as!"], what: "as!", places: [], scope: ["Sources/"],
      instead: "use a type that says it, or a guard with a message"),
    Rule(
      patterns: [
        "Date()", "Date.now", "clock_gettime(", "gettimeofday(", "time(nil)", "ContinuousClock()",
        "ContinuousClock.now",
        "SuspendingClock()", "SuspendingClock.now", "DispatchTime.now", "NIODeadline.now", ".systemUptime",
        "CFAbsoluteTimeGetCurrent(",
      ],
      what: "reading a clock",
      places: [
        "Sources/ApusIO/WallClock.swift",
        // A condition's timed wait takes its end as an instant of the system's clock.
        "Sources/ApusBroker/WorkerThread.swift", "Sources/ApusStore/Embedded/WorkerPool.swift",
      ],
      scope: ["Sources/", "Tests/ApusTestKit/", "Tests/SimulationTests/"],
      instead: "take a WallClock"),
    Rule(
      patterns: [
        ".random(", "SystemRandomNumberGenerator", "arc4random", "drand48(", "srand(", "getrandom(", "UUID()",
        ".shuffled()", ".randomElement()", ".shuffle()",
      ],
      what: "chance without a seed",
      // A seed has to come from somewhere: the assembly makes it and hands it on.
      places: ["Sources/ApusCommands/"],
      scope: ["Sources/", "Tests/"],
      instead: "take a seeded generator", excuses: ["using:"]),
    Rule(
      patterns: ["fatalError("], what: "fatalError", places: [], scope: ["Sources/"],
      instead: "use precondition with the values, or throw"),
    Rule(
      patterns: ["public "], what: "public", places: [], scope: ["Sources/Apus", "Sources/KafkaWire"],
      instead: "use package: nobody outside imports us"),
    Rule(
      patterns: ["Thread.sleep", "usleep(", "sleep("], what: "sleeping",
      places: [], scope: ["Tests/"],
      instead: "wait for what is waited for, or move a ManualClock",
      // What a part under test is handed instead of the real sleep; and asking again whether a condition holds.
      excuses: ["Sleeper {", "while "]),
  ]

  /// What stands in the wrong place in one file.
  static func check(_ source: SwiftSource) -> [Finding] {
    var findings: [Finding] = []
    for rule in rules where rule.scope.contains(where: source.path.hasPrefix) {
      if rule.places.contains(where: source.path.hasPrefix) { continue }
      for (index, line) in source.code.enumerated() {
        for pattern in rule.patterns where contains(line, pattern) {
          let statement = source.code[max(0, index - 2)...min(index + 2, source.code.count - 1)]
          if rule.excuses.contains(where: { excuse in statement.contains { $0.contains(excuse) } }) { continue }
          findings.append(
            Finding(path: source.path, line: index + 1, problem: "\(rule.what) has no place here: \(rule.instead)"))
          break
        }
      }
    }
    return findings
  }

  /// Whether the line has the pattern at the start of a word: `print(` is not in `fingerprint(`. A declaration of a
  /// function of that name is not a call.
  static func contains(_ line: String, _ pattern: String) -> Bool {
    let text = Array(line.utf8)
    let wanted = Array(pattern.utf8)
    guard text.count >= wanted.count else { return false }
    for start in 0...(text.count - wanted.count) where text[start..<start + wanted.count].elementsEqual(wanted) {
      if start == 0 || !isPartOfName(text[start - 1]) || !isPartOfName(wanted[0]) {
        let before = String(decoding: text[..<start], as: UTF8.self)
        if !before.hasSuffix("func ") { return true }
      }
    }
    return false
  }

  private static func isPartOfName(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
      true
    default: false
    }
  }
}
