/// Who may import whom: the table of ARCHITECTURE.md, "The modules", as data.
///
/// A module stands in a layer; an arrow may only point down, or to one of its own layer that is named here.
enum ImportTable {
  struct Room {
    var layer: Int
    /// Our own modules, C targets among them.
    var modules: Set<String>
    /// Packages from elsewhere beyond those that any module may use.
    var packages: Set<String> = []
  }

  /// Small interfaces without weight, and the standard library's own modules.
  static let anywhere: Set<String> = [
    "Logging", "Metrics", "Collections", "OrderedCollections", "DequeModule", "HeapModule", "Atomics",
    "Synchronization",
  ]

  /// The C library by its names on the platforms, and the threads of the system.
  static let platform: Set<String> = ["Glibc", "Darwin", "Musl", "Dispatch"]

  static let foundation: Set<String> = ["Foundation", "FoundationEssentials", "FoundationNetworking"]

  /// Rooms that build and are tested in seconds and hold the hot paths: no Foundation there.
  static let withoutFoundation: Set<String> = ["ApusModel", "ApusIO", "KafkaWire", "ApusBroker", "ApusStore"]

  private static let nio: Set<String> = ["NIOCore", "NIOPosix", "NIOConcurrencyHelpers", "NIOFoundationCompat"]

  static let rooms: [String: Room] = [
    "ApusModel": Room(layer: 0, modules: []),
    "ApusIO": Room(layer: 0, modules: ["CKernels", "CZstd", "CLZ4", "CZlib"]),
    "ApusFormats": Room(layer: 1, modules: ["ApusModel", "ApusIO", "CKernels"]),
    "KafkaWire": Room(layer: 1, modules: ["ApusIO"]),
    "ApusBroker": Room(layer: 1, modules: ["ApusIO"]),
    "ApusNode": Room(layer: 1, modules: ["ApusModel", "ApusIO", "CNVML"]),
    "ApusService": Room(
      layer: 1, modules: ["ApusIO"],
      packages: nio.union([
        "Hummingbird", "HummingbirdCore", "HTTPTypes", "ServiceLifecycle", "UnixSignals", "Yams", "NIOHTTPCompression",
        "NIOHTTP1", "NIOHTTPTypes",
      ])),
    "ApusStore": Room(layer: 2, modules: ["ApusModel", "ApusIO"]),
    "ApusPromQL": Room(layer: 3, modules: ["ApusModel", "ApusStore"]),
    "ApusPipeline": Room(
      layer: 3,
      modules: ["ApusModel", "ApusIO", "ApusFormats", "ApusNode", "ApusBroker", "ApusStore", "ApusService"]),
    "ApusDoors": Room(
      layer: 3, modules: ["ApusIO", "ApusBroker", "KafkaWire", "ApusService"],
      packages: nio.union([
        "Hummingbird", "HTTPTypes", "ServiceLifecycle", "GRPCCore", "GRPCProtobuf", "SwiftProtobuf",
      ])),
    "ApusAdapters": Room(
      layer: 3, modules: ["ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusStore", "CPostgres", "CRDKafka"],
      packages: ["AsyncHTTPClient", "NIOCore", "NIOHTTP1"]),
    "ApusAlert": Room(layer: 4, modules: ["ApusModel", "ApusPromQL", "ApusStore", "ApusNode"]),
    "ApusInference": Room(layer: 4, modules: ["ApusNode", "ApusService"]),
    "ApusAPI": Room(
      layer: 5,
      modules: [
        "ApusModel", "ApusIO", "ApusFormats", "ApusBroker", "ApusNode", "ApusStore", "ApusPromQL", "ApusAlert",
        "ApusService", "ApusPipeline", "CDashboard", "CSwagger",
      ],
      packages: ["Hummingbird", "HummingbirdCore", "HTTPTypes", "NIOCore", "ServiceLifecycle"]),
    "ApusCommands": Room(
      layer: 6,
      modules: [
        "ApusModel", "ApusIO", "ApusFormats", "KafkaWire", "ApusBroker", "ApusNode", "ApusService", "ApusStore",
        "ApusPromQL", "ApusPipeline", "ApusDoors", "ApusAdapters", "ApusAlert", "ApusInference", "ApusAPI",
      ],
      packages: nio.union(["ArgumentParser", "ServiceLifecycle", "Hummingbird", "Yams"])),
    "apus": Room(layer: 7, modules: ["ApusCommands"]),
  ]

  /// Heavy packages that a single folder of a room may use, beyond what the room may.
  static let folders: [String: Set<String>] = [
    "Sources/ApusPipeline/Sources/DCGM/": ["AsyncHTTPClient", "NIOCore", "NIOHTTP1"],
    "Sources/ApusAlert/Actions/": ["AsyncHTTPClient", "NIOCore", "NIOHTTP1"],
    "Sources/ApusAlert/History/": ["CSQLite"],
  ]

  /// The module that an import line names, or nil for a line that is none. `import struct X.Y` names X.
  static func importedModule(_ codeLine: String) -> String? {
    var words = codeLine.split(separator: " ").map(String.init)
    while let first = words.first,
      first.hasPrefix("@") || first == "package" || first == "public" || first == "internal"
    {
      words.removeFirst()
    }
    guard words.first == "import", words.count > 1 else { return nil }
    let kinds: Set<String> = ["struct", "class", "enum", "protocol", "func", "let", "var", "typealias", "actor"]
    let name = kinds.contains(words[1]) && words.count > 2 ? words[2] : words[1]
    return String(name.split(separator: ".")[0])
  }

  /// What is wrong with the imports of one source file.
  static func check(_ source: SwiftSource) -> [Finding] {
    guard let room = rooms[source.module] else {
      return [
        Finding(
          path: source.path, line: 1,
          problem: "\(source.module) is not in the table of modules; add a row there and a line in ARCHITECTURE.md")
      ]
    }
    let extra = folders.first { source.path.hasPrefix($0.key) }?.value ?? []
    var findings: [Finding] = []
    for (index, line) in source.code.enumerated() {
      guard let name = importedModule(line) else { continue }
      if foundation.contains(name) {
        if withoutFoundation.contains(source.module) {
          findings.append(
            Finding(path: source.path, line: index + 1, problem: "\(source.module) must do without \(name)"))
        }
        continue
      }
      let isAllowed =
        anywhere.contains(name) || platform.contains(name) || room.modules.contains(name)
        || room.packages.contains(name) || extra.contains(name) || name == source.module
      if !isAllowed {
        findings.append(Finding(path: source.path, line: index + 1, problem: "\(source.module) may not import \(name)"))
      }
    }
    return findings
  }
}
