import ApusModel

/// How the samples of a page become scrapes: those of one host and one instant are one.
///
/// Nearly all pages are of one host and one instant and become a scrape as they lie. Others are dealt into buckets by
/// host and instant in one pass; since pages go through hosts and instants in some order, the bucket of a sample is nearly
/// always the one of the sample before it, or the one that followed that last time, so that nothing is hashed.
extension ExpositionParser {
  /// The samples of one host at one instant.
  private struct Bucket {
    var host: Int32
    var time: Int64
    var count = 0
    /// Where its samples begin in the order by bucket.
    var start = 0
    /// The bucket that last came behind this one.
    var next = -1
    /// The bucket that takes its samples in, where they are too few for a scrape.
    var target = -1
  }

  private struct BucketKey: Hashable {
    var host: Int32
    var time: Int64
  }

  mutating func cut(_ page: UnsafeRawBufferPointer, _ scan: inout PageScan) {
    if let host = layoutHost {
      guard let times = scan.times else {
        return emit(layout.series, scan.values, scan.blanks, scan.now, host, &scan)
      }
      if !layoutHasRepeats, ExpositionParser.areEqual(times) {
        return emit(layout.series, scan.values, scan.blanks, times[0], host, &scan)
      }
    }
    cutIntoBuckets(page, scan.times, &scan)
  }

  private static func areEqual(_ times: [Int64]) -> Bool {
    times.withUnsafeBufferPointer { times in
      for time in times where time != times[0] { return false }
      return true
    }
  }

  private mutating func cutIntoBuckets(
    _ page: UnsafeRawBufferPointer, _ times: [Int64]?, _ scan: inout PageScan
  ) {
    if configuration.cutsByHost { hosts.follow(directory) }
    var (buckets, bucketOf) = deal(times, scan.now, scan.values.count)
    if configuration.cutsByHost { joinSmall(&buckets, &bucketOf) }
    let order = ExpositionParser.order(&buckets, bucketOf)
    let blanks = Set(scan.blanks)
    var lane: [(number: Int32, time: Int64, value: Double)] = []
    let byTime = buckets.indices.filter { buckets[$0].count > 0 }
      .sorted { (buckets[$0].time, $0) < (buckets[$1].time, $1) }
    for index in byTime {
      let bucket = buckets[index]
      var group = order[bucket.start..<bucket.start + bucket.count]
      if layoutHasRepeats { group = withoutRepeats(group, page, &scan) }
      let isWholePage = bucket.count == scan.values.count
      let isScrape = isWholePage || group.count >= configuration.scrapeLinesMin
      guard isScrape, scan.result.scrapes.count < configuration.scrapesMax else {
        for place in group where blanks.isEmpty || !blanks.contains(Int(place)) {
          lane.append((layout.series[Int(place)], bucket.time, scan.values[Int(place)]))
        }
        continue
      }
      let series = group.map { layout.series[Int($0)] }
      let values = group.map { scan.values[Int($0)] }
      let absent =
        blanks.isEmpty ? [] : group.indices.filter { blanks.contains(Int(group[$0])) }.map { $0 - group.startIndex }
      emit(series, values, absent, bucket.time, bucket.host, &scan)
    }
    appendToLane(lane, &scan)
  }

  /// The buckets, in the order in which they first occur, and that of each sample.
  private func deal(_ times: [Int64]?, _ now: Int64, _ count: Int) -> (buckets: [Bucket], bucketOf: [Int32]) {
    var buckets: [Bucket] = []
    var known: [BucketKey: Int] = [:]
    var bucketOf: [Int32] = []
    bucketOf.reserveCapacity(count)
    var last = -1
    for index in 0..<count {
      let host = configuration.cutsByHost ? hosts.ofSeries[Int(layout.series[index])] : HostDirectory.none
      let time = times?[index] ?? now
      if last < 0 || buckets[last].time != time || buckets[last].host != host {
        let guess = last < 0 ? -1 : buckets[last].next
        if guess >= 0, buckets[guess].time == time, buckets[guess].host == host {
          last = guess
        } else {
          let key = BucketKey(host: host, time: time)
          let found = known[key] ?? buckets.count
          if found == buckets.count {
            buckets.append(Bucket(host: host, time: time))
            known[key] = found
          }
          if last >= 0 { buckets[last].next = found }
          last = found
        }
      }
      buckets[last].count += 1
      bucketOf.append(Int32(last))
    }
    return (buckets, bucketOf)
  }

  /// Puts the lines of hosts that have too few of them at an instant together, whatever their hosts are.
  private func joinSmall(_ buckets: inout [Bucket], _ bucketOf: inout [Int32]) {
    var targets: [Int64: Int] = [:]
    for index in buckets.indices where buckets[index].count < configuration.scrapeLinesMin && buckets.count > 1 {
      let time = buckets[index].time
      let target = targets[time] ?? buckets.count
      if target == buckets.count {
        buckets.append(Bucket(host: HostDirectory.mixed, time: time))
        targets[time] = target
      }
      buckets[target].count += buckets[index].count
      buckets[index].count = 0
      buckets[index].target = target
    }
    if targets.isEmpty { return }
    for index in bucketOf.indices {
      let target = buckets[Int(bucketOf[index])].target
      if target >= 0 { bucketOf[index] = Int32(target) }
    }
  }

  /// The places of the samples by bucket, in the order of the page within one.
  private static func order(_ buckets: inout [Bucket], _ bucketOf: [Int32]) -> [Int32] {
    var start = 0
    for index in buckets.indices {
      buckets[index].start = start
      start += buckets[index].count
    }
    var next = buckets.map(\.start)
    return [Int32](unsafeUninitializedCapacity: bucketOf.count) { order, count in
      for (place, bucket) in bucketOf.enumerated() {
        order[next[Int(bucket)]] = Int32(place)
        next[Int(bucket)] += 1
      }
      count = bucketOf.count
    }
  }

  /// The samples of a bucket but those whose series has one there already, which are rejected.
  private mutating func withoutRepeats(
    _ group: ArraySlice<Int32>, _ page: UnsafeRawBufferPointer, _ scan: inout PageScan
  ) -> ArraySlice<Int32> {
    beginGeneration()
    if stamps.count < directory.count { stamps += [UInt32](repeating: 0, count: directory.count - stamps.count) }
    var repeats = 0
    for place in group {
      let slot = Int(layout.series[Int(place)])
      if stamps[slot] == generation { repeats += 1 }
      stamps[slot] = generation
    }
    if repeats == 0 { return group }
    beginGeneration()
    var kept: [Int32] = []
    for place in group {
      let slot = Int(layout.series[Int(place)])
      if stamps[slot] == generation {
        let line = place < scan.lines.count ? scan.lines[Int(place)] : 0
        reject(page, LineFault(reason: .duplicateSample, position: line), &scan)
        continue
      }
      stamps[slot] = generation
      kept.append(place)
    }
    return kept[...]
  }

  private mutating func emit(
    _ series: [Int32], _ values: [Double], _ blanks: [Int], _ time: Int64, _ host: Int32, _ scan: inout PageScan
  ) {
    let (column, strangers) = keepers[host, default: SetKeeper()].fit(
      series, values, blanks: blanks, directory: directory, families: families)
    if let column {
      let scrape = Scrape(
        set: column.set, timestamp: Timestamp(milliseconds: time), values: column.values, absent: column.absent)
      let count = scrape.sampleCount
      if count > 0 {
        scan.result.sampleCount += count
        scan.result.scrapes.append(scrape)
        if configuration.cutsByHost { scan.result.hosts.append(hosts.name(host)) }
      }
    }
    if !strangers.isEmpty {
      let blanks = Set(blanks)
      appendToLane(strangers.filter { !blanks.contains($0) }.map { (series[$0], time, values[$0]) }, &scan)
    }
  }

  /// Samples by series; those of one series come in the order of their times.
  private func appendToLane(_ samples: [(number: Int32, time: Int64, value: Double)], _ scan: inout PageScan) {
    var places: [Int32: Int] = [:]
    for sample in samples {
      scan.result.sampleCount += 1
      if let place = places[sample.number] {
        scan.result.samples[place].timestamps.append(sample.time)
        scan.result.samples[place].values.append(sample.value)
      } else {
        places[sample.number] = scan.result.samples.count
        scan.result.samples.append(
          SeriesSamples(
            labels: directory.labels[Int(sample.number)], timestamps: [sample.time], values: [sample.value]))
      }
    }
  }
}
