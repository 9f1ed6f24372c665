import ApusModel

/// What the producer knows of the copies of its series sets in each partition: where the last acknowledged one lies and
/// when a fresh one is due. Pure.
///
/// A scrape may be written once its set has an acknowledged copy. A fresh copy is due after `maxAge` or `maxBytes`
/// written to the partition, whichever is first, so that a reader which finds the old one gone need not wait long.
struct SetLedger {
  struct Limits: Hashable, Sendable {
    var maxAgeMilliseconds: Int64 = 5 * 60_000
    var maxBytes: Int64 = 64 << 20
    /// The most sets to remember for one partition; beyond it the one unused for longest is forgotten, which costs
    /// another copy when it comes back.
    var setsMax = 20_000
  }

  enum Advice: Equatable {
    /// No acknowledged copy: it must be written and acknowledged first.
    case missing
    /// The scrape may name this offset.
    case known(offset: Int64)
    /// As `known`, and a fresh copy goes along.
    case due(offset: Int64)
  }

  private struct Copy {
    var offset: Int64
    var writtenAt: Int64
    /// What had been written to the partition by then.
    var bytesBefore: Int64
    var lastUse: Int64
  }

  private struct Partition {
    var copies: [SeriesSetID: Copy] = [:]
    var bytes: Int64 = 0
    var uses: Int64 = 0
  }

  private let limits: Limits
  private var partitions: [Int32: Partition] = [:]

  init(limits: Limits = Limits()) { self.limits = limits }

  /// Whether a scrape of the set may be written to the partition now.
  mutating func advice(for id: SeriesSetID, in partition: Int32, now: Int64) -> Advice {
    // Changed in its place: a copy of the state would copy all it knows, for every scrape.
    SetLedger.advice(for: id, in: &partitions[partition, default: Partition()], now: now, limits)
  }

  private static func advice(
    for id: SeriesSetID, in state: inout Partition, now: Int64, _ limits: Limits
  ) -> Advice {
    state.uses += 1
    guard let index = state.copies.index(forKey: id) else { return .missing }
    state.copies.values[index].lastUse = state.uses
    let copy = state.copies.values[index]
    let isOld = now - copy.writtenAt >= limits.maxAgeMilliseconds || now < copy.writtenAt
    let isFar = state.bytes - copy.bytesBefore >= limits.maxBytes
    return isOld || isFar ? .due(offset: copy.offset) : .known(offset: copy.offset)
  }

  /// A copy was acknowledged.
  mutating func acknowledge(_ id: SeriesSetID, in partition: Int32, offset: Int64, now: Int64) {
    SetLedger.note(id, in: &partitions[partition, default: Partition()], offset: offset, now: now, limits)
  }

  private static func note(
    _ id: SeriesSetID, in state: inout Partition, offset: Int64, now: Int64, _ limits: Limits
  ) {
    state.uses += 1
    state.copies[id] = Copy(offset: offset, writtenAt: now, bytesBefore: state.bytes, lastUse: state.uses)
    if state.copies.count > limits.setsMax { forgetOldest(&state, keep: limits.setsMax) }
  }

  /// Bytes were written to a partition.
  mutating func count(bytes: Int, in partition: Int32) {
    partitions[partition, default: Partition()].bytes += Int64(bytes)
  }

  /// The log may have lost what it had, or is another one: every set is written again before its next scrape.
  mutating func forgetAll() { partitions.removeAll() }

  var setCount: Int { partitions.values.reduce(0) { $0 + $1.copies.count } }

  /// Forgets a tenth at once, so that a churn of sets does not sort at every one.
  private static func forgetOldest(_ state: inout Partition, keep: Int) {
    let order = state.copies.sorted { $0.value.lastUse < $1.value.lastUse }
    for (id, _) in order.prefix(order.count - keep + keep / 10) { state.copies[id] = nil }
  }
}
