import ApusModel

/// Knows which series a source's last scrape had, and marks those that are not in the next one: each gets one stale
/// marker at the next scrape's time, as Prometheus writes it. Pure; one for each source.
///
/// Only what carries the scrape's own time is followed. Samples with a time of their own have a timeline of their own,
/// and nothing is known of their end. Nothing is written for a source without a last scrape, so a program that was
/// started anew marks nothing of what it did not see; readers look back a few minutes and no further.
///
/// ```swift
/// markers += tracker.mark(&scrapes, &samples, at: instant)   // the source answered
/// let rest = tracker.end(at: instant)                        // it did not
/// ```
/// Cost while the list of series stays the same: a look at the words of two bitmaps, or at nothing. Memory: a bitmap a
/// set, which itself is shared, and the labels of what was in no set.
package struct StalenessTracker: Sendable {
  /// The series of a set that the last scrape had.
  private struct Column: Sendable {
    var set: SeriesSet
    var absent: Bitmap?

    func isLive(_ index: Int) -> Bool { absent.map { !$0[index] } ?? true }
  }

  /// A series of one of the new scrapes.
  private struct Place {
    var scrape: Int
    var index: Int
  }

  private var instant: Timestamp?
  private var columns: [Column] = []
  /// Series that were in no set.
  private var loners: Set<Labels> = []

  package init() {}

  /// An estimate of what it keeps beside the sets, which it shares.
  package var byteCount: Int {
    columns.reduce(64) { $0 + 48 + 8 * ($1.absent?.words.count ?? 0) } + loners.reduce(0) { $0 + 64 + $1.bytes.count }
  }

  /// Takes note of a scrape that marks nothing, without looking at its series one by one; false when `mark` must look.
  package mutating func follows(_ scrape: Scrape) -> Bool {
    guard let instant, instant < scrape.timestamp, columns.count == 1, loners.isEmpty,
      columns[0].set == scrape.set
    else { return false }
    if let absent = scrape.absent {
      for (word, bits) in absent.words.enumerated() where bits & ~(columns[0].absent?.words[word] ?? 0) != 0 {
        return false
      }
    }
    self.instant = scrape.timestamp
    columns[0].absent = scrape.absent
    return true
  }

  /// Adds the markers of the series that have gone to what the source says at an instant: to the scrapes whose sets have
  /// them, else to the samples. Returns how many there are. An instant that is not later than the last one is passed
  /// over.
  package mutating func mark(
    _ scrapes: inout [Scrape], _ samples: inout [SeriesSamples], at instant: Timestamp
  ) -> Int {
    if let last = self.instant, last >= instant { return 0 }
    let new = scrapes.indices.filter { scrapes[$0].timestamp == instant }
    let reported = Set(samples.filter { StalenessTracker.isReported($0, at: instant) }.map(\.labels))
    let gone = self.instant == nil ? Gone() : gone(new.map { scrapes[$0] }, reported)
    self.instant = instant
    columns = new.map { Column(set: scrapes[$0].set, absent: scrapes[$0].absent) }
    loners = reported
    for place in gone.places {
      let scrape = new[place.scrape]
      scrapes[scrape].values[place.index] = StaleMarker.value
      scrapes[scrape].absent?[place.index] = false
    }
    for index in Set(gone.places.map { new[$0.scrape] }) where scrapes[index].absent?.setCount == 0 {
      scrapes[index].absent = nil
    }
    samples += gone.others.map { StalenessTracker.marker($0, at: instant) }
    return gone.places.count + gone.others.count
  }

  /// The source has gone, or did not answer: markers for all that its last scrape had. Nothing is known of it from here
  /// on.
  package mutating func end(at instant: Timestamp) -> (scrapes: [Scrape], samples: [SeriesSamples]) {
    defer { self = StalenessTracker() }
    guard let last = self.instant, last < instant else { return ([], []) }
    let scrapes = columns.map { column in
      Scrape(
        set: column.set, timestamp: instant,
        values: [Double](repeating: StaleMarker.value, count: column.set.count), absent: column.absent)
    }
    return (
      scrapes.filter { $0.sampleCount > 0 }, loners.sorted().map { StalenessTracker.marker($0, at: instant) }
    )
  }

  private static func marker(_ labels: Labels, at instant: Timestamp) -> SeriesSamples {
    SeriesSamples(labels: labels, timestamps: [instant.milliseconds], values: [StaleMarker.value])
  }

  private static func isReported(_ samples: SeriesSamples, at instant: Timestamp) -> Bool {
    guard samples.timestamps.last == instant.milliseconds, let value = samples.values.last else { return false }
    return !StaleMarker.isStale(value)
  }

  private struct Gone {
    /// Those that a new scrape's set has, as absent ones.
    var places: [Place] = []
    /// Those that it has not, ascending.
    var others: [Labels] = []
  }

  /// What the last scrape had and the new one has not. The sets are gone through side by side, because a new one mostly
  /// begins as the old one did; only what differs is looked up.
  private func gone(_ scrapes: [Scrape], _ reported: Set<Labels>) -> Gone {
    var candidates: [Place] = []
    var strayed: [Labels] = []
    // Of the new scrapes: what was not reported at the same place before, and places without a sample.
    var appeared: [Place] = []
    var vacant: [Place] = []
    for index in 0..<max(columns.count, scrapes.count) {
      let old = index < columns.count ? columns[index] : nil
      let new = index < scrapes.count ? scrapes[index] : nil
      let isSameSet = old?.set == new?.set
      for row in 0..<max(old?.set.count ?? 0, new?.set.count ?? 0) {
        let before = old.flatMap { row < $0.set.count ? $0 : nil }
        let after = new.flatMap { row < $0.set.count ? $0 : nil }
        let wasLive = before?.isLive(row) ?? false
        let isLive = after.map { $0.absent.map { !$0[row] } ?? true } ?? false
        let place = Place(scrape: index, index: row)
        if let before, let after, isSameSet || before.set.series[row] == after.set.series[row] {
          if wasLive == isLive { continue }
          if isLive { appeared.append(place) } else { candidates.append(place) }
          continue
        }
        if let before, wasLive { strayed.append(before.set.series[row]) }
        if after != nil { if isLive { appeared.append(place) } else { vacant.append(place) } }
      }
    }
    strayed += loners
    if candidates.isEmpty && strayed.isEmpty { return Gone() }
    func labels(_ place: Place) -> Labels { scrapes[place.scrape].set.series[place.index] }
    let elsewhere = reported.union(appeared.map(labels))
    var gone = Gone()
    gone.places = candidates.filter { !elsewhere.contains(labels($0)) }
    let lost = strayed.filter { !elsewhere.contains($0) }
    if lost.isEmpty { return gone }
    let homes = Dictionary(vacant.map { (labels($0), $0) }, uniquingKeysWith: { first, _ in first })
    for series in lost {
      if let home = homes[series] { gone.places.append(home) } else { gone.others.append(series) }
    }
    gone.others.sort()
    return gone
  }
}
