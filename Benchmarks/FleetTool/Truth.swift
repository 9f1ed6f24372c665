import BenchmarkFleet

/// Compares what a server gives back with what it was sent, sample by sample and bit by bit.
struct Truth {
  private let fleet: Fleet
  private let labels: FleetLabels
  private let scrapes: Range<Int>
  private var seen: [UInt64]
  private(set) var compared = 0
  private(set) var wrong = 0
  private(set) var unknown = 0
  private(set) var repeated = 0
  /// Values that are no number where a series has no sample: marks of its end.
  private(set) var markers = 0
  private(set) var examples: [String] = []

  init(_ fleet: Fleet, scrapes: Range<Int>) {
    self.fleet = fleet
    self.scrapes = scrapes
    labels = FleetLabels(fleet.shape)
    seen = Array(repeating: 0, count: (fleet.shape.samples + 63) / 64)
  }

  /// A series of the fleet: its GPU, its metric and which pod it was.
  struct Place {
    var gpu: Int
    var metric: Int
    var pod: Int
  }

  /// Finds a series by all of its labels; nil, and counted, when the fleet has none such.
  mutating func place(_ found: [(name: String, value: String)]) -> Place? {
    let values = Dictionary(found.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
    guard let metric = FleetMetric.numbers[values["__name__"] ?? ""], let uuid = values["UUID"],
      let gpu = labels.gpu(ofUUID: uuid)
    else { return note("an unknown series: \(found)") }
    let pod = fleet.shape.pods == .none ? 0 : Int(values["pod"]?.split(separator: "-").last ?? "") ?? 0
    let expected = labels.sorted(gpu: gpu, pod: pod)
    guard found.count == expected.count + 1, expected.allSatisfy({ values[$0.name] == $0.value }) else {
      return note("a series with other labels: \(found)")
    }
    return Place(gpu: gpu, metric: metric, pod: pod)
  }

  mutating func note(_ example: String) -> Place? {
    unknown += 1
    remember(example)
    return nil
  }

  mutating func check(_ place: Place, time: Int64, value: Double) {
    guard let scrape = fleet.shape.scrape(at: time, gpu: place.gpu, metric: place.metric), scrapes.contains(scrape),
      fleet.shape.pod(gpu: place.gpu, scrape: scrape) == place.pod
    else {
      if value.isNaN {
        markers += 1
      } else {
        unknown += 1
        remember("\(FleetMetric.all[place.metric].name) of GPU \(place.gpu), pod \(place.pod): a sample at \(time)")
      }
      return
    }
    let bit = (place.gpu * FleetMetric.all.count + place.metric) * fleet.shape.scrapes + scrape
    if seen[bit >> 6] & (1 << UInt64(bit & 63)) != 0 {
      repeated += 1
      return
    }
    seen[bit >> 6] |= 1 << UInt64(bit & 63)
    compared += 1
    let expected = fleet.value(gpu: place.gpu, metric: place.metric, scrape: scrape)
    if expected.bitPattern != value.bitPattern {
      wrong += 1
      remember("\(FleetMetric.all[place.metric].name) of GPU \(place.gpu) at \(time): \(value), not \(expected)")
    }
  }

  private mutating func remember(_ example: String) {
    if examples.count < 5 { examples.append(example) }
  }

  var expected: Int { fleet.shape.series * scrapes.count }
  var missing: Int { expected - compared }
  var isRight: Bool { missing == 0 && wrong == 0 && unknown == 0 && repeated == 0 }
}
