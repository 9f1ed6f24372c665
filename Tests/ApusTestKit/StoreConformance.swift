import ApusIO
import ApusModel
import ApusStore

/// What every form of `Store` must do. Each implementation's tests run all of it, with a factory of fresh, empty stores.
package struct StoreConformance: Sendable {
  /// A check that failed: which, and how.
  package struct Failure: Error, CustomStringConvertible {
    package var description: String
  }

  private let make: @Sendable () async throws -> any Store
  /// The store resolves duplicates by the log's offsets; engines that only know the newest write do so as well.
  private let partition = LogPartition(topic: "gpu-telemetry", partition: 0)

  /// - Parameter make: makes an empty store that no one else uses, with no retention and room for 1,000 series.
  package init(_ make: @escaping @Sendable () async throws -> any Store) { self.make = make }

  /// Runs every check; throws the first failure.
  package func run() async throws {
    try await emptyStore()
    try await scrapesComeBack()
    try await absentSamples()
    try await replayIsSkipped()
    try await laterSampleWins()
    try await specialValues()
    try await matchers()
    try await ranges()
    try await newest()
    try await sampleLimit()
    try await seriesMoveBetweenSets()
    try await labelsAndValues()
    try await deletes()
    try await ancientAndFuture()
    try await aggregates()
    for seed in UInt64(0)..<8 { try await randomOperations(seed: seed) }
  }

  // MARK: Checks

  private func emptyStore() async throws {
    let store = try await make()
    try expect(try await store.select(SelectRequest([])).isEmpty, "an empty store answers with series")
    try expect(try await store.series([], in: .all).isEmpty, "an empty store lists series")
    try expect(try await store.labelNames([], in: .all).isEmpty, "an empty store lists label names")
    try expect(try await store.positions().isEmpty, "an empty store has positions")
    try await store.flush()
    try await store.compact()
    try await store.close()
  }

  private func scrapesComeBack() async throws {
    try await compare("scrapes come back") { store, model in
      let set = StoreConformance.set(host: "a", gpus: 3)
      for index in 0..<300 {
        let scrape = Scrape(
          set: set, timestamp: Timestamp(milliseconds: 1_000_000 + Int64(index) * 10_000),
          values: (0..<set.count).map { Double(index * 7 + $0) / 8 })
        try await append([.scrape(scrape)], at: Int64(index), to: store, &model)
      }
      let positions = try await store.positions()
      try expect(positions[partition]?.appended == 300, "position after 300 records: \(positions)")
    }
  }

  private func absentSamples() async throws {
    try await compare("absent samples") { store, model in
      let set = StoreConformance.set(host: "a", gpus: 2)
      for index in 0..<200 {
        var absent = Bitmap(count: set.count)
        for row in 0..<set.count where (index + row) % 3 == 0 || row == 1 { absent[row] = true }
        let scrape = Scrape(
          set: set, timestamp: Timestamp(milliseconds: Int64(index) * 1000),
          values: (0..<set.count).map { Double($0 + index) }, absent: absent)
        try await append([.scrape(scrape)], at: Int64(index), to: store, &model)
      }
    }
  }

  private func replayIsSkipped() async throws {
    try await compare("replayed records are skipped") { store, model in
      let set = StoreConformance.set(host: "a", gpus: 1)
      let items = (0..<20).map { index in
        StoreBatch.Item(
          offset: Int64(index),
          content: .scrape(
            Scrape(
              set: set, timestamp: Timestamp(milliseconds: Int64(index)),
              values: [Double](repeating: Double(index), count: set.count))))
      }
      let batch = StoreBatch(partition: partition, items: items, nextOffset: 25)
      let first = try await store.append(batch)
      try expect(first.samplesAccepted == 20 * set.count, "accepted \(first.samplesAccepted)")
      let second = try await store.append(batch)
      try expect(second.samplesAccepted == 0 && second.recordsSkipped == 20, "a replay did \(second)")
      model.append(batch)
      let other = StoreBatch(
        partition: LogPartition(topic: "gpu-telemetry", partition: 1),
        items: [
          .init(
            offset: 3,
            content: .samples([SeriesSamples(labels: Labels([("__name__", "x")]), timestamps: [1], values: [2])]))
        ],
        nextOffset: 4)
      try expect(try await store.append(other).samplesAccepted == 1, "partitions have positions of their own")
      model.append(other)
    }
  }

  private func laterSampleWins() async throws {
    try await compare("late and repeated samples") { store, model in
      let set = StoreConformance.set(host: "a", gpus: 2)
      let instants: [Int64] = [10, 20, 30, 15, 20, 5, 40, 30, 30, 10, 35]
      for (index, instant) in instants.enumerated() {
        var absent = Bitmap(count: set.count)
        // A repeat that lacks a series does not take the earlier sample away.
        if index > 3 { absent[index % set.count] = true }
        let scrape = Scrape(
          set: set, timestamp: Timestamp(milliseconds: instant),
          values: (0..<set.count).map { Double(index * 100 + $0) }, absent: absent)
        try await append([.scrape(scrape)], at: Int64(index), to: store, &model)
        if index == 6 { try await store.flush() }
      }
      let series = set.series[0]
      let samples = SeriesSamples(labels: series, timestamps: [10, 20, 20, 50], values: [-1, -2, -3, -4])
      try await append([.samples([samples])], at: 11, to: store, &model)
    }
  }

  private func specialValues() async throws {
    try await compare("special values keep their bits") { store, model in
      let values: [Double] = [
        .nan, -.nan, StaleMarker.value, .infinity, -.infinity, 0, -0.0, .leastNonzeroMagnitude,
        .greatestFiniteMagnitude, -.greatestFiniteMagnitude, 0.1, 1e-300, 9_007_199_254_740_994, .pi,
        Double(bitPattern: 0x7ff8_0000_dead_beef), Double(bitPattern: 0xfff0_0000_0000_0001),
      ]
      for (index, value) in values.enumerated() {
        let samples = [
          SeriesSamples(labels: Labels([("__name__", "alone"), ("n", "\(index)")]), timestamps: [1], values: [value]),
          SeriesSamples(labels: Labels([("__name__", "all")]), timestamps: [Int64(index)], values: [value]),
        ]
        try await append([.samples(samples)], at: Int64(index), to: store, &model)
      }
    }
  }

  private func matchers() async throws {
    let store = try await make()
    var model = StoreModel()
    for (index, host) in ["a", "b", "c"].enumerated() {
      let set = StoreConformance.set(host: host, gpus: 2)
      let scrape = Scrape(
        set: set, timestamp: Timestamp(milliseconds: 7), values: [Double](repeating: Double(index), count: set.count))
      try await append([.scrape(scrape)], at: Int64(index), to: store, &model)
    }
    let extra = SeriesSamples(
      labels: Labels([("__name__", "power"), ("Hostname", "a"), ("pod", "p")]), timestamps: [7], values: [9])
    try await append([.samples([extra])], at: 3, to: store, &model)
    let questions: [[Matcher]] = [
      [], [.metric("power")], [.metric("missing")], [.equal("Hostname", "a")], [.notEqual("Hostname", "a")],
      [.equal("pod", "")], [.notEqual("pod", "")], [.equal("pod", "p")], [.notEqual("pod", "p")],
      [.oneOf("Hostname", ["a", "c", "z"])], [.oneOf("pod", ["", "q"])], [.oneOf("pod", [])],
      [.metric("power"), .equal("gpu", "1"), .notEqual("Hostname", "b")], [.equal("nosuch", "x")],
      [.equal("nosuch", "")], [.notEqual("nosuch", "")], [.equal("Hostname", "a"), .equal("Hostname", "b")],
    ]
    for part in ["in memory", "flushed", "compacted"] {
      if part == "flushed" { try await store.flush() }
      if part == "compacted" { try await store.compact() }
      for question in questions {
        try await check("matchers \(question), \(part)", SelectRequest(question), store, model)
        let listed = try await store.series(question, in: .all)
        try expect(
          listed == model.select(SelectRequest(question)).map(\.labels), "series of \(question), \(part): \(listed)")
      }
    }
    try await store.close()
  }

  private func ranges() async throws {
    let store = try await make()
    var model = StoreModel()
    let set = StoreConformance.set(host: "a", gpus: 1)
    for index in 0..<500 {
      let scrape = Scrape(
        set: set, timestamp: Timestamp(milliseconds: Int64(index) * 10),
        values: [Double](repeating: Double(index), count: set.count))
      try await append([.scrape(scrape)], at: Int64(index), to: store, &model)
    }
    for part in ["in memory", "flushed"] {
      if part == "flushed" { try await store.flush() }
      for (start, end) in [
        (0, 4990), (0, 0), (10, 10), (5, 9), (1195, 1210), (4990, 9999), (5000, 6000), (-5, -1), (20, 10),
        (Int64.min, Int64.max), (Int64.min, 0), (4990, Int64.max),
      ] as [(Int64, Int64)] {
        let range = TimeRange(start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: end))
        try await check("range \(start)...\(end), \(part)", SelectRequest([], in: range), store, model)
        let listed = try await store.series([], in: range)
        try expect(
          listed == model.select(SelectRequest([], in: range)).map(\.labels), "series in \(start)...\(end), \(part)")
      }
    }
    try await store.close()
  }

  private func newest() async throws {
    let store = try await make()
    var model = StoreModel()
    let set = StoreConformance.set(host: "a", gpus: 2)
    for index in 0..<700 {
      var absent = Bitmap(count: set.count)
      // One series stopped long ago, one comes rarely.
      if index > 50 { absent[0] = true }
      if index % 150 != 0 { absent[1] = true }
      let scrape = Scrape(
        set: set, timestamp: Timestamp(milliseconds: Int64(index) * 10),
        values: [Double](repeating: Double(index), count: set.count), absent: absent)
      try await append([.scrape(scrape)], at: Int64(index), to: store, &model)
      if index == 300 { try await store.flush() }
    }
    for newest in [0, 1, 2, 5, 100, 699, 700, 10_000, Int.max] {
      try await check("newest \(newest)", SelectRequest([], newest: newest), store, model)
      let range = TimeRange(start: Timestamp(milliseconds: 15), end: Timestamp(milliseconds: 3333))
      try await check("newest \(newest) in a range", SelectRequest([], in: range, newest: newest), store, model)
    }
    try await store.close()
  }

  private func sampleLimit() async throws {
    let store = try await make()
    var model = StoreModel()
    let set = StoreConformance.set(host: "a", gpus: 1)
    for index in 0..<10 {
      let scrape = Scrape(
        set: set, timestamp: Timestamp(milliseconds: Int64(index)),
        values: [Double](repeating: 1, count: set.count))
      try await append([.scrape(scrape)], at: Int64(index), to: store, &model)
    }
    let total = 10 * set.count
    try await check("at the sample limit", SelectRequest([], maxSamples: total), store, model)
    do {
      _ = try await store.select(SelectRequest([], maxSamples: total - 1))
      throw Failure(description: "an answer of \(total) samples came despite a limit of \(total - 1)")
    } catch let error as StoreError {
      guard case .tooManySamples(_, let limit) = error, limit == total - 1 else {
        throw Failure(description: "above the sample limit: \(error)")
      }
    }
    try await store.close()
  }

  private func seriesMoveBetweenSets() async throws {
    try await compare("a series moves from set to set") { store, model in
      let first = StoreConformance.set(host: "a", gpus: 2)
      let second = SeriesSet(series: Array(first.series.reversed()) + StoreConformance.set(host: "b", gpus: 1).series)
      for index in 0..<100 {
        let set = index % 40 < 20 ? first : second
        let scrape = Scrape(
          set: set, timestamp: Timestamp(milliseconds: Int64(index / 2) * 100),
          values: (0..<set.count).map { Double(index * 10 + $0) })
        try await append([.scrape(scrape)], at: Int64(index), to: store, &model)
        if index == 33 { try await store.flush() }
      }
    }
  }

  private func labelsAndValues() async throws {
    let store = try await make()
    var model = StoreModel()
    let set = StoreConformance.set(host: "ä", gpus: 2)
    try await append(
      [
        .scrape(
          Scrape(
            set: set, timestamp: Timestamp(milliseconds: 5), values: [Double](repeating: 1, count: set.count)))
      ], at: 0, to: store, &model)
    for part in ["in memory", "flushed"] {
      if part == "flushed" { try await store.flush() }
      let names = try await store.labelNames([], in: .all)
      try expect(names == ["Hostname", "__name__", "gpu"], "label names, \(part): \(names)")
      let gpus = try await store.labelValues("gpu", [.metric("power")], in: .all)
      try expect(gpus == ["0", "1"], "values of gpu, \(part): \(gpus)")
      try expect(try await store.labelValues("Hostname", [], in: .all) == ["ä"], "values of Hostname, \(part)")
      try expect(try await store.labelValues("nosuch", [], in: .all).isEmpty, "values of a missing label, \(part)")
      let later = TimeRange(start: Timestamp(milliseconds: 6), end: Timestamp(milliseconds: 9))
      try expect(try await store.labelNames([], in: later).isEmpty, "label names outside of the range, \(part)")
    }
    let descriptors = try await store.descriptors()
    try expect(
      descriptors.contains { $0.name == "power" && $0.kind == .gauge && $0.help == "Power" },
      "descriptors: \(descriptors)")
    try await store.close()
  }

  private func deletes() async throws {
    try await compare("deletes") { store, model in
      let set = StoreConformance.set(host: "a", gpus: 2)
      func scrape(_ index: Int) -> StoreBatch.Item.Content {
        .scrape(
          Scrape(
            set: set, timestamp: Timestamp(milliseconds: Int64(index % 60) * 10),
            values: (0..<set.count).map { Double(index * 10 + $0) }))
      }
      for index in 0..<60 { try await append([scrape(index)], at: Int64(index), to: store, &model) }
      let range = TimeRange(start: Timestamp(milliseconds: 100), end: Timestamp(milliseconds: 300))
      try await store.delete([.metric("power")], in: range)
      model.delete([.metric("power")], in: range)
      try await check("after a delete", SelectRequest([]), store, model)
      // What comes later is not hidden by it, not even in the same place.
      for index in 70..<80 { try await append([scrape(index)], at: Int64(index), to: store, &model) }
      try await check("after a delete and more samples", SelectRequest([]), store, model)
      try await store.delete([.equal("gpu", "1")], in: .all)
      model.delete([.equal("gpu", "1")], in: .all)
      let listed = try await store.series([], in: .all)
      try expect(listed == model.select(SelectRequest([])).map(\.labels), "series after a delete: \(listed)")
    }
  }

  private func ancientAndFuture() async throws {
    try await compare("samples of any age") { store, model in
      var instants: [Int64] = [0, 1, -1, 86_400_000, -86_400_000, 4_102_444_800_000, -9_000_000_000_000]
      for index in 0..<200 { instants.append(Int64(index) * 40 * 86_400_000) }
      for (index, instant) in instants.enumerated() {
        let samples = SeriesSamples(
          labels: Labels([("__name__", "old"), ("n", "\(index % 3)")]), timestamps: [instant], values: [Double(index)])
        try await append([.samples([samples])], at: Int64(index), to: store, &model)
      }
    }
  }

  private func randomOperations(seed: UInt64) async throws {
    var random = Seed(seed)
    let store = try await make()
    var model = StoreModel()
    var offset: Int64 = 0
    for step in 0..<60 {
      switch random.below(10) {
      case 0: try await store.flush()
      case 1: try await store.compact()
      case 2:
        let matchers: [Matcher] = random.oneIn(2) ? [.equal("gpu", "0")] : [.metric("power")]
        let start = Int64(random.below(2000))
        let range = TimeRange(
          start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: start + Int64(random.below(300))))
        try await store.delete(matchers, in: range)
        model.delete(matchers, in: range)
      default:
        let batch = StoreConformance.randomBatch(&random, partition: partition, offset: &offset)
        _ = try await store.append(batch)
        model.append(batch)
      }
      if step % 5 == 4 {
        let start = Int64(random.below(2500)) - 100
        let range = TimeRange(
          start: Timestamp(milliseconds: start), end: Timestamp(milliseconds: start + Int64(random.below(1500))))
        try await check("seed \(seed), step \(step)", SelectRequest([]), store, model)
        try await check("seed \(seed), step \(step), range", SelectRequest([], in: range), store, model)
        let conditions: [Matcher] = [
          .equal("gpu", "0"), .notEqual("gpu", "1"), .metric("power"), .equal("Hostname", ""), .equal("nosuch", ""),
          .oneOf("__name__", ["lone", "energy"]), .oneOf("Hostname", ["b", ""]), .notEqual("Hostname", ""),
        ]
        let matchers = (0..<random.below(3)).map { _ in conditions[random.below(conditions.count)] }
        for range in [range, .all] {
          try await checkListings("seed \(seed), step \(step)", matchers, range, store, model)
        }
        try await check(
          "seed \(seed), step \(step), newest", SelectRequest([.metric("power")], in: range, newest: random.below(9)),
          store, model)
        let steps: [Int64] = [1, 7, 50, 100, 200, 1000]
        let request = AggregateRequest(
          random.oneIn(3) ? [.metric("power")] : [], in: random.oneIn(2) ? range : .all,
          step: steps[random.below(steps.count)], origin: random.oneIn(3) ? Int64(random.below(400)) : 0,
          functions: StoreConformance.functions(&random))
        try await check("seed \(seed), step \(step), aggregates of \(request)", request, store, model)
      }
    }
    try await store.close()
  }

  private func aggregates() async throws {
    let store = try await make()
    var model = StoreModel()
    let set = StoreConformance.set(host: "a", gpus: 2)
    for index in 0..<300 {
      // A counter that falls now and then, a series with gaps, and what is no number.
      let values = [
        Double(index * 7 % 40), index % 9 == 0 ? Double.nan : 1 / Double(index + 1), Double(index), -0.0,
        index % 50 == 49 ? StaleMarker.value : Double(index % 70), .infinity,
      ]
      let scrape = Scrape(
        set: set, timestamp: Timestamp(milliseconds: Int64(index) * 10 - 700 + Int64(index % 3)),
        values: Array(values.prefix(set.count)))
      try await append([.scrape(scrape)], at: Int64(index), to: store, &model)
    }
    let extremes = SeriesSamples(
      labels: Labels([("__name__", "far")]), timestamps: [.min, .min + 1, -1, 0, .max - 1, .max],
      values: [1, 2, 3, 4, 5, 6])
    try await append([.samples([extremes])], at: 300, to: store, &model)
    for part in ["in memory", "flushed", "compacted"] {
      if part == "flushed" { try await store.flush() }
      if part == "compacted" { try await store.compact() }
      for step in [1, 10, 60, 1000, 1_000_000, Int64.max] {
        for origin in [0, -1, 30, Int64.max] {
          for range in [
            TimeRange.all, TimeRange(start: Timestamp(milliseconds: -55), end: Timestamp(milliseconds: 1234)),
            TimeRange(start: Timestamp(milliseconds: 5), end: Timestamp(milliseconds: 4)),
          ] {
            let request = AggregateRequest(
              [], in: range, step: step, origin: origin, functions: Set(AggregateFunction.allCases))
            try await check("aggregates of \(request), \(part)", request, store, model)
          }
        }
      }
      try await check(
        "sums alone, \(part)", AggregateRequest([.metric("power")], step: 5000, functions: [.sum, .count]), store, model
      )
    }
    do {
      _ = try await store.aggregate(AggregateRequest([], step: 10, functions: [.count], maxSamples: 100))
      throw Failure(description: "aggregates of more than 100 samples came despite that limit")
    } catch let error as StoreError {
      guard case .tooManySamples(_, limit: 100) = error else {
        throw Failure(description: "aggregates above the sample limit: \(error)")
      }
    }
    try await store.close()
  }

  // MARK: Material

  /// Some of the functions, or all.
  package static func functions(_ random: inout Seed) -> Set<AggregateFunction> {
    if random.oneIn(2) { return Set(AggregateFunction.allCases) }
    return Set(AggregateFunction.allCases.filter { _ in random.oneIn(3) })
  }

  /// A set as an exporter answers it: three metrics for each GPU of a host.
  package static func set(host: String, gpus: Int) -> SeriesSet {
    var series: [Labels] = []
    for metric in ["power", "temperature", "energy"] {
      for gpu in 0..<gpus { series.append(Labels([("__name__", metric), ("Hostname", host), ("gpu", "\(gpu)")])) }
    }
    return SeriesSet(series: series, descriptors: [MetricDescriptor(name: "power", kind: .gauge, help: "Power")])
  }

  /// A few records with whatever may come: scrapes of several sets, late ones, gaps, single series, odd values.
  package static func randomBatch(
    _ random: inout Seed, partition: LogPartition, offset: inout Int64
  ) -> StoreBatch {
    var items: [StoreBatch.Item] = []
    for _ in 0..<(1 + random.below(40)) {
      let instant = Int64(random.oneIn(3) ? random.below(2000) : Int(offset) * 3)
      if random.oneIn(3) {
        let count = 1 + random.below(4)
        var instants = (0..<count).map { _ in instant + Int64(random.below(20)) }
        instants.sort()
        let labels = Labels([
          ("__name__", random.oneIn(2) ? "power" : "lone"), ("Hostname", "a"), ("gpu", "\(random.below(3))"),
        ])
        let samples = SeriesSamples(
          labels: labels, timestamps: instants, values: instants.map { _ in randomValue(&random) })
        items.append(.init(offset: offset, content: .samples([samples])))
      } else {
        let set = set(host: random.oneIn(3) ? "b" : "a", gpus: 1 + random.below(3))
        var absent: Bitmap?
        if random.oneIn(3) {
          var bits = Bitmap(count: set.count)
          for row in 0..<set.count where random.oneIn(3) { bits[row] = true }
          absent = bits
        }
        let scrape = Scrape(
          set: set, timestamp: Timestamp(milliseconds: instant),
          values: (0..<set.count).map { _ in randomValue(&random) }, absent: absent)
        items.append(.init(offset: offset, content: .scrape(scrape)))
      }
      // Offsets may jump: other records lie between.
      offset += 1 + Int64(random.oneIn(4) ? random.below(3) : 0)
    }
    return StoreBatch(partition: partition, items: items, nextOffset: offset)
  }

  private static func randomValue(_ random: inout Seed) -> Double {
    switch random.below(6) {
    case 0: 0
    case 1: Double(random.below(100))
    case 2: Double(random.below(1_000_000)) / 1000
    case 3: StaleMarker.value
    case 4: Double(bitPattern: random.next())
    default: 42
    }
  }

  // MARK: Tools

  private func expect(_ holds: Bool, _ what: @autoclosure () -> String) throws {
    if !holds { throw Failure(description: what()) }
  }

  /// Appends one record to the store and the model.
  private func append(
    _ contents: [StoreBatch.Item.Content], at offset: Int64, to store: any Store, _ model: inout StoreModel
  ) async throws {
    let items = contents.map { StoreBatch.Item(offset: offset, content: $0) }
    let batch = StoreBatch(partition: partition, items: items, nextOffset: offset + 1)
    _ = try await store.append(batch)
    model.append(batch)
  }

  private func check(
    _ what: String, _ request: SelectRequest, _ store: any Store, _ model: StoreModel
  ) async throws {
    if let difference = StoreModel.difference(try await store.select(request), model.select(request)) {
      throw Failure(description: "\(what): \(difference)")
    }
  }

  /// Compares what is listed of series and labels with the series that have samples.
  private func checkListings(
    _ what: String, _ matchers: [Matcher], _ range: TimeRange, _ store: any Store, _ model: StoreModel
  ) async throws {
    let series = model.select(SelectRequest(matchers, in: range)).map(\.labels)
    let which = "\(what), \(matchers) in \(range)"
    let listed = try await store.series(matchers, in: range)
    try expect(listed == series, "\(which): series \(listed) where \(series) should be")
    var values: [String: Set<String>] = [:]
    for labels in series { for (name, value) in labels.pairs { values[name, default: []].insert(value) } }
    let names = try await store.labelNames(matchers, in: range)
    try expect(Set(names) == Set(values.keys) && names.count == values.count, "\(which): label names \(names)")
    for name in ["__name__", "Hostname", "gpu", "nosuch"] {
      let found = try await store.labelValues(name, matchers, in: range)
      let wanted = values[name] ?? []
      try expect(found == wanted.sorted(), "\(which): values of \(name) are \(found) where \(wanted) should be")
    }
  }

  private func check(
    _ what: String, _ request: AggregateRequest, _ store: any Store, _ model: StoreModel
  ) async throws {
    if let difference = model.difference(try await store.aggregate(request), request) {
      throw Failure(description: "\(what): \(difference)")
    }
  }

  /// Fills a store and compares it with the model: as filled, after a flush, and after a compaction.
  private func compare(
    _ what: String, _ fill: (any Store, inout StoreModel) async throws -> Void
  ) async throws {
    let store = try await make()
    var model = StoreModel()
    try await fill(store, &model)
    try await check(what, SelectRequest([]), store, model)
    try await checkListings(what, [], .all, store, model)
    try await store.flush()
    try await check("\(what), flushed", SelectRequest([]), store, model)
    try await checkListings("\(what), flushed", [], .all, store, model)
    try await store.compact()
    try await check("\(what), compacted", SelectRequest([]), store, model)
    try await checkListings("\(what), compacted", [], .all, store, model)
    let positions = try await store.positions()
    for (partition, position) in positions {
      try expect(
        position.durable == position.appended, "\(what): after a flush \(partition) is at \(position)")
    }
    try await store.close()
  }
}
