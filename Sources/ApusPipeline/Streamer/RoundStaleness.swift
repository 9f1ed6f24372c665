import ApusFormats
import ApusModel

/// Marks the series that end from one round of a source to the next: those that a target does not report any more, and
/// all of a target that does not answer. Pure; one for each source.
///
/// A target is told by the key of its items. In the usual round the same targets answer in the same order with the same
/// series: then each costs a comparison of its key and of two bitmaps.
struct RoundStaleness {
  /// Targets that are followed; what comes beyond ends without a marker, and readers look back for it.
  static let targetsMax = 1_000_000

  private struct Target {
    var key: [UInt8]
    var tracker = StalenessTracker()
    /// The number of the round in which it answered last.
    var round: UInt64
  }

  private var targets: [Target] = []
  private var places: [[UInt8]: Int] = [:]
  private var round: UInt64 = 0

  /// Adds the markers to a batch; returns how many. A batch that is no round is left as it is.
  mutating func mark(_ batch: inout SourceBatch) -> Int {
    guard let instant = batch.round else { return 0 }
    round += 1
    var next = 0
    var markers = 0
    // Items of the targets that must be looked at closely; several of one target are one answer.
    var changed: [Int: [Int]] = [:]
    for index in batch.items.indices {
      guard let target = place(of: batch.items[index].key, guess: next) else { continue }
      next = target + 1
      let isFirst = targets[target].round != round
      targets[target].round = round
      if isFirst, case .scrape(let scrape) = batch.items[index].content, scrape.timestamp == instant,
        !isFollowed(by: index, in: batch), targets[target].tracker.follows(scrape)
      {
        continue
      }
      changed[target, default: []].append(index)
    }
    for (target, items) in changed.sorted(by: { $0.key < $1.key }) {
      markers += mark(items, of: target, in: &batch, at: instant)
    }
    return markers + endSilent(in: &batch, at: instant)
  }

  /// Whether the next item is of the same target.
  private func isFollowed(by index: Int, in batch: SourceBatch) -> Bool {
    index + 1 < batch.items.count && batch.items[index + 1].key == batch.items[index].key
  }

  /// The number of a target, known or new; nil beyond the bound.
  private mutating func place(of key: [UInt8], guess: Int) -> Int? {
    if guess < targets.count, targets[guess].key == key { return guess }
    if let known = places[key] { return known }
    guard targets.count < RoundStaleness.targetsMax else { return nil }
    places[key] = targets.count
    targets.append(Target(key: key, round: 0))
    return targets.count - 1
  }

  private mutating func mark(
    _ items: [Int], of target: Int, in batch: inout SourceBatch, at instant: Timestamp
  ) -> Int {
    var scrapes: [Scrape] = []
    var owners: [Int] = []
    var samples: [SeriesSamples] = []
    for index in items {
      switch batch.items[index].content {
      case .scrape(let scrape):
        scrapes.append(scrape)
        owners.append(index)
      case .samples(let list): samples += list
      // Records of a door, which no source with rounds hands over.
      case .encoded: continue
      }
    }
    let before = samples.count
    let markers = targets[target].tracker.mark(&scrapes, &samples, at: instant)
    if markers == 0 { return 0 }
    for (scrape, index) in zip(scrapes, owners) { batch.items[index].content = .scrape(scrape) }
    if samples.count > before {
      batch.items.append(TelemetryItem(key: targets[target].key, content: .samples(Array(samples[before...]))))
    }
    return markers
  }

  /// Ends the targets that are not in this round, and forgets them.
  private mutating func endSilent(in batch: inout SourceBatch, at instant: Timestamp) -> Int {
    guard targets.contains(where: { $0.round != round }) else { return 0 }
    var markers = 0
    for index in targets.indices where targets[index].round != round {
      let rest = targets[index].tracker.end(at: instant)
      for scrape in rest.scrapes {
        markers += scrape.sampleCount
        batch.items.append(TelemetryItem(key: targets[index].key, content: .scrape(scrape)))
      }
      if !rest.samples.isEmpty {
        markers += rest.samples.count
        batch.items.append(TelemetryItem(key: targets[index].key, content: .samples(rest.samples)))
      }
    }
    targets.removeAll { $0.round != round }
    places = Dictionary(uniqueKeysWithValues: targets.enumerated().map { ($1.key, $0) })
    return markers
  }
}
