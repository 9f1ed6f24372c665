import BenchmarkFleet

/// Asks a server for every sample, by its own public ways, and holds the answers against the truth.
struct Verification {
  enum Server: String, CaseIterable {
    case apus, victoria, prometheus, influx
  }

  private let fleet: Fleet
  private let client: HTTPClient
  private let scrapes: Range<Int>
  private var truth: Truth

  init(_ fleet: Fleet, scrapes: Range<Int>, port: UInt16) {
    self.fleet = fleet
    self.scrapes = scrapes
    client = HTTPClient(port: port)
    truth = Truth(fleet, scrapes: scrapes)
  }

  /// From before the first sample to behind the last one, in milliseconds.
  private var range: ClosedRange<Int64> {
    let shape = fleet.shape
    return shape.start - 1000...shape.start + Int64(scrapes.upperBound + 1) * shape.intervalMilliseconds
  }

  mutating func run(_ server: Server) throws(ToolError) -> Truth {
    switch server {
    case .apus:
      let labels = FleetLabels(fleet.shape)
      for gpu in 0..<fleet.shape.gpus { try readApus(uuid: labels.uuid(gpu: gpu)) }
    case .victoria: for metric in FleetMetric.all { try readVictoria(metric.name) }
    case .prometheus: for metric in FleetMetric.all { try readPrometheus(metric.name) }
    case .influx: for metric in FleetMetric.all { try readInflux(metric.name) }
    }
    return truth
  }

  // MARK: Apus: the telemetry of a GPU as CSV, page by page

  /// What rows of one series have in common: what stands between time and value, and what follows the value.
  private struct RowTemplate {
    var middle: [UInt8]
    var tail: [UInt8]
    var place: Truth.Place
  }

  private mutating func readApus(uuid: String) throws(ToolError) {
    var path: String? = "/api/v1/gpus/\(uuid)/telemetry?format=csv&limit=10000"
    var templates: [RowTemplate] = []
    var guess = 0
    while let next = path {
      let answer = try client.get(next, accept: "text/csv")
      path = answer.header["link"].flatMap { Verification.next($0) }
      try Scanner.over(answer.body) { scanner throws(ToolError) in
        _ = scanner.line()
        while !scanner.isAtEnd {
          let time = try scanner.instant()
          try readRow(&scanner, time, &templates, &guess)
        }
      }
    }
  }

  private mutating func readRow(
    _ scanner: inout Scanner, _ time: Int64, _ templates: inout [RowTemplate], _ guess: inout Int
  ) throws(ToolError) {
    let start = scanner.position
    for step in 0..<templates.count {
      let index = (guess + step) % templates.count
      let template = templates[index]
      let end = start + template.middle.count
      guard scanner.equals(start..<end, template.middle) else { continue }
      scanner.position = end
      let value = try scanner.number()
      let tail = scanner.line()
      guard scanner.equals(tail, template.tail) else { break }
      truth.check(template.place, time: time, value: value)
      guess = (index + 1) % templates.count
      return
    }
    // A series that was not seen before: its nine cells, its value, its labels.
    scanner.position = start + 1
    for _ in 0..<9 { _ = try scanner.cell() }
    let middle = scanner.copy(start..<scanner.position)
    let value = try scanner.number()
    let tailStart = scanner.position
    scanner.position += 1
    let raw = try scanner.cell()
    let tail = scanner.copy(tailStart..<scanner.position - 1)
    guard let place = truth.place(Verification.labels(raw: raw)) else { return }
    templates.append(RowTemplate(middle: middle, tail: tail, place: place))
    guess = 0
    truth.check(place, time: time, value: value)
  }

  /// `name="value",name="value"`.
  private static func labels(raw: String) -> [(name: String, value: String)] {
    raw.split(separator: "\",").compactMap { part in
      guard let equals = part.firstIndex(of: "=") else { return nil }
      let value = part[part.index(equals, offsetBy: 2)...]
      return (String(part[..<equals]), String(value.last == "\"" ? value.dropLast() : value))
    }
  }

  /// The address in `<…>; rel="next"`.
  private static func next(_ link: String) -> String? {
    guard link.contains("rel=\"next\""), let start = link.firstIndex(of: "<"), let end = link.firstIndex(of: ">") else {
      return nil
    }
    return String(link[link.index(after: start)..<end])
  }

  // MARK: VictoriaMetrics: the export of a metric, a line of JSON a piece of a series

  private mutating func readVictoria(_ metric: String) throws(ToolError) {
    let path =
      "/api/v1/export?match[]=\(percentEncoded("{__name__=\"\(metric)\"}"))"
      + "&start=\(range.lowerBound / 1000)&end=\(range.upperBound / 1000)"
    let answer = try client.get(path)
    try Scanner.over(answer.body) { scanner throws(ToolError) in
      while !scanner.isAtEnd {
        try scanner.expect("{\"metric\":")
        let place = truth.place(try scanner.labels())
        var values: [Double] = []
        try scanner.expect(",\"values\":[")
        while !scanner.take("]") {
          _ = scanner.take(",")
          values.append(try scanner.number())
        }
        try scanner.expect(",\"timestamps\":[")
        for value in values {
          _ = scanner.take(",")
          let time = try scanner.integer()
          if let place { truth.check(place, time: time, value: value) }
        }
        try scanner.expect("]}")
        _ = scanner.line()
      }
    }
  }

  // MARK: Prometheus: a metric over a range, raw

  private mutating func readPrometheus(_ metric: String) throws(ToolError) {
    let seconds = (range.upperBound - range.lowerBound) / 1000
    let path =
      "/api/v1/query?query=\(percentEncoded("\(metric)[\(seconds)s]"))&time=\(range.upperBound / 1000)&timeout=300s"
    let answer = try client.get(path)
    try Scanner.over(answer.body) { scanner throws(ToolError) in
      try scanner.expect("{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[")
      while !scanner.take("]") {
        _ = scanner.take(",")
        try scanner.expect("{\"metric\":")
        let place = truth.place(try scanner.labels())
        try scanner.expect(",\"values\":[")
        while !scanner.take("]") {
          _ = scanner.take(",")
          try scanner.expect("[")
          let time = try scanner.seconds()
          try scanner.expect(",\"")
          let value = try scanner.number()
          try scanner.expect("\"]")
          if let place { truth.check(place, time: time, value: value) }
        }
        try scanner.expect("}")
      }
    }
  }

  // MARK: InfluxDB: a measurement as CSV, series by series

  private mutating func readInflux(_ metric: String) throws(ToolError) {
    let query = "SELECT value FROM \"\(metric)\" GROUP BY *"
    let answer = try client.get("/query?db=bench&epoch=ms&q=\(percentEncoded(query))", accept: "application/csv")
    try Scanner.over(answer.body) { scanner throws(ToolError) in
      var head: [UInt8] = []
      var place: Truth.Place?
      while !scanner.isAtEnd {
        // `name,"tag=value,…",time,value`, and a line with the names of the columns where a series begins.
        let start = scanner.position
        if !head.isEmpty, scanner.equals(start..<start + head.count, head) {
          scanner.position = start + head.count
        } else {
          let name = try scanner.cell()
          if name == "name" || name.isEmpty {
            if name == "name" { _ = scanner.line() }
            continue
          }
          let tags = try scanner.cell()
          head = scanner.copy(start..<scanner.position)
          // It escapes blanks as its line protocol does; no label of the fleet has a backslash of its own.
          place = truth.place(
            [("__name__", name)]
              + tags.filter { $0 != "\\" }.split(separator: ",").compactMap { tag in
                tag.firstIndex(of: "=").map { (String(tag[..<$0]), String(tag[tag.index(after: $0)...])) }
              })
        }
        let time = try scanner.integer()
        try scanner.expect(",")
        let value = try scanner.number()
        _ = scanner.line()
        if let place { truth.check(place, time: time, value: value) }
      }
    }
  }
}
