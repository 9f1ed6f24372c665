import BenchmarkFleet

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Sends a generated fleet to a server, and compares what the server gives back with what was sent. One line of JSON on
/// standard output says how it went.
///
///     apus-fleet load   --port N --path /api/v1/import/prometheus --format text [the fleet]
///     apus-fleet verify --port N --server apus|victoria|prometheus|influx [the fleet]
///     apus-fleet page   --format text|line --host N [the fleet]        the first scrape of a host
///
/// The fleet: --hosts, --gpus (of a host), --scrapes, --interval (ms), --start (ms since 1970), --seed,
/// --pods none|one|hourly, --spread (series have offsets of their own); --from and --to (scrapes) choose a part of it.
@main
enum FleetTool {
  static func main() {
    do throws(ToolError) {
      var arguments = try Arguments(CommandLine.arguments)
      switch arguments.command {
      case "load": try load(&arguments)
      case "verify": try verify(&arguments)
      case "page": try page(&arguments)
      default: throw ToolError("unknown command \"\(arguments.command)\"; there are load, verify and page")
      }
    } catch {
      say("\(error)")
      exit(1)
    }
  }

  private static func load(_ arguments: inout Arguments) throws(ToolError) {
    let shape = try arguments.shape()
    let scrapes = try arguments.scrapes(of: shape)
    let format = try arguments.choice("--format", of: FleetWriter.Format.allCases)
    let path = arguments.text("--path")
    let port = try arguments.port()
    let hostsPerRequest = try arguments.number("--hosts-per-request") ?? 1
    let shuffled = try arguments.number("--shuffled")
    try arguments.finish()
    let plan = LoadPlan(
      fleet: Fleet(shape), format: format, door: path.map { .http(path: $0) } ?? .tcp, port: port,
      hostsPerRequest: max(1, hostsPerRequest), shuffledSeriesPerRequest: shuffled, scrapes: scrapes)
    let result = try Loader(plan).run()
    let sorted = result.latencies.sorted()
    func percentile(_ share: Double) -> Double { sorted.isEmpty ? 0 : sorted[Int(Double(sorted.count - 1) * share)] }
    print(
      "{\"samples\": \(result.samples), \"requests\": \(result.requests), \"bytes\": \(result.bytes),"
        + " \"retries\": \(result.retries), \"reconnections\": \(result.reconnections),"
        + " \"wall_seconds\": \(result.wallSeconds),"
        + " \"answer_p50\": \(percentile(0.5)), \"answer_p99\": \(percentile(0.99))}")
  }

  private static func verify(_ arguments: inout Arguments) throws(ToolError) {
    let shape = try arguments.shape()
    let scrapes = try arguments.scrapes(of: shape)
    let server = try arguments.choice("--server", of: Verification.Server.allCases)
    let port = try arguments.port()
    try arguments.finish()
    var verification = Verification(Fleet(shape), scrapes: scrapes, port: port)
    let truth = try verification.run(server)
    for example in truth.examples { say(example) }
    print(
      "{\"expected\": \(truth.expected), \"compared\": \(truth.compared), \"missing\": \(truth.missing),"
        + " \"wrong\": \(truth.wrong), \"unknown\": \(truth.unknown), \"repeated\": \(truth.repeated),"
        + " \"markers\": \(truth.markers)}")
    if !truth.isRight { exit(2) }
  }

  private static func page(_ arguments: inout Arguments) throws(ToolError) {
    var shape = try arguments.shape()
    let format = try arguments.choice("--format", of: FleetWriter.Format.allCases)
    let host = try arguments.number("--host") ?? 0
    try arguments.finish()
    shape.scrapes = 1
    guard host < shape.hosts else { throw ToolError("the fleet has \(shape.hosts) hosts") }
    var bytes: [UInt8] = []
    FleetWriter(Fleet(shape), format).write(hosts: host..<host + 1, scrape: 0, to: &bytes)
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes { write(1, $0.baseAddress! + written, $0.count - written) }
      guard count > 0 else { throw ToolError("standard output: error \(errno)") }
      written += count
    }
  }

  private static func say(_ text: String) {
    let line = Array("apus-fleet: \(text)\n".utf8)
    _ = write(2, line, line.count)
  }
}

/// The command line: names that begin with two dashes, each with a value but for `--spread`.
struct Arguments {
  let command: String
  private var values: [String: String] = [:]

  init(_ all: [String]) throws(ToolError) {
    guard all.count > 1 else { throw ToolError("a command is needed: load, verify or page") }
    command = all[1]
    var index = 2
    while index < all.count {
      if all[index] == "--spread" {
        values["--spread"] = ""
        index += 1
        continue
      }
      guard all[index].hasPrefix("--"), index + 1 < all.count else { throw ToolError("\(all[index]) needs a value") }
      values[all[index]] = all[index + 1]
      index += 2
    }
  }

  mutating func text(_ name: String) -> String? { values.removeValue(forKey: name) }

  mutating func number(_ name: String) throws(ToolError) -> Int? {
    guard let text = text(name) else { return nil }
    guard let number = Int(text), number >= 0 else { throw ToolError("\(name) \(text) is no whole number from 0") }
    return number
  }

  mutating func choice<Value: RawRepresentable>(
    _ name: String, of all: [Value]
  ) throws(ToolError) -> Value where Value.RawValue == String {
    guard let value = text(name).flatMap({ Value(rawValue: $0) }) else {
      throw ToolError("\(name) is one of \(all.map(\.rawValue).joined(separator: ", "))")
    }
    return value
  }

  mutating func port() throws(ToolError) -> UInt16 {
    guard let number = try number("--port"), let port = UInt16(exactly: number) else {
      throw ToolError("--port is needed")
    }
    return port
  }

  mutating func shape() throws(ToolError) -> FleetShape {
    var shape = FleetShape()
    shape.hosts = try number("--hosts") ?? shape.hosts
    shape.gpusPerHost = try number("--gpus") ?? shape.gpusPerHost
    shape.scrapes = try number("--scrapes") ?? shape.scrapes
    shape.intervalMilliseconds = Int64(try number("--interval") ?? Int(shape.intervalMilliseconds))
    shape.start = Int64(try number("--start") ?? Int(shape.start))
    shape.seed = UInt64(try number("--seed") ?? Int(shape.seed))
    if values["--pods"] != nil { shape.pods = try choice("--pods", of: FleetShape.Pods.allCases) }
    shape.isSpread = text("--spread") != nil
    guard shape.hosts > 0, shape.gpusPerHost > 0, shape.scrapes > 0, shape.intervalMilliseconds > 0 else {
      throw ToolError("a fleet has at least one host, GPU and scrape")
    }
    return shape
  }

  mutating func scrapes(of shape: FleetShape) throws(ToolError) -> Range<Int> {
    let from = try number("--from") ?? 0
    let to = try number("--to") ?? shape.scrapes
    guard from <= to, to <= shape.scrapes else { throw ToolError("--from \(from) --to \(to) is no part of the fleet") }
    return from..<to
  }

  func finish() throws(ToolError) {
    if let name = values.keys.sorted().first { throw ToolError("unknown option \(name)") }
  }
}
