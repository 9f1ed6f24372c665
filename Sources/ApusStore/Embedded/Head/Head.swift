import ApusModel

/// What has been taken in since the last seal: lanes of rows and the index of their series.
///
/// Invariant (`@unchecked Sendable`): every method is called under the store's state lock; once a head is being sealed
/// nothing is appended to it any more.
final class Head: @unchecked Sendable {
  /// A buffer that waits to be encoded.
  struct Frozen {
    var lane: Lane
    var index: Int
    var buffer: RowBuffer
    var isAscending: Bool
  }

  private(set) var lanes: [Lane] = []
  private var laneOfSet: [SeriesSetID: Int] = [:]
  /// The lanes of single series, by the number of the series.
  private var laneOfSeries: [UInt32: Int] = [:]
  private(set) var index = HeadIndex()
  private(set) var samples = 0
  private(set) var minimum = Int64.max
  private(set) var maximum = Int64.min
  private(set) var descriptors: [String: MetricDescriptor] = [:]
  private var laneBytes = 0
  /// Lanes with buffers to encode.
  private var frozen: [Lane] = []
  /// When the first sample came, by the wall clock in milliseconds.
  private(set) var startedAt: Int64?

  /// An estimate of the memory taken.
  var bytes: Int { laneBytes + index.bytes }

  var isEmpty: Bool { samples == 0 && descriptors.isEmpty }

  /// Takes in a scrape. `limiter` decides about series that are not known yet.
  func append(
    _ scrape: Scrape, now: Int64, arrival: inout UInt64, limiter: inout SeriesLimiter,
    isStored: (Labels) -> Bool, outcome: inout AppendOutcome, lateness: inout Lateness
  ) {
    if scrape.values.isEmpty { return }
    let lane = lane(of: scrape.set, limiter: &limiter, isStored: isStored)
    var accepted = scrape.sampleCount
    if !lane.rejected.isEmpty {
      var refused = 0
      for (word, bits) in lane.rejected.enumerated() {
        refused += (bits & ~(scrape.absent?.words[word] ?? 0)).nonzeroBitCount
      }
      outcome.samplesOverSeriesLimit += refused
      accepted -= refused
    }
    let timestamp = scrape.timestamp.milliseconds
    lateness.count(lane.lastTimestamp, timestamp, samples: accepted)
    let buffer = room(lane, timestamp)
    scrape.values.withUnsafeBufferPointer { values in
      if lane.width == 1 {
        // A lane of one series has no absent bits: a row without its sample is not kept.
        if accepted == 1 { buffer.append(values[0], at: timestamp, arrival: arrival) }
      } else {
        buffer.append(
          values.baseAddress!, at: timestamp, arrival: arrival, absent: scrape.absent, rejected: lane.rejected)
      }
    }
    lane.noteSeen(scrape.absent)
    arrival += 1
    note(timestamp, accepted, now)
    outcome.samplesAccepted += accepted
  }

  /// Takes in samples of one series with timestamps of their own. Those before `oldest` are refused.
  func append(
    _ samples: SeriesSamples, now: Int64, oldest: Int64, arrival: inout UInt64, limiter: inout SeriesLimiter,
    isStored: (Labels) -> Bool, outcome: inout AppendOutcome, lateness: inout Lateness
  ) {
    guard let lane = lane(of: samples.labels, limiter: &limiter, isStored: isStored) else {
      outcome.samplesOverSeriesLimit += samples.values.count
      return
    }
    for place in samples.values.indices {
      let timestamp = samples.timestamps[place]
      if timestamp < oldest {
        outcome.samplesTooOld += 1
        continue
      }
      lateness.count(lane.lastTimestamp, timestamp, samples: 1)
      room(lane, timestamp).append(samples.values[place], at: timestamp, arrival: arrival)
      lane.noteSeen(nil)
      arrival += 1
      note(timestamp, 1, now)
      outcome.samplesAccepted += 1
    }
  }

  private func room(_ lane: Lane, _ timestamp: Int64) -> RowBuffer {
    var isFrozen = false
    let buffer = lane.buffer(for: timestamp, growth: &laneBytes, frozen: &isFrozen)
    if isFrozen { frozen.append(lane) }
    return buffer
  }

  private func note(_ timestamp: Int64, _ count: Int, _ now: Int64) {
    samples += count
    minimum = min(minimum, timestamp)
    maximum = max(maximum, timestamp)
    if startedAt == nil { startedAt = now }
  }

  private func lane(of set: SeriesSet, limiter: inout SeriesLimiter, isStored: (Labels) -> Bool) -> Lane {
    if let known = laneOfSet[set.id] { return lanes[known] }
    let track = UInt32(lanes.count)
    var rejected: [UInt64] = []
    for (row, labels) in set.series.enumerated() {
      let place = SeriesPlace(track: track, row: UInt32(row))
      if register(labels, place, &limiter, isStored) == nil {
        if rejected.isEmpty { rejected = [UInt64](repeating: 0, count: (set.count + 63) / 64) }
        rejected[row >> 6] |= 1 << UInt64(row & 63)
      }
    }
    note(set.descriptors)
    let lane = Lane(width: set.count, rejected: rejected)
    laneOfSet[set.id] = lanes.count
    lanes.append(lane)
    laneBytes += 256
    return lane
  }

  /// Keeps what is known of metrics.
  func note(_ new: [MetricDescriptor]) {
    for descriptor in new where descriptors.count < Head.descriptorsMax { descriptors[descriptor.name] = descriptor }
  }

  /// More metrics than this are not described.
  static let descriptorsMax = 100_000

  private func lane(of series: Labels, limiter: inout SeriesLimiter, isStored: (Labels) -> Bool) -> Lane? {
    let place = SeriesPlace(track: UInt32(lanes.count), row: 0)
    if let number = index.number(series) {
      if let known = laneOfSeries[number] { return lanes[known] }
      index.addPlace(number, place)
      laneOfSeries[number] = lanes.count
    } else {
      guard let number = register(series, place, &limiter, isStored) else { return nil }
      laneOfSeries[number] = lanes.count
    }
    let lane = Lane(width: 1, rejected: [])
    lanes.append(lane)
    laneBytes += 256
    return lane
  }

  /// The number of a series, new or known, that is now also at this place; nil when it may not come in.
  private func register(
    _ labels: Labels, _ place: SeriesPlace, _ limiter: inout SeriesLimiter, _ isStored: (Labels) -> Bool
  ) -> UInt32? {
    if let number = index.number(labels) {
      index.addPlace(number, place)
      return number
    }
    guard limiter.admit(labels, isStored: isStored) else { return nil }
    return index.add(labels, place)
  }

  /// Whether a series has a sample in the head at all.
  func hasSample(_ series: UInt32) -> Bool {
    index.isAnywhere(series) { lanes[Int($0.track)].isSeen(Int($0.row)) }
  }

  func overlaps(_ range: TimeRange) -> Bool {
    samples > 0 && minimum <= range.end.milliseconds && maximum >= range.start.milliseconds
  }

  /// Whether all of the head lies in a range, so that a series with a sample at all has one there.
  func isCovered(by range: TimeRange) -> Bool {
    range.start.milliseconds <= minimum && maximum <= range.end.milliseconds
  }

  var hasFrozen: Bool { !frozen.isEmpty }

  /// Takes some of the buffers that wait to be encoded.
  func takeFrozen(max count: Int) -> [Frozen] {
    var result: [Frozen] = []
    while result.count < count, let lane = frozen.popLast() {
      var start = 0
      // A lane is listed once for each buffer; those taken already in this turn are passed over.
      for taken in result where taken.lane === lane { start = max(start, taken.index + 1) }
      if let part = lane.firstFrozen(from: start) {
        result.append(Frozen(lane: lane, index: part.index, buffer: part.buffer, isAscending: part.isAscending))
      }
    }
    return result
  }

  func install(_ chunk: HeadChunk, for part: Frozen) {
    laneBytes += part.lane.install(chunk, at: part.index)
  }
}

/// Samples that did not come in order.
struct Lateness {
  var outOfOrder = 0
  var duplicate = 0

  @inline(__always) mutating func count(_ last: Int64?, _ timestamp: Int64, samples: Int) {
    guard let last, timestamp <= last else { return }
    if timestamp == last { duplicate += samples } else { outOfOrder += samples }
  }
}
