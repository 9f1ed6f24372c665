import ApusIO

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// One number that a benchmark found, with what it took.
struct Measurement {
  /// What was measured, as a path: `log/append/every`.
  var name: String
  /// How many of the unit were done.
  var count: Double
  /// What is counted: `samples`, `rows`, `messages`.
  var unit: String
  /// Bytes that went through, where that says something.
  var bytes: Double?
  var wallSeconds: Double
  /// Of all threads of this process.
  var cpuSeconds: Double
  /// Further numbers, such as percentiles, in the order they are shown.
  var details: [(name: String, value: Double, unit: String)] = []
}

/// The clocks of this process.
struct Stopwatch {
  private let wall: Double
  private let cpu: Double

  init() {
    wall = Stopwatch.read(CLOCK_MONOTONIC)
    cpu = Stopwatch.read(CLOCK_PROCESS_CPUTIME_ID)
  }

  var wallSeconds: Double { Stopwatch.read(CLOCK_MONOTONIC) - wall }
  var cpuSeconds: Double { Stopwatch.read(CLOCK_PROCESS_CPUTIME_ID) - cpu }

  private static func read(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}

/// How large a run is. The small one is part of the tests, so that no benchmark rots; its numbers mean nothing.
enum BenchmarkSize {
  case small
  case large

  /// One of two numbers by size.
  func pick(small: Int, large: Int) -> Int { self == .small ? small : large }
}

/// What a benchmark is handed.
struct BenchmarkContext {
  var size: BenchmarkSize
  /// An empty folder on the disk that is measured, removed afterwards.
  var folder: String

  /// Runs the body a few times and keeps the run that took the least processor time: what disturbs a run only adds.
  func best(
    of runs: Int? = nil, _ body: () async throws -> Measurement
  ) async throws -> Measurement {
    var best = try await body()
    for _ in 1..<max(1, runs ?? size.pick(small: 1, large: 3)) {
      let next = try await body()
      if next.cpuSeconds < best.cpuSeconds { best = next }
    }
    return best
  }
}

/// A group of measurements of one part.
struct Benchmark: Sendable {
  var name: String
  var run: @Sendable (BenchmarkContext) async throws -> [Measurement]
}

/// Shows measurements as lines for people and as JSON for scripts.
enum Report {
  static func line(_ measurement: Measurement) -> String {
    let perWall = measurement.count / measurement.wallSeconds
    let perCPU = measurement.count / measurement.cpuSeconds
    var text = pad(measurement.name, 34)
    text += pad("\(scaled(perWall)) \(measurement.unit)/s", 24, left: true)
    text += pad("\(scaled(perCPU)) \(measurement.unit)/CPU s", 28, left: true)
    if let bytes = measurement.bytes {
      text += pad("\(scaled(bytes / measurement.wallSeconds))B/s", 12, left: true)
      text += pad("\(scaled(bytes / measurement.cpuSeconds))B/CPU s", 16, left: true)
    }
    for detail in measurement.details { text += "  \(detail.name) \(scaled(detail.value)) \(detail.unit)" }
    return text
  }

  static func json(_ measurements: [Measurement]) -> [UInt8] {
    var writer = JSONWriter(reserving: 4096)
    writer.beginArray()
    for measurement in measurements {
      writer.beginObject()
      writer.key("name")
      writer.string(measurement.name)
      writer.key("unit")
      writer.string(measurement.unit)
      member(&writer, "count", measurement.count)
      member(&writer, "wall_seconds", measurement.wallSeconds)
      member(&writer, "cpu_seconds", measurement.cpuSeconds)
      member(&writer, "per_second", measurement.count / measurement.wallSeconds)
      member(&writer, "per_cpu_second", measurement.count / measurement.cpuSeconds)
      if let bytes = measurement.bytes { member(&writer, "bytes", bytes) }
      for detail in measurement.details {
        member(&writer, String(detail.name.map { $0 == " " ? "_" : $0 }), detail.value)
      }
      writer.endObject()
    }
    writer.endArray()
    return writer.bytes
  }

  private static func member(_ writer: inout JSONWriter, _ name: String, _ value: Double) {
    writer.key(name)
    writer.double(value)
  }

  /// Three digits and a letter: 12.3 M.
  static func scaled(_ value: Double) -> String {
    let steps: [(Double, String)] = [(1e9, " G"), (1e6, " M"), (1e3, " k")]
    for (step, letter) in steps where abs(value) >= step { return digits(value / step) + letter }
    return digits(value) + " "
  }

  private static func digits(_ value: Double) -> String {
    let decimals = value >= 100 ? 0 : value >= 10 ? 1 : 2
    var factor = 1.0
    for _ in 0..<decimals { factor *= 10 }
    let rounded = (value * factor).rounded() / factor
    return decimals == 0 ? "\(Int(rounded))" : "\(rounded)"
  }

  private static func pad(_ text: String, _ width: Int, left: Bool = false) -> String {
    let spaces = String(repeating: " ", count: max(1, width - text.count))
    return left ? spaces + text : text + spaces
  }
}
