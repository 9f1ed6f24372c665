import ApusFormats
import ApusModel

/// Reading a CSV export, rows a second: the columns of the real one, `labels_raw` included, about 480 bytes a row; a
/// file of many rounds, in which series repeat, and a file in which each series is new.
enum CSVBenchmark {
  static let benchmark = Benchmark(name: "csv") { context in
    let gpus = context.size.pick(small: 8, large: 128)
    let rounds = context.size.pick(small: 2, large: 80)
    let round = file(gpus: gpus, rounds: rounds, firstGPU: 0)
    let fresh = file(gpus: gpus * rounds, rounds: 1, firstGPU: 100_000)
    return [
      try await context.best { try read(round, rows: gpus * rounds * 20, name: "csv/repeated-series") },
      try await context.best { try read(fresh, rows: gpus * rounds * 20, name: "csv/new-series") },
    ]
  }

  private static func read(_ bytes: [UInt8], rows: Int, name: String) throws -> Measurement {
    let watch = Stopwatch()
    var reader = CSVReader()
    var samples = 0
    var position = 0
    let pieceBytes = 1 << 20
    bytes.withUnsafeBytes { whole in
      while position < whole.count {
        let end = min(whole.count, position + pieceBytes)
        var batch = CSVRows()
        let piece = UnsafeRawBufferPointer(rebasing: whole[position..<end])
        reader.feed(piece, now: Timestamp(milliseconds: 0), into: &batch)
        samples += batch.count
        position = end
      }
    }
    var last = CSVRows()
    reader.finish(now: Timestamp(milliseconds: 0), into: &last)
    samples += last.count
    let wall = watch.wallSeconds
    let cpu = watch.cpuSeconds
    guard samples == rows else { throw BenchmarkError.wrongResult("\(samples) of \(rows) rows were read") }
    return Measurement(
      name: name, count: Double(rows), unit: "rows", bytes: Double(bytes.count), wallSeconds: wall, cpuSeconds: cpu)
  }

  private static func file(gpus: Int, rounds: Int, firstGPU: Int) -> [UInt8] {
    var random = BenchmarkRandom(seed: 5)
    var text = "timestamp,metric_name,gpu_id,device,uuid,modelName,Hostname,container,pod,namespace,value,labels_raw\n"
    text.reserveCapacity(gpus * rounds * 20 * 500)
    for round in 0..<rounds {
      let minute = String(100 + round / 6 % 60).dropFirst()
      let second = String(100 + round % 6 * 10).dropFirst()
      let time = "2025-07-18T20:\(minute):\(second)Z"
      for metric in 0..<20 {
        for gpu in firstGPU..<firstGPU + gpus {
          let host = "mtv5-dgx1-hgpu-\(gpu / 8)"
          let uuid = ExporterPage.uuid(node: gpu / 8, gpu: gpu % 8)
          let name = "DCGM_FI_DEV_BENCH_\(metric)"
          text += "\"\(time)\",\"\(name)\",\"\(gpu % 8)\",\"nvidia\(gpu % 8)\",\"\(uuid)\",\"NVIDIA H100 80GB HBM3\","
          text += "\"\(host)\",\"\",\"\",\"\",\"\(Int.random(in: 0...81_000, using: &random))\","
          text += "\"DCGM_FI_DRIVER_VERSION=\"\"535.129.03\"\",Hostname=\"\"\(host)\"\",UUID=\"\"\(uuid)\"\","
          text += "__name__=\"\"\(name)\"\",device=\"\"nvidia\(gpu % 8)\"\",gpu=\"\"\(gpu % 8)\"\","
          text +=
            "instance=\"\"\(host):9400\"\",job=\"\"dgx_dcgm_exporter\"\",modelName=\"\"NVIDIA H100 80GB HBM3\"\"\"\n"
        }
      }
    }
    return Array(text.utf8)
  }
}
