import ApusBroker
import ApusIO
import ApusStore

/// Why a source, a streamer or a collector refused or failed.
package enum PipelineError: Error, Sendable {
  /// A setting that cannot be; the reason as a clause.
  case invalidConfiguration(setting: String, reason: String)
  /// A line of a scenario file that is not understood, counted from 1.
  case invalidScenario(line: Int, reason: String)
  case disk(DiskError)
  /// A CSV file without a column that is needed, or with no header at all.
  case invalidHeader(file: String, reason: String)
  /// A row that cannot be used, where the source was told to stop at the first one (`--strict`).
  case invalidRow(file: String, line: Int, reason: String)
  /// The file of a streamer's position does not match its checksum or its format, or belongs to other input.
  case invalidCheckpoint(file: String, reason: String)
  case log(LogError)
  case store(StoreError)
  /// A store has read further than its log reaches: it is another log, or it lost its end.
  case positionAhead(partition: String, position: Int64, end: Int64)
  /// The wait was given up because the part was told to stop.
  case stopped
}

extension PipelineError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .invalidConfiguration(let setting, let reason): "\(setting) \(reason)"
    case .invalidScenario(let line, let reason): "line \(line) of the scenario: \(reason)"
    case .disk(let error): error.description
    case .invalidHeader(let file, let reason): "\(file) cannot be replayed: \(reason)"
    case .invalidRow(let file, let line, let reason):
      "\(file), line \(line): \(reason); correct the row, or leave out --strict to skip such rows"
    case .invalidCheckpoint(let file, let reason):
      "the position file \(file) \(reason); remove it to start over, which publishes the input again"
    case .log(let error): error.description
    case .store(let error): error.description
    case .positionAhead(let partition, let position, let end):
      "the store has read \(partition) up to offset \(position), and the log ends at \(end): it is not the log that the"
        + " store was filled from, or it lost its end. Start with that log; or, to go on with this one, copy the store by"
        + " \"apus store restore FOLDER --reset-positions --data-dir OTHER\", which reads the log from its beginning"
    case .stopped: "it was told to stop"
    }
  }
}
