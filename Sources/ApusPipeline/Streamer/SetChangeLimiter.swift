import ApusModel

/// Counts how often the series of one host change, and says when that is too often to write a set for each. Pure.
///
/// A set pays off when many scrapes share it. A source that never repeats its list would write more sets than values;
/// beyond the limit its scrapes go out series by series, until the minute is over.
struct SetChangeLimiter {
  /// New sets of one host within a minute that are still written as sets.
  static let changesPerMinuteMax = 30
  /// Sets of one host that count as seen, so that a host with a few lists in turn changes nothing.
  private static let recentMax = 8
  /// Hosts to remember; beyond it all are forgotten, which only makes their next sets count as new.
  private static let hostsMax = 200_000

  private struct Host {
    var recent: [SeriesSetID] = []
    var minute: Int64 = 0
    var changes = 0
  }

  private var hosts: [[UInt8]: Host] = [:]
  /// Changes so far, the first set of each host not among them.
  private(set) var changes = 0

  /// Notes that a host sends this set, and says whether it may be written as one.
  mutating func admit(_ id: SeriesSetID, from key: [UInt8], now: Int64) -> Bool {
    if let host = hosts[key], host.recent.last == id { return true }
    if hosts.count >= SetChangeLimiter.hostsMax, hosts[key] == nil { hosts.removeAll() }
    var host = hosts[key, default: Host()]
    defer { hosts[key] = host }
    if let index = host.recent.firstIndex(of: id) {
      host.recent.append(host.recent.remove(at: index))
      return true
    }
    if !host.recent.isEmpty { changes += 1 }
    let minute = now / 60_000
    if minute != host.minute { (host.minute, host.changes) = (minute, 0) }
    host.changes += 1
    guard host.changes <= SetChangeLimiter.changesPerMinuteMax else { return false }
    host.recent.append(id)
    if host.recent.count > SetChangeLimiter.recentMax { host.recent.removeFirst() }
    return true
  }
}
