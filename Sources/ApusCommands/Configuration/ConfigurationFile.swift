import Foundation
import Yams

/// `apus.yaml`: a mapping from the long names of options to their values, for all roles; a mapping under a role's own
/// name (`up:`, `broker:`, …) holds what is meant for that role alone and wins over the shared value.
struct ConfigurationFile: Sendable {
  struct Entry: Hashable, Sendable {
    /// The role it is meant for; nil for all.
    var role: String?
    var key: String
    /// One value, or the items of a list.
    var values: [String]
    var isList: Bool
    var line: Int
  }

  /// How large a configuration file may be, in bytes.
  static let bytesMax = 1 << 20

  var path: String
  var entries: [Entry]

  /// Reads and checks the form of a file; which keys there are is checked by `ConfigurationCheck`.
  init(path: String, roles: Set<String>) throws(ConfigurationError) {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ConfigurationError(origin: path, reason: "the file cannot be read; check the path given with --config")
    }
    guard data.count <= ConfigurationFile.bytesMax else {
      throw ConfigurationError(origin: path, reason: "the file is larger than \(ConfigurationFile.bytesMax) bytes")
    }
    try self.init(path: path, text: String(decoding: data, as: UTF8.self), roles: roles)
  }

  init(path: String, text: String, roles: Set<String>) throws(ConfigurationError) {
    self.path = path
    entries = []
    let root: Node?
    do {
      root = try Yams.compose(yaml: text)
    } catch let error as YamlError {
      throw ConfigurationError(origin: path, reason: "it is not valid YAML: \(error)")
    } catch {
      throw ConfigurationError(origin: path, reason: "it is not valid YAML: \(error)")
    }
    guard let root else { return }
    guard case .mapping(let mapping) = root else {
      throw ConfigurationError(origin: path, reason: "the file must be a mapping of options to values")
    }
    for (keyNode, value) in mapping {
      let key = try name(keyNode)
      if roles.contains(key), case .mapping(let inner) = value {
        for (innerKey, innerValue) in inner { try add(role: key, key: try name(innerKey), innerKey, innerValue) }
      } else {
        try add(role: nil, key: key, keyNode, value)
      }
    }
  }

  /// The value of an option for a role: the role's own, else the shared one.
  func entry(_ key: String, role: String) -> Entry? {
    entries.last { $0.key == key && $0.role == role } ?? entries.last { $0.key == key && $0.role == nil }
  }

  private func name(_ node: Node) throws(ConfigurationError) -> String {
    guard let text = node.scalar?.string else {
      throw ConfigurationError(origin: origin(node), reason: "an option's name must be text")
    }
    return text
  }

  private mutating func add(role: String?, key: String, _ keyNode: Node, _ value: Node) throws(ConfigurationError) {
    let line = keyNode.mark?.line ?? 0
    switch value {
    case .scalar(let scalar):
      entries.append(Entry(role: role, key: key, values: [scalar.string], isList: false, line: line))
    case .sequence(let items):
      var values: [String] = []
      for item in items {
        guard let text = item.scalar?.string else {
          throw ConfigurationError(origin: origin(item), reason: "a list under \"\(key)\" may hold single values only")
        }
        values.append(text)
      }
      entries.append(Entry(role: role, key: key, values: values, isList: true, line: line))
    case .mapping, .alias:
      throw ConfigurationError(
        origin: origin(keyNode), reason: "\"\(key)\" is neither an option with a single value nor a role")
    }
  }

  private func origin(_ node: Node) -> String { "\(path), line \(node.mark?.line ?? 0)" }
}

/// A mistake in the configuration: where it stands, what is wrong, what to do.
struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
  var origin: String
  var reason: String

  var description: String { "\(origin): \(reason)" }
}
