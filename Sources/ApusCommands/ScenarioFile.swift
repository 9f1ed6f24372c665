import ApusIO
import ApusPipeline
import ApusService
import Foundation

/// Reads the file of faults that `--scenario` names.
enum ScenarioFile {
  /// How large such a file may be, in bytes.
  static let bytesMax = 4 << 20

  /// Without a path, a fleet without faults.
  static func read(_ path: String?, for fleet: FleetShape) throws(StartupError) -> Scenario {
    guard let path else { return Scenario() }
    guard let data = FileManager.default.contents(atPath: path) else {
      throw StartupError("--scenario \(path): the file cannot be read", exitCode: .noInput)
    }
    guard data.count <= bytesMax else {
      throw StartupError("--scenario \(path): the file is larger than \(bytesMax) bytes", exitCode: .dataError)
    }
    do {
      let scenario = try Scenario(parsing: String(decoding: data, as: UTF8.self))
      try scenario.check(fits: fleet)
      return scenario
    } catch { throw StartupError("--scenario \(path): \(error)", exitCode: .dataError) }
  }
}

extension PipelineError {
  /// What a script is told.
  var exitCode: ExitCode {
    switch self {
    case .invalidConfiguration: .usage
    case .invalidScenario, .invalidHeader, .invalidRow, .invalidCheckpoint: .dataError
    case .disk(let error): error.kind == .notFound ? .noInput : .ioError
    case .log(let error):
      if case .unreachable = error { .unavailable } else { .software }
    case .store: .software
    case .positionAhead: .dataError
    case .stopped: .graceExceeded
    }
  }
}
