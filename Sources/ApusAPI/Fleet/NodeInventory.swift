import ApusModel
import ApusStore

/// What a node's data says of it. Documented in docs/reference/http.md, "The status of a node".
enum NodeStatus: String, Sendable, CaseIterable {
  /// Heard of lately, and so are all of its GPUs.
  case healthy
  /// Heard of lately, but some of its GPUs are silent.
  case degraded
  /// Heard of lately, but all of its GPUs are silent.
  case critical
  /// Not heard of for longer than `Configuration.nodeOfflineAfter`.
  case offline
}

/// A node as its newest samples describe it.
struct NodeRow: Sendable {
  var id: String
  var status: NodeStatus
  var datacenter: String?
  var lastSeen: Int64
  var gpuCount: Int
}

/// How silence is judged. Milliseconds.
struct NodeFreshness: Sendable {
  /// A node or GPU without samples for longer is silent.
  var offlineAfter: Int64
  /// A GPU silent for longer than this has been taken away: it counts no more.
  var forgottenAfter: Int64

  /// The status of a node that was last heard at `lastSeen`, its GPUs at `gpus`.
  func status(lastSeen: Int64, gpus: [Int64], now: Int64) -> NodeStatus {
    if now - lastSeen > offlineAfter { return .offline }
    // Compared with the node and not with the clock: a GPU that stops while its node goes on is lost.
    let counted = gpus.filter { lastSeen - $0 <= forgottenAfter }
    let silent = counted.filter { lastSeen - $0 > offlineAfter }
    if silent.isEmpty { return .healthy }
    return silent.count == counted.count ? .critical : .degraded
  }
}

/// Finds nodes in the store's labels. Nothing is cached.
struct NodeInventory: Sendable {
  var reader: FleetReader
  let freshness: NodeFreshness
  /// Milliseconds since 1970.
  let now: Int64
  /// Nodes whose newest samples are read by one select.
  static let batchMax = 64

  /// The nodes behind `after` in ascending order of their ids, and whether there are more.
  mutating func page(after: String?, limit: Int) async throws(StoreError) -> (rows: [NodeRow], hasMore: Bool) {
    let all = try await identities()
    let ids = all.keys.sorted().filter { id in after.map { $0 < id } ?? true }
    let wanted = ids.prefix(limit)
    var rows: [NodeRow] = []
    var position = 0
    while position < wanted.count {
      let batch = wanted.dropFirst(position).prefix(NodeInventory.batchMax)
      rows += try await describe(batch.map { ($0, all[$0] ?? []) })
      position += batch.count
    }
    return (rows, ids.count > limit)
  }

  /// The node of this id, or nil.
  mutating func node(_ id: String) async throws(StoreError) -> NodeRow? {
    let instances = try await instances(of: id)
    return try await describe([(id, instances)]).first
  }

  /// All series of a node.
  func selection(_ id: String) async throws(StoreError) -> SeriesSelection {
    NodeInventory.selection([(id, try await instances(of: id))])
  }

  /// The nodes there are, each with the values of `instance` that stand for it where no better label does.
  private func identities() async throws(StoreError) -> [String: Set<String>] {
    var result: [String: Set<String>] = [:]
    for (label, absent) in FleetLabels.deciding(FleetLabels.node) {
      for value in try await reader.store.labelValues(label, absent, in: .all) where !value.isEmpty {
        result[value, default: []].formUnion([])
      }
    }
    for instance in try await namelessInstances() where !instance.isEmpty {
      result[Labels.host(ofInstance: instance), default: []].insert(instance)
    }
    return result
  }

  private func instances(of id: String) async throws(StoreError) -> Set<String> {
    Set(try await namelessInstances().filter { Labels.host(ofInstance: $0) == id })
  }

  /// The values of `instance` on series without a label that names the node itself.
  private func namelessInstances() async throws(StoreError) -> [String] {
    try await reader.store.labelValues(
      FleetLabels.instance, FleetLabels.node.map { .equal($0, "") }, in: .all)
  }

  private static func selection(_ nodes: [(id: String, instances: Set<String>)]) -> SeriesSelection {
    let ids = Set(nodes.map(\.id))
    var alternatives: [[Matcher]] = FleetLabels.deciding(FleetLabels.node).map { [.oneOf($0.label, ids)] + $0.absent }
    let instances = nodes.reduce(into: Set<String>()) { $0.formUnion($1.instances) }
    if !instances.isEmpty {
      alternatives.append([.oneOf(FleetLabels.instance, instances)] + FleetLabels.node.map { .equal($0, "") })
    }
    return SeriesSelection(alternatives: alternatives)
  }

  private mutating func describe(
    _ nodes: [(id: String, instances: Set<String>)]
  ) async throws(StoreError) -> [NodeRow] {
    struct Heard {
      var lastSeen = Int64.min
      var datacenter: (seen: Int64, name: String)?
      var gpus: [String: Int64] = [:]
    }
    var heard: [String: Heard] = [:]
    for column in try await reader.select(NodeInventory.selection(nodes), newest: 1) {
      guard let id = FleetLabels.nodeID(column.labels), let seen = column.timestamps.last else { continue }
      var entry = heard[id] ?? Heard()
      entry.lastSeen = max(entry.lastSeen, seen)
      if let name = column.labels[FleetLabels.datacenter], entry.datacenter.map({ $0.seen < seen }) ?? true {
        entry.datacenter = (seen, name)
      }
      if let uuid = FleetLabels.gpuUUID(column.labels) { entry.gpus[uuid] = max(entry.gpus[uuid] ?? .min, seen) }
      heard[id] = entry
    }
    return heard.keys.sorted().compactMap { id in
      heard[id].map { entry in
        NodeRow(
          id: id,
          status: freshness.status(lastSeen: entry.lastSeen, gpus: Array(entry.gpus.values), now: now),
          datacenter: entry.datacenter?.name, lastSeen: entry.lastSeen, gpuCount: entry.gpus.count)
      }
    }
  }
}
