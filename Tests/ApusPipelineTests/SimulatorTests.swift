// Goal: the simulated fleet is reproducible byte for byte and behaves like the real thing where users look.
// Method: short simulations with fixed seeds; each test reads the columns of one metric and checks one law.
import ApusModel
import Testing

@testable import ApusPipeline

@Suite struct SimulatorTests {
  static let start = Timestamp(milliseconds: 1_767_225_600_000)

  /// The values of one metric of one GPU over time; nil where it was absent or the node silent.
  static func column(
    _ rounds: [Simulation.Round], node: String, gpu: Int, _ metric: SimulatedMetric, gpus: Int
  ) -> [Double?] {
    rounds.map { round in
      guard let scrape = round.scrapes.first(where: { $0.node == node })?.scrape else { return nil }
      let index = metric.rawValue * gpus + gpu
      if let absent = scrape.absent, absent[index] { return nil }
      return scrape.values[index]
    }
  }

  static func run(
    _ nodes: Int, _ gpus: Int, seed: UInt64 = 7, hours: Double = 1, interval: Int64 = 10_000,
    scenario: Scenario = Scenario()
  ) throws -> [Simulation.Round] {
    let shape = try #require(FleetShape(nodes: nodes, gpusPerNode: gpus))
    let end = Timestamp(milliseconds: start.milliseconds + Int64(hours * 3_600_000))
    return Array(
      Simulation(shape, seed: seed, scenario: scenario, start: start, end: end, intervalMilliseconds: interval))
  }

  @Test func oneSeedGivesTheSameBytes() throws {
    for format in SimulationWriter.Format.allCases {
      func bytes(seed: UInt64) throws -> [UInt8] {
        var writer = SimulationWriter(format)
        return try Self.run(2, 4, seed: seed, hours: 0.05).flatMap { try writer.write($0) }
      }
      let first = try bytes(seed: 1)
      #expect(try bytes(seed: 1) == first)
      #expect(try bytes(seed: 2) != first)
    }
  }

  @Test func aNodeDoesNotDependOnTheOthers() throws {
    let small = try Self.run(1, 8, hours: 0.2)
    let large = try Self.run(5, 8, hours: 0.2)
    for (left, right) in zip(small, large) { #expect(left.scrapes[0].scrape.values == right.scrapes[0].scrape.values) }
  }

  @Test func namesAreAsPromised() throws {
    let round = try #require(try Self.run(3, 2, hours: 0).first)
    #expect(round.scrapes.map { $0.node } == ["node-1", "node-2", "node-3"])
    let scrape = round.scrapes[1].scrape
    #expect(scrape.set.count == 40)
    let labels = scrape.set.series[SimulatedMetric.powerUsage.rawValue * 2 + 1]
    #expect(labels.metricName == "DCGM_FI_DEV_POWER_USAGE")
    #expect(labels["gpu"] == "1")
    #expect(labels["device"] == "nvidia1")
    #expect(labels["Hostname"] == "node-2")
    #expect(labels["instance"] == "node-2:9400")
    #expect(Set(round.scrapes.compactMap { $0.scrape.set.series[0]["datacenter"] }).count == 2)
    let uuids = Set(round.scrapes.flatMap { $0.scrape.set.series.compactMap { $0["UUID"] } })
    #expect(uuids.count == 6)
    #expect(uuids.allSatisfy { $0.hasPrefix("GPU-") && $0.utf8.count == 40 })
    #expect(Set(SimulatedMetric.descriptors.map { $0.name }).count == 20)
  }

  @Test func energyAndCountersOnlyGrow() throws {
    let rounds = try Self.run(2, 8, hours: 2)
    for metric in SimulatedMetric.allCases where metric.descriptor.kind == .counter {
      for gpu in 0..<8 {
        let values = Self.column(rounds, node: "node-1", gpu: gpu, metric, gpus: 8).compactMap { $0 }
        #expect(zip(values, values.dropFirst()).allSatisfy { $0 <= $1 }, "\(metric)")
      }
    }
    let energy = Self.column(rounds, node: "node-2", gpu: 0, .totalEnergy, gpus: 8).compactMap { $0 }
    let power = Self.column(rounds, node: "node-2", gpu: 0, .powerUsage, gpus: 8).compactMap { $0 }
    let joules = power.dropFirst().reduce(0) { $0 + $1 * 10 }
    let metered = (energy[energy.count - 1] - energy[0]) / 1000
    #expect(abs(metered - joules) / joules < 0.02, "\(metered) J metered, \(joules) J by the shown power")
    #expect(metered != joules)
  }

  @Test func temperatureFollowsPowerWithInertia() throws {
    let rounds = try Self.run(4, 8, hours: 6)
    var jumps = 0
    for node in 1...4 {
      for gpu in 0..<8 {
        let power = Self.column(rounds, node: "node-\(node)", gpu: gpu, .powerUsage, gpus: 8).compactMap { $0 }
        let heat = Self.column(rounds, node: "node-\(node)", gpu: gpu, .gpuTemperature, gpus: 8).compactMap { $0 }
        for index in 20..<power.count - 30 {
          guard power[(index - 20)..<index].allSatisfy({ $0 < 120 }),
            power[(index + 1)...(index + 20)].allSatisfy({ $0 > 400 })
          else { continue }
          jumps += 1
          // A step of more than 280 W heats by more than 10 degrees in the end, but not within the first scrape.
          #expect(heat[index + 20] - heat[index - 1] > 10)
          #expect(heat[index] < heat[index + 20])
        }
        #expect(heat.allSatisfy { (20...95).contains($0) })
        #expect(power.allSatisfy { (30...760).contains($0) })
      }
    }
    #expect(jumps > 3, "no job began: \(jumps)")
  }

  @Test func idleIsQuietAndBusyIsNoisy() throws {
    let rounds = try Self.run(8, 8, hours: 3)
    var idle: [Double] = []
    var busy: [Double] = []
    for node in 1...8 {
      for gpu in 0..<8 {
        let name = "node-\(node)"
        let power = Self.column(rounds, node: name, gpu: gpu, .powerUsage, gpus: 8).compactMap { $0 }
        let load = Self.column(rounds, node: name, gpu: gpu, .gpuUtilization, gpus: 8).compactMap { $0 }
        // Differences of neighbours show the noise alone; its spread is √2 times that of one value.
        for index in 31..<power.count {
          if load[(index - 30)...index].allSatisfy({ $0 == 0 }) { idle.append(power[index] - power[index - 1]) }
          if load[(index - 30)...index].allSatisfy({ $0 > 90 }) { busy.append(power[index] - power[index - 1]) }
        }
      }
    }
    func spread(_ values: [Double]) -> Double {
      (values.reduce(0) { $0 + $1 * $1 } / Double(values.count) / 2).squareRoot()
    }
    try #require(idle.count > 1000 && busy.count > 1000)
    #expect((0.2...0.35).contains(spread(idle)), "\(spread(idle))")
    #expect((10...15).contains(spread(busy)), "\(spread(busy))")
  }

  @Test func jobsComeAndGo() throws {
    let rounds = try Self.run(8, 8, hours: 24, interval: 60_000)
    let values = rounds.flatMap { round in
      round.scrapes.flatMap { scrape in
        (0..<8).map { scrape.scrape.values[SimulatedMetric.framebufferUsed.rawValue * 8 + $0] }
      }
    }
    let share = Double(values.count { $0 > 1000 }) / Double(values.count)
    #expect((0.45...0.9).contains(share), "load \(share)")
    let capacity = rounds.flatMap { round in
      round.scrapes.map { scrape in
        scrape.scrape.values[SimulatedMetric.framebufferUsed.rawValue * 8]
          + scrape.scrape.values[SimulatedMetric.framebufferFree.rawValue * 8]
          + scrape.scrape.values[SimulatedMetric.framebufferReserved.rawValue * 8]
      }
    }
    #expect(Set(capacity) == [SimulatedGPU.memoryTotalMiB])
  }

  @Test func noMetricIsAFunctionOfAnother() throws {
    let rounds = try Self.run(2, 8, hours: 8, interval: 30_000)
    // For each pair: whether every GPU's column of the one decides its column of the other.
    var decides = Array(repeating: Array(repeating: true, count: 20), count: 20)
    for node in 1...2 {
      for gpu in 0..<8 {
        let columns = SimulatedMetric.allCases.map {
          Self.column(rounds, node: "node-\(node)", gpu: gpu, $0, gpus: 8).compactMap { $0 }
        }
        for left in 0..<20 {
          for right in 0..<20 where decides[left][right] {
            var image: [Double: Double] = [:]
            for (from, to) in zip(columns[left], columns[right]) {
              if let known = image[from], known != to { decides[left][right] = false }
              image[from] = to
            }
          }
        }
      }
    }
    for (left, from) in SimulatedMetric.allCases.enumerated() {
      // A counter that moves at every scrape repeats no value, so it decides nothing; what never changes follows from all.
      if from == .totalEnergy || from == .powerUsage { continue }
      for (right, to) in SimulatedMetric.allCases.enumerated() where left != right {
        let isConstant = [
          .vgpuLicense, .xid, .rowRemapFailure, .uncorrectableRemappedRows, .correctableRemappedRows, .pcieReplays,
        ].contains(to)
        #expect(isConstant || !decides[left][right], "\(to) follows from \(from)")
      }
    }
  }

  @Test func faultsAppearWhenAndWhereTheyAreAsked() throws {
    let scenario = try Scenario(
      parsing: """
        at 10m for 20m hot node-1/2 celsius=40
        at 5m for 10m xid node-1/0 code=79
        at 20m for 5m lost node-2/3
        at 30m for 10m ecc node-2/1 correctable=4 uncorrectable=1
        at 40m for 5m stop node-2
        """)
    let rounds = try Self.run(2, 4, hours: 1, scenario: scenario)
    let calm = try Self.run(2, 4, hours: 1)
    func at(_ minutes: Int) -> Int { minutes * 6 }
    func column(_ node: String, _ gpu: Int, _ metric: SimulatedMetric, _ rounds: [Simulation.Round]) -> [Double?] {
      Self.column(rounds, node: node, gpu: gpu, metric, gpus: 4)
    }
    let hot = column("node-1", 2, .gpuTemperature, rounds)
    let cool = column("node-1", 2, .gpuTemperature, calm)
    #expect(hot[at(10) - 1] == cool[at(10) - 1])
    #expect(try #require(hot[at(25)]) > #require(cool[at(25)]) + 20)
    let xid = column("node-1", 0, .xid, rounds)
    #expect(xid[at(5) - 1] == 0 && xid[at(5)] == 79 && xid[at(15) - 1] == 79 && xid[at(15)] == 0)
    let lost = column("node-2", 3, .gpuTemperature, rounds)
    #expect(lost[at(20) - 1] != nil && lost[at(20)] == nil && lost[at(25) - 1] == nil && lost[at(25)] != nil)
    #expect(column("node-2", 2, .gpuTemperature, rounds)[at(22)] != nil)
    let rows = column("node-2", 1, .correctableRemappedRows, rounds)
    #expect(try #require(rows[at(59)]) - #require(rows[at(29)]) == 4)
    let worse = column("node-2", 1, .uncorrectableRemappedRows, rounds)
    #expect(worse[at(30) - 1] == 0 && worse[at(59)] == 1)
    #expect(rounds[at(40)].scrapes.map { $0.node } == ["node-1"])
    #expect(rounds[at(45)].scrapes.count == 2)
  }

  @Test func aHotBoardThrottles() throws {
    let scenario = try Scenario(parsing: "at 0s hot * celsius=60")
    let rounds = try Self.run(4, 8, hours: 3, scenario: scenario)
    var throttled = 0
    for round in rounds.dropFirst(30) {
      for (_, scrape) in round.scrapes {
        for gpu in 0..<8 {
          func value(_ metric: SimulatedMetric) -> Double { scrape.values[metric.rawValue * 8 + gpu] }
          guard value(.gpuTemperature) > 90, value(.gpuUtilization) > 50 else { continue }
          throttled += 1
          #expect(value(.smClock) < 1_900)
        }
      }
    }
    #expect(throttled > 0)
  }
}
