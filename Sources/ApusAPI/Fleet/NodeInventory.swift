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
  /// Not heard of for longer than `Configuration.nodeOfflineAfter`, or known to have gone.
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

/// When something was heard, by the newest samples of its series.
struct Heard: Sendable {
  /// Of all series.
  private(set) var lastSeen = Int64.min
  /// Of the series that no stale marker ends; nil when all have ended.
  private var lastLive: Int64?

  mutating func add(_ sample: NewestSample) {
    lastSeen = max(lastSeen, sample.timestamp)
    if !sample.isEnded { lastLive = max(lastLive ?? sample.timestamp, sample.timestamp) }
  }

  /// Whether nothing that has not ended was heard for longer than so many milliseconds before an instant. What ended is
  /// known to be silent and need not be waited for.
  func isSilent(at instant: Int64, after length: Int64) -> Bool { lastLive.map { instant - $0 > length } ?? true }
}

/// How silence is judged. Milliseconds.
struct NodeFreshness: Sendable {
  /// A node or GPU without samples for longer is silent.
  var offlineAfter: Int64
  /// A GPU silent for longer than this has been taken away: it counts no more.
  var forgottenAfter: Int64

  /// The status of a node and its GPUs that were heard like this.
  func status(_ node: Heard, gpus: some Collection<Heard>, now: Int64) -> NodeStatus {
    if node.isSilent(at: now, after: offlineAfter) { return .offline }
    // Compared with the node and not with the clock: a GPU that stops while its node goes on is lost.
    let counted = gpus.filter { node.lastSeen - $0.lastSeen <= forgottenAfter }
    let silent = counted.filter { $0.isSilent(at: node.lastSeen, after: offlineAfter) }
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
    struct Entry {
      var node = Heard()
      var datacenter: (seen: Int64, name: String)?
      var gpus: [String: Heard] = [:]
    }
    var entries: [String: Entry] = [:]
    for sample in try await reader.newest(NodeInventory.selection(nodes)) {
      guard let id = FleetLabels.nodeID(sample.labels) else { continue }
      let seen = sample.timestamp
      entries[id, default: Entry()].node.add(sample)
      if let name = sample.labels[FleetLabels.datacenter],
        entries[id]?.datacenter.map({ $0.seen < seen }) ?? true
      {
        entries[id]?.datacenter = (seen, name)
      }
      if let uuid = FleetLabels.gpuUUID(sample.labels) { entries[id]?.gpus[uuid, default: Heard()].add(sample) }
    }
    return entries.keys.sorted().compactMap { id in
      entries[id].map { entry in
        NodeRow(
          id: id, status: freshness.status(entry.node, gpus: entry.gpus.values, now: now),
          datacenter: entry.datacenter?.name, lastSeen: entry.node.lastSeen, gpuCount: entry.gpus.count)
      }
    }
  }
}
