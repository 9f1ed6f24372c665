import ApusModel

/// Decides which span is to be rolled up next. Pure: what there is goes in, one piece of work comes out.
struct RollupPlan: Sendable {
  let levels: [RollupLevel]
  let spanMilliseconds: Int64
  /// A span is rolled up this long after its end, when little is to be expected for it any more.
  let delayMilliseconds: Int64
  /// Spans with fewer samples answer themselves.
  let samplesMin: Int
  /// Off: none are made; those there are still made again when they must be.
  let makesNew: Bool
  /// How long samples are kept; nil for ever. Where they go, all that is left of them is worth a roll-up.
  let retentionMilliseconds: Int64?

  /// A span to roll up, at some of the resolutions.
  struct Work: Hashable {
    var start: Int64
    var end: Int64
    /// Ascending.
    var resolutions: [Int64]
  }

  var spans: TimeGrid { TimeGrid(step: spanMilliseconds) }

  /// Whether a level keeps a span that ends at an instant.
  func keeps(_ level: RollupLevel, end: Int64, now: Int64) -> Bool {
    guard let retention = level.retentionMilliseconds else { return true }
    let (cutoff, overflow) = now.subtractingReportingOverflow(retention)
    return overflow || end > cutoff
  }

  /// The levels that outlive the samples: for their sake samples are kept until they have been rolled up.
  var outliving: [RollupLevel] {
    guard makesNew, let retentionMilliseconds else { return [] }
    return levels.filter { $0.retentionMilliseconds.map { $0 > retentionMilliseconds } ?? true }
  }

  /// The next work, the oldest first; nil when there is none.
  ///
  /// - Parameters:
  ///   - weights: of each block its sequence and how many samples it has in which span, by the spans' starts.
  ///   - newest: the newest instant of the store. A span is over when newer samples have come, by the clock and by their
  ///     own time: the import of a day long past does not roll it up before it is complete.
  func next(
    _ weights: [(sequence: UInt64, spans: [Int64: Int])], rollups: [RollupMeta], tombstones: [Tombstone], now: Int64,
    newest: Int64
  ) -> Work? {
    var best: Work?
    func consider(_ start: Int64, _ end: Int64, _ resolution: Int64) {
      if let known = best, (known.start, known.end) == (start, end) {
        best?.resolutions.append(resolution)
      } else if best.map({ start < $0.start }) ?? true {
        best = Work(start: start, end: end, resolutions: [resolution])
      }
    }
    var totals: [Int64: (samples: Int, sequence: UInt64)] = [:]
    for (sequence, spans) in weights {
      for (start, samples) in spans where samples > 0 {
        let known = totals[start] ?? (0, 0)
        totals[start] = (known.samples + samples, max(known.sequence, sequence))
      }
    }
    for rollup in rollups where isOutdated(rollup, totals, tombstones) {
      consider(rollup.start, rollup.end, rollup.resolution)
    }
    if makesNew {
      let covered = Set(rollups.map(\.key))
      // Spans that another version of the program cut otherwise.
      let foreign = rollups.filter { !isOwn($0) }
      for (start, total) in totals where retentionMilliseconds != nil || total.samples >= samplesMin {
        guard let end = end(ofSpan: start), isDue(end: end, now: now, newest: newest) else { continue }
        for level in levels where keeps(level, end: end, now: now) {
          let resolution = level.resolutionMilliseconds
          if covered.contains(RollupMeta.Key(resolution: resolution, start: start)) { continue }
          if foreign.contains(where: { $0.resolution == resolution && $0.start < end && $0.end > start }) { continue }
          consider(start, end, resolution)
        }
      }
    }
    best?.resolutions.sort()
    return best
  }

  private func isDue(end: Int64, now: Int64, newest: Int64) -> Bool {
    let (due, overflow) = end.addingReportingOverflow(delayMilliseconds)
    if overflow || due > now { return false }
    // Samples that retention is about to take are not waited for.
    if let retentionMilliseconds, end <= now.subtractingReportingOverflow(retentionMilliseconds).partialValue {
      return true
    }
    return due <= newest
  }

  /// The instant behind a span; nil for one that reaches beyond `Int64`, which is not rolled up.
  func end(ofSpan start: Int64) -> Int64? {
    let window = spans.window(of: start)
    return window.start == start && start > .min && window.end < .max ? window.end + 1 : nil
  }

  private func isOwn(_ rollup: RollupMeta) -> Bool { end(ofSpan: rollup.start) == rollup.end }

  /// Whether samples came, or went by a delete, since it was made.
  private func isOutdated(
    _ rollup: RollupMeta, _ totals: [Int64: (samples: Int, sequence: UInt64)], _ tombstones: [Tombstone]
  ) -> Bool {
    if tombstones.contains(where: { rollup.isConcerned(by: $0) }) { return true }
    // What is final stays as it is.
    if rollup.floor >= rollup.end { return false }
    if isOwn(rollup) { return (totals[rollup.start]?.sequence ?? 0) > rollup.sequence }
    return totals.contains { start, total in
      total.sequence > rollup.sequence && start < rollup.end && spans.window(of: start).end >= rollup.start
    }
  }
}
