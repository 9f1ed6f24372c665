/// The samples of a generated fleet: what is sent to the servers, and the truth that they are compared with.
package struct Fleet: Sendable {
  package let shape: FleetShape
  /// Whole numbers scaled by the metric's places: series after series (GPU by GPU, each metric by metric), scrape after
  /// scrape.
  private let scaled: [Int64]

  package init(_ shape: FleetShape) {
    self.shape = shape
    let metrics = FleetMetric.all.count
    let seconds = Double(shape.intervalMilliseconds) / 1000
    scaled = [Int64](unsafeUninitializedCapacity: shape.samples) { buffer, count in
      var works = [GPUModel.Work](repeating: .idle, count: shape.scrapes)
      for host in 0..<shape.hosts {
        var node = NodeModel(seed: FleetRandom.mix(shape.seed &* 1_000_003 &+ UInt64(host)))
        for scrape in 0..<shape.scrapes {
          node.advance(seconds: seconds)
          works[scrape] = node.work
        }
        for gpu in host * shape.gpusPerHost..<(host + 1) * shape.gpusPerHost {
          var model = GPUModel(seed: FleetRandom.mix(shape.seed ^ UInt64(gpu) &* 0x9e37_79b9_7f4a_7c15))
          let first = buffer.baseAddress! + gpu * metrics * shape.scrapes
          for scrape in 0..<shape.scrapes {
            model.scrape(works[scrape], seconds: seconds, into: first + scrape, stride: shape.scrapes)
          }
        }
      }
      count = shape.samples
    }
  }

  /// A value as the whole number that it is at its metric's places.
  package func scaledValue(gpu: Int, metric: Int, scrape: Int) -> Int64 {
    scaled[(gpu * FleetMetric.all.count + metric) * shape.scrapes + scrape]
  }

  /// A value as every correct reader of its text has it: both numbers are exact, so their quotient is the nearest one.
  package func value(gpu: Int, metric: Int, scrape: Int) -> Double {
    Double(scaledValue(gpu: gpu, metric: metric, scrape: scrape))
      / FleetMetric.powersOfTen[FleetMetric.all[metric].places]
  }
}
