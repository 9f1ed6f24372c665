import ApusModel

/// Series that lie in the same tracks, so that one merge plan serves all of them.
struct Cohort {
  /// The tracks, ascending.
  var members: [UInt32]
  /// Which series, as indices into the caller's list.
  var series: [Int]
}

/// A list of series with the places of each, grouped into cohorts.
struct SeriesTable {
  private(set) var labels: [Labels] = []
  private(set) var places: [[SeriesPlace]] = []
  private var index: [Labels: Int] = [:]
  /// How many of the series are in `index`. Within one source no series comes twice, so a table of one source needs
  /// none, and hashing all label sets is spared.
  private var indexed = 0
  private var sources = 0

  mutating func reserve(_ count: Int) {
    labels.reserveCapacity(count)
    places.reserveCapacity(count)
  }

  /// What is added from here on is from another block or head.
  mutating func beginSource() {
    sources += 1
    if sources < 2 { return }
    index.reserveCapacity(labels.count)
    while indexed < labels.count {
      index[labels[indexed]] = indexed
      indexed += 1
    }
  }

  /// Adds a series of the source with its places there, in ascending order of their tracks.
  mutating func add(_ series: Labels, _ found: [SeriesPlace]) {
    if sources > 1, let known = index[series] {
      places[known] += found
    } else {
      labels.append(series)
      places.append(found)
    }
  }

  var count: Int { labels.count }

  /// The cohorts, in order of their first series.
  func cohorts() -> [Cohort] {
    var result: [Cohort] = []
    var single: [UInt32: Int] = [:]
    var several: [[UInt32]: Int] = [:]
    for series in places.indices {
      let members = places[series]
      var found: Int?
      if members.count == 1 {
        found = single[members[0].track]
        if found == nil { single[members[0].track] = result.count }
      } else {
        let key = members.map(\.track)
        found = several[key]
        if found == nil { several[key] = result.count }
      }
      if let found {
        result[found].series.append(series)
      } else {
        result.append(Cohort(members: members.map(\.track), series: [series]))
      }
    }
    return result
  }
}
