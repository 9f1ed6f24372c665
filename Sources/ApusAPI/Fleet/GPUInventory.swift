import ApusModel
import ApusStore

/// A GPU as the newest of its series describes it.
struct GPURow: Sendable {
  var uuid: String
  /// The labels of the series that was heard last: where the GPU is now.
  var labels: Labels
  var firstSeen: Int64?
  var lastSeen: Int64
  /// The newest value of each quantity that the GPU reports, in the order of `GPUQuantity.all`.
  var values: [(quantity: GPUQuantity, value: Double)]

  var nodeID: String? { FleetLabels.nodeID(labels) }
  var index: String? { labels[FleetLabels.index] }
}

/// Conditions on the GPUs of a list. Values of one field are alternatives, fields must all be met.
struct GPUFilter: Sendable {
  var nodes: Set<String> = []
  var uuids: Set<String> = []
  var models: Set<String> = []
  var datacenters: Set<String> = []
  var indexes: Set<String> = []

  /// What the store can check. A field that some exporters write to another label is let through where the usual one
  /// is absent; `accepts` decides.
  var matchers: [Matcher] {
    var result: [Matcher] = []
    func add(_ label: String, _ values: Set<String>) {
      if !values.isEmpty { result.append(.oneOf(label, values.union([""]))) }
    }
    add(FleetLabels.node[0], nodes)
    add(GPULabels.model[0], models)
    add(FleetLabels.datacenter, datacenters)
    add(FleetLabels.index, indexes)
    return result
  }

  /// Whether a GPU is wanted, by the newest of its labels.
  func accepts(_ row: GPURow) -> Bool {
    func meets(_ values: Set<String>, _ value: String?) -> Bool {
      values.isEmpty || value.map(values.contains) ?? false
    }
    return meets(nodes, row.nodeID) && meets(uuids, row.uuid)
      && meets(models, FleetLabels.first(GPULabels.model, of: row.labels))
      && meets(datacenters, row.labels[FleetLabels.datacenter]) && meets(indexes, row.index)
  }
}

/// Finds GPUs in the store's labels. Nothing is cached: a list is as new as the store.
///
/// A page costs one look at the values of a label and a select of the newest samples of the page's own series, so it
/// does not grow with the fleet.
struct GPUInventory: Sendable {
  var reader: FleetReader
  /// The first window of the walk to where GPUs were first seen, in milliseconds: one round of a fleet, or two.
  private static let firstSpan: Int64 = 15_000
  /// GPUs whose newest samples are read by one select.
  static let batchMax = 256

  /// The GPUs behind `after` in ascending order of their UUIDs, and whether there are more.
  mutating func page(
    _ filter: GPUFilter, after: String?, limit: Int
  ) async throws(StoreError) -> (rows: [GPURow], hasMore: Bool) {
    let candidates = try await candidates(filter, after: after)
    var rows: [GPURow] = []
    var position = 0
    while position < candidates.count, rows.count <= limit {
      // One more than the page is looked for; a filter may refuse some of a batch.
      let count = min(GPUInventory.batchMax, candidates.count - position, limit + 1 - rows.count)
      let batch = Array(candidates[position..<position + count])
      rows += try await describe(Set(batch)).filter { filter.accepts($0) }
      position += count
    }
    let hasMore = rows.count > limit
    if hasMore { rows.removeLast(rows.count - limit) }
    try await findFirstSeen(&rows)
    return (rows, hasMore)
  }

  /// The GPU of this UUID, or nil.
  mutating func gpu(uuid: String) async throws(StoreError) -> GPURow? {
    var rows = try await describe([uuid])
    try await findFirstSeen(&rows)
    return rows.first
  }

  /// UUIDs that may meet the filter, ascending.
  private func candidates(_ filter: GPUFilter, after: String?) async throws(StoreError) -> [String] {
    var found: Set<String> = []
    for (label, absent) in FleetLabels.deciding(FleetLabels.uuid) {
      var matchers = absent + filter.matchers
      if !filter.uuids.isEmpty { matchers.append(.oneOf(label, filter.uuids)) }
      for uuid in try await reader.store.labelValues(label, matchers, in: .all) where !uuid.isEmpty {
        if after.map({ $0 < uuid }) ?? true { found.insert(uuid) }
      }
    }
    return found.sorted()
  }

  /// The rows of some GPUs, ascending, without the time when each was first seen.
  private mutating func describe(_ uuids: Set<String>) async throws(StoreError) -> [GPURow] {
    var samples: [String: [NewestSample]] = [:]
    for sample in try await reader.newest(GPUInventory.selection(uuids)) {
      guard let uuid = FleetLabels.gpuUUID(sample.labels) else { continue }
      samples[uuid, default: []].append(sample)
    }
    return samples.keys.sorted().compactMap { uuid in samples[uuid].flatMap { GPUInventory.row(uuid, $0) } }
  }

  private static func selection(_ uuids: Set<String>) -> SeriesSelection {
    SeriesSelection(alternatives: FleetLabels.deciding(FleetLabels.uuid).map { [.oneOf($0.label, uuids)] + $0.absent })
  }

  /// The row of a GPU from the newest sample of each of its series.
  private static func row(_ uuid: String, _ samples: [NewestSample]) -> GPURow? {
    var newest: NewestSample?
    for sample in samples where newest.map({ $0.timestamp < sample.timestamp }) ?? true { newest = sample }
    guard let newest else { return nil }
    return GPURow(
      uuid: uuid, labels: newest.labels, firstSeen: nil, lastSeen: newest.timestamp,
      values: GPUQuantity.values(of: samples))
  }

  /// Fills in when each GPU was first seen, walking from the oldest sample on until all have been met. Most fleets
  /// were all there at the beginning of the data, so this usually ends with the first window.
  private mutating func findFirstSeen(_ rows: inout [GPURow]) async throws(StoreError) {
    guard !rows.isEmpty, let extent = try await reader.extent() else { return }
    var positions: [String: Int] = [:]
    for index in rows.indices { positions[rows[index].uuid] = index }
    var walk = WindowWalk(.forward, over: extent, firstSpan: GPUInventory.firstSpan)
    while !positions.isEmpty, let window = walk.window {
      do throws(StoreError) {
        var met: [String: Int64] = [:]
        for column in try await reader.select(GPUInventory.selection(Set(positions.keys)), in: window) {
          guard let uuid = FleetLabels.gpuUUID(column.labels),
            let first = column.values.firstIndex(where: { !StaleMarker.isStale($0) })
          else { continue }
          met[uuid] = min(met[uuid] ?? .max, column.timestamps[first])
        }
        for (uuid, first) in met {
          if let index = positions.removeValue(forKey: uuid) { rows[index].firstSeen = first }
        }
        walk.advance(heldLittle: true)
      } catch {
        guard case .tooManySamples = error, reader.samplesRead <= reader.samplesPerRequestMax, walk.shrink() else {
          throw error
        }
      }
    }
  }
}
