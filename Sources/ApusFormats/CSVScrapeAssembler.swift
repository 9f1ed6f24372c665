import ApusModel

/// Puts the rows of a CSV together to scrapes: the rows of one host and one time, wherever they stand in the file.
///
/// Exports list one metric after another, so a host's scrape is scattered over the file; rows wait here for the rest of
/// theirs, until `flush` or the bound. A row whose series its scrape has already ends that scrape and begins another.
package struct CSVScrapeAssembler: Sendable {
  /// Scrapes, each with the number of its host, and what fits in none.
  package struct Output: Sendable {
    package var scrapes: [(host: Int32, scrape: Scrape)] = []
    package var samples: [(host: Int32, samples: SeriesSamples)] = []

    package init() {}
  }

  private struct GroupKey: Hashable {
    var host: Int32
    var time: Int64
  }

  /// The rows so far of one host and time.
  private struct Group: Sendable {
    var host: Int32
    var time: Int64
    var series: [Int32] = []
    var values: [Double] = []
    var members: Set<Int32> = []
  }

  /// Rows that wait at most; beyond it the oldest half of the scrapes is given out as it is.
  package let rowsWaitingMax: Int
  private var groups: [Group] = []
  private var places: [GroupKey: Int] = [:]
  private var rowsWaiting = 0
  /// By host.
  private var keepers: [Int32: SetKeeper] = [:]
  /// The group of the row before: neighbours are mostly of one host and time.
  private var lastPlace: Int?

  package init(rowsWaitingMax: Int = 131_072) {
    self.rowsWaitingMax = rowsWaitingMax
  }

  /// Takes in some of the rows that `reader` has read; `output` gets what the bound drives out.
  package mutating func add(
    _ rows: CSVRows, _ range: Range<Int>, from reader: CSVReader, into output: inout Output
  ) {
    for index in range {
      let series = rows.series[index]
      let host = reader.host(of: series)
      let time = rows.timestamps[index]
      let place: Int
      if let lastPlace, groups[lastPlace].host == host, groups[lastPlace].time == time {
        place = lastPlace
      } else {
        place = self.place(of: GroupKey(host: host, time: time))
        lastPlace = place
      }
      if !groups[place].members.insert(series).inserted {
        emit(groups[place], reader, &output)
        rowsWaiting -= groups[place].series.count
        groups[place] = Group(host: host, time: time)
        groups[place].members.insert(series)
      }
      groups[place].series.append(series)
      groups[place].values.append(rows.values[index])
      rowsWaiting += 1
      if rowsWaiting > rowsWaitingMax { emitOldest(max(1, groups.count / 2), reader, &output) }
    }
  }

  /// Gives out all that waits, in the order in which the scrapes began.
  package mutating func flush(from reader: CSVReader, into output: inout Output) {
    emitOldest(groups.count, reader, &output)
  }

  private mutating func place(of key: GroupKey) -> Int {
    if let place = places[key] { return place }
    let place = groups.count
    places[key] = place
    groups.append(Group(host: key.host, time: key.time))
    return place
  }

  private mutating func emitOldest(_ count: Int, _ reader: CSVReader, _ output: inout Output) {
    for group in groups[..<count] {
      rowsWaiting -= group.series.count
      emit(group, reader, &output)
    }
    groups.removeFirst(count)
    places.removeAll(keepingCapacity: true)
    for (place, group) in groups.enumerated() { places[GroupKey(host: group.host, time: group.time)] = place }
    lastPlace = nil
  }

  private mutating func emit(_ group: Group, _ reader: CSVReader, _ output: inout Output) {
    let (column, strangers) = keepers[group.host, default: SetKeeper()].fit(
      group.series, group.values, blanks: [], directory: reader.seriesDirectory, families: MetricFamilies())
    if let column {
      let scrape = Scrape(
        set: column.set, timestamp: Timestamp(milliseconds: group.time), values: column.values, absent: column.absent)
      if scrape.sampleCount > 0 { output.scrapes.append((group.host, scrape)) }
    }
    for index in strangers {
      let labels = reader.labels(of: group.series[index])
      output.samples.append(
        (group.host, SeriesSamples(labels: labels, timestamps: [group.time], values: [group.values[index]])))
    }
  }
}
