import ApusPipeline
import ApusService
import Foundation

extension Assembly {
  /// A replay of the files that `--csv` names. A file that is not there is told now, not once everything runs.
  func csvSource(_ options: SourceOptions, progress: ReplayProgress) throws -> any Source {
    for path in options.csv where !FileManager.default.isReadableFile(atPath: path) {
      throw StartupError("--csv \(path): the file is not there or cannot be read", exitCode: .noInput)
    }
    var configuration = CSVSource.Configuration(files: options.csv)
    configuration.timestamps =
      switch options.timestamps {
      case .original: .original
      case .now: .now
      }
    configuration.rate = options.rate
    configuration.loops = options.loop
    configuration.isStrict = options.strict
    configuration.shard = options.shard.flatMap { CSVShard(index: $0.index, count: $0.count) }
    do {
      return try CSVSource(
        configuration, logger: logger, clock: clock,
        onProgress: { state in
          progress.update(
            ReplayProgress.Count(
              rows: state.rows, bytes: state.bytes, totalBytes: state.totalBytes,
              skipped: state.rowsInvalid + state.rowsWithoutGPU))
        })
    } catch { throw StartupError(pipeline: error) }
  }
}
