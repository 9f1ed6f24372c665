/// What crosses a module is documented: every top-level `package` type anywhere, and in the front doors also every
/// `package` function and every requirement of a protocol.
enum DocComments {
  /// The file to open first in each room.
  static let frontDoors: Set<String> = [
    "Sources/ApusIO/Disk.swift", "Sources/ApusBroker/RecordLog.swift",
    "Sources/ApusStore/Store.swift", "Sources/ApusPipeline/Streamer.swift", "Sources/ApusPipeline/Collector.swift",
    "Sources/ApusPipeline/Source.swift",
  ]

  private static let kinds = ["struct", "class", "enum", "actor", "protocol"]

  /// The declarations without a comment in one file.
  static func check(_ source: SwiftSource) -> [Finding] {
    let isFrontDoor = frontDoors.contains(source.path)
    var findings: [Finding] = []
    for (index, line) in source.code.enumerated() {
      let isTopLevel = line.first != " "
      guard let declaration = packageDeclaration(line), isWanted(declaration, isTopLevel, isFrontDoor) else { continue }
      if source.hasDocComment(above: index) { continue }
      findings.append(
        Finding(path: source.path, line: index + 1, problem: "package \(declaration) has no doc comment"))
    }
    return findings
  }

  private static func isWanted(_ declaration: String, _ isTopLevel: Bool, _ isFrontDoor: Bool) -> Bool {
    let kind = declaration.split(separator: " ")[0]
    if kinds.contains(String(kind)) { return isTopLevel }
    return isFrontDoor && kind == "func"
  }

  /// `kind name` of a `package` declaration, without modifiers and attributes; nil for any other line.
  static func packageDeclaration(_ codeLine: String) -> String? {
    var words = codeLine.split(separator: " ").map(String.init)
    guard let place = words.firstIndex(of: "package"), words[..<place].allSatisfy({ $0.hasPrefix("@") }) else {
      return nil
    }
    words.removeFirst(place + 1)
    let modifiers: Set<String> = ["final", "static", "mutating", "nonisolated", "consuming", "borrowing", "indirect"]
    while let first = words.first, modifiers.contains(first) { words.removeFirst() }
    guard words.count > 1, kinds.contains(words[0]) || words[0] == "func" else { return nil }
    let name = words[1].prefix { $0.isLetter || $0.isNumber || $0 == "_" }
    // An operator says by itself what it does.
    guard !name.isEmpty else { return nil }
    return "\(words[0]) \(name)"
  }
}
