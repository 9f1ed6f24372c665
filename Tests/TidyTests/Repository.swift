import Foundation

/// The repository that this test was built from, as files.
enum Repository {
  /// The folder that holds Package.swift.
  static let root: URL = {
    var folder = URL(fileURLWithPath: #filePath)
    for _ in 0..<3 { folder.deleteLastPathComponent() }
    return folder
  }()

  /// What is looked at: everything that is written by hand. Hidden folders hold what builds leave behind.
  private static let places = [
    "Sources", "Tests", "Fuzz", "Benchmarks", "docs", "examples", "scripts", "proto", "deploy", "Makefile",
    "Package.swift", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", ".ci",
  ]

  /// The paths of all files below the places, from the root, in order.
  static let files: [String] = {
    var found: [String] = []
    for place in places {
      let url = root.appendingPathComponent(place)
      var isFolder: ObjCBool = false
      guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder) else { continue }
      guard isFolder.boolValue else {
        found.append(place)
        continue
      }
      guard let names = FileManager.default.enumerator(atPath: url.path) else { continue }
      for case let name as String in names {
        let isHidden = name.split(separator: "/").contains { $0.hasPrefix(".") || $0 == "__pycache__" }
        var isInner: ObjCBool = false
        let path = place + "/" + name
        _ = FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path, isDirectory: &isInner)
        if !isHidden && !isInner.boolValue { found.append(path) }
      }
    }
    return found.sorted()
  }()

  /// The text of a file; nil when there is none or it is not text.
  static func text(_ path: String) -> String? {
    guard let data = FileManager.default.contents(atPath: root.appendingPathComponent(path).path) else { return nil }
    return String(data: data, encoding: .utf8)
  }

  /// Whether there is a file or a folder of this path.
  static func exists(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path)
  }

  /// Every Swift file below `Sources`, `Tests`, `Fuzz` and `Benchmarks`, taken apart.
  static let swift: [SwiftSource] = files.filter { $0.hasSuffix(".swift") && $0.contains("/") }
    .compactMap { path in text(path).map { SwiftSource(path: path, text: $0) } }

  /// The Swift files that make up the program.
  static var sources: [SwiftSource] { swift.filter { $0.path.hasPrefix("Sources/") } }
}

/// Something that is not as it should be, and where.
struct Finding: Hashable, CustomStringConvertible {
  var path: String
  /// Counted from 1.
  var line: Int
  var problem: String

  var description: String { "\(path):\(line): \(problem)" }
}

extension [Finding] {
  /// One finding a line, for the failure's text.
  var report: String { map(\.description).joined(separator: "\n") }
}
