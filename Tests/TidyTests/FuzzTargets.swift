/// Whatever takes bytes from outside apart has a fuzz target.
enum FuzzTargets {
  /// Where decoders live.
  static let rooms: Set<String> = ["ApusFormats", "ApusBroker", "ApusDoors", "ApusStore", "ApusIO"]

  /// What the names of decoders end with.
  private static let endings = ["Parser", "Decoder", "Scanner"]

  /// Decoders that are driven through another one's target, or whose input is our own; each with its reason.
  static let exempt: [String: String] = [
    "JSONScanner": "the targets of the telemetry JSON and of the TCP frames go through it",
    "RecordCursor": "the target of the segment reader goes through it",
    "ValueDecoder": "reads our own blocks behind a checksum; the store's crash tests flip their bits",
  ]

  /// Decoders whose names do not say so: type and the beginning of the file that has to be there with it.
  static let alsoDecoders: [String: String] = [
    "ScrapeRecord": "Sources/ApusFormats/ScrapeRecord+Decode.swift",
    "RecordCursor": "Sources/ApusBroker/RecordCursor.swift",
  ]

  /// The decoders that a source file declares, with their lines (from 1).
  static func decoders(in source: SwiftSource) -> [(line: Int, name: String)] {
    guard source.path.hasPrefix("Sources/"), rooms.contains(source.module) else { return [] }
    if let name = alsoDecoders.first(where: { $0.value == source.path })?.key { return [(1, name)] }
    return source.code.enumerated().compactMap { index, line in
      guard let declaration = DocComments.packageDeclaration(line) else { return nil }
      let parts = declaration.split(separator: " ").map(String.init)
      guard parts.count == 2, parts[0] != "func", endings.contains(where: parts[1].hasSuffix) else { return nil }
      return (index + 1, parts[1])
    }
  }

  /// The decoders that no fuzz target uses.
  static func check(_ source: SwiftSource, fuzz: [SwiftSource]) -> [Finding] {
    decoders(in: source).compactMap { line, name in
      if exempt[name] != nil { return nil }
      if fuzz.contains(where: { target in target.code.contains { Places.contains($0, name) } }) { return nil }
      return Finding(path: source.path, line: line, problem: "no fuzz target in Fuzz/ drives \(name)")
    }
  }
}
