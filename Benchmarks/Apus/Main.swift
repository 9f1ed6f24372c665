#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// `apus-bench [--small] [--json FILE] [--folder DIR] [NAME…]`: runs the benchmarks whose names begin so, or all.
@main
enum Main {
  /// Every benchmark there is, in the order in which they run.
  static let all: [Benchmark] = [
    ExpositionBenchmark.benchmark, CSVBenchmark.benchmark, LogBenchmark.benchmark, StoreBenchmark.benchmark,
    PipelineBenchmark.benchmark, RollupBenchmark.benchmark,
  ]

  static func main() async throws {
    var size = BenchmarkSize.large
    var jsonPath: String?
    var folder = ".build/bench-data"
    var names: [String] = []
    var arguments = CommandLine.arguments.dropFirst()
    while let argument = arguments.popFirst() {
      switch argument {
      case "--small": size = .small
      case "--json": jsonPath = arguments.popFirst()
      case "--folder": folder = arguments.popFirst() ?? folder
      case _ where argument.hasPrefix("-"):
        print("usage: apus-bench [--small] [--json FILE] [--folder DIR] [NAME…]")
        exit(64)
      default: names.append(argument)
      }
    }
    var measurements: [Measurement] = []
    for benchmark in all where names.isEmpty || names.contains(where: benchmark.name.hasPrefix) {
      let context = BenchmarkContext(size: size, folder: folder + "/" + benchmark.name)
      for measurement in try await benchmark.run(context) {
        print(Report.line(measurement))
        measurements.append(measurement)
      }
    }
    guard !measurements.isEmpty else {
      print("no benchmark is called that; there are: \(all.map(\.name).joined(separator: ", "))")
      exit(64)
    }
    if let jsonPath { try write(Report.json(measurements), to: jsonPath) }
  }

  private static func write(_ bytes: [UInt8], to path: String) throws {
    guard let file = fopen(path, "w") else { throw BenchmarkError.cannotWrite(path) }
    let written = fwrite(bytes, 1, bytes.count, file)
    guard fclose(file) == 0, written == bytes.count else { throw BenchmarkError.cannotWrite(path) }
  }
}

/// What a benchmark found to be wrong: its numbers would mean nothing.
enum BenchmarkError: Error {
  case cannotWrite(String)
  /// The work was not done as it should have been.
  case wrongResult(String)
}
