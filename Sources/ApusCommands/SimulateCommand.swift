import ApusIO
import ApusModel
import ApusPipeline
import ApusService
import ArgumentParser

/// `apus simulate`: a fleet's telemetry into files.
struct SimulateCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "simulate",
    abstract: "Write the telemetry of a simulated fleet to a file: CSV, exposition text or frames.",
    discussion: """
      The same fleet, seed, scenario and start give the same bytes every time.

      Examples:
        apus simulate 4x8 --for 1h --csv fleet.csv
        apus simulate 1x8 --for 10m --interval 1s --scenario faults.txt --text -
      """)

  @Argument(help: "The fleet: NODESxGPUS, like 4x8.", transform: Parsing.fleet)
  var fleet: FleetShape

  @Option(name: .customLong("for"), help: "How much time to simulate.", transform: Parsing.positiveDuration)
  var length: Duration = .seconds(3600)

  @Option(name: .long, help: "The time between two scrapes.", transform: Parsing.positiveDuration)
  var interval: Duration = .seconds(10)

  @Option(name: .long, help: "The time of the first scrape (RFC 3339, or now).", transform: Parsing.instant)
  var start = Timestamp(milliseconds: 1_767_225_600_000)

  @Option(name: .long, help: "The seed of everything that happens.")
  var seed: UInt64 = 1

  @Option(name: .long, help: "Faults to inject. Format: docs/how-to/simulate.md.")
  var scenario: String?

  @Option(name: .long, help: "Write CSV (the columns of docs/how-to/stream-csv.md) to this file; - is standard output.")
  var csv: String?

  @Option(name: .long, help: "Write Prometheus text with timestamps to this file; - is standard output.")
  var text: String?

  @Option(name: .long, help: "Write the log's record batches to this file; - is standard output.")
  var frames: String?

  func validate() throws {
    guard csv != nil || text != nil || frames != nil else {
      throw ValidationError("say where to write: --csv FILE, --text FILE or --frames FILE")
    }
    guard interval >= .milliseconds(1) else { throw ValidationError("--interval must be at least 1ms") }
  }

  func run() async throws {
    let scenario = try ScenarioFile.read(scenario, for: fleet)
    let step = interval.wholeNanoseconds / 1_000_000
    let span = length.wholeNanoseconds / 1_000_000
    let rounds = max(1, span / step)
    let end = Timestamp(milliseconds: start.milliseconds + (rounds - 1) * step)
    var simulation = Simulation(
      fleet, seed: seed, scenario: scenario, start: start, end: end, intervalMilliseconds: step)
    var outputs: [(writer: SimulationWriter, file: OutputFile)] = []
    for (path, format) in [(csv, SimulationWriter.Format.csv), (text, .text), (frames, .frames)] {
      if let path { outputs.append((SimulationWriter(format), try OutputFile(path))) }
    }
    var samples = 0
    var done: Int64 = 0
    while let round = simulation.next() {
      for scrape in round.scrapes { samples += scrape.scrape.sampleCount }
      for index in outputs.indices {
        do { try outputs[index].file.write(try outputs[index].writer.write(round)) } catch let error as PipelineError {
          throw StartupError(pipeline: error)
        }
      }
      done += 1
      if Terminal.isInteractive && done % 100 == 0 {
        Terminal.draw("\r\u{1b}[K\(done * 100 / rounds) %  \(samples) samples")
      }
    }
    for index in outputs.indices {
      try outputs[index].file.close()
    }
    Terminal.draw((Terminal.isInteractive ? "\r\u{1b}[K" : "") + "\(samples) samples of \(fleet.gpus) GPUs\n")
  }
}
