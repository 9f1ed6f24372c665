import ApusFormats
import ApusModel

/// Parsing exporter pages, samples a second: where the page is laid out as the last one of its source was, and where
/// every page is the first of its source.
enum ExpositionBenchmark {
  static let benchmark = Benchmark(name: "exposition") { context in
    let nodes = context.size.pick(small: 2, large: 250)
    let rounds = context.size.pick(small: 2, large: 40)
    let variants = 4
    let pages = (0..<variants).map { seed in
      (0..<nodes).map { ExporterPage.text(node: $0, gpus: 8, seed: UInt64(seed)) }
    }
    let samples = nodes * 8 * ExporterPage.metricCount
    let bytes = pages[0].reduce(0) { $0 + $1.count }

    let matched = try await context.best {
      var parsers = (0..<nodes).map { _ in ExpositionParser() }
      for node in 0..<nodes { _ = parsers[node].parse(pages[0][node], now: Timestamp(milliseconds: 0)) }
      var matchedCount = 0
      let watch = Stopwatch()
      for round in 1...rounds {
        for node in 0..<nodes {
          let now = Timestamp(milliseconds: Int64(round) * 10_000)
          matchedCount += parsers[node].parse(pages[round % variants][node], now: now).matchedCount
        }
      }
      guard matchedCount == samples * rounds else {
        throw BenchmarkError.wrongResult("\(matchedCount) of \(samples * rounds) samples matched the last page")
      }
      return Measurement(
        name: "exposition/matched", count: Double(samples * rounds), unit: "samples", bytes: Double(bytes * rounds),
        wallSeconds: watch.wallSeconds, cpuSeconds: watch.cpuSeconds)
    }

    let first = try await context.best {
      var sampleCount = 0
      let passes = max(1, rounds / 8)
      let watch = Stopwatch()
      for _ in 0..<passes {
        for node in 0..<nodes {
          var parser = ExpositionParser()
          sampleCount += parser.parse(pages[0][node], now: Timestamp(milliseconds: 0)).sampleCount
        }
      }
      guard sampleCount == samples * passes else {
        throw BenchmarkError.wrongResult("\(sampleCount) of \(samples * passes) samples were read")
      }
      return Measurement(
        name: "exposition/first-page", count: Double(sampleCount), unit: "samples", bytes: Double(bytes * passes),
        wallSeconds: watch.wallSeconds, cpuSeconds: watch.cpuSeconds)
    }
    return [matched, first]
  }
}
