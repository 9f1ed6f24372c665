/// What the process answers to the one that started it. The numbers are those of `sysexits.h`, so scripts can tell a
/// wrong flag from a full disk; they never change.
package enum ExitCode: Int32, Sendable, CaseIterable {
  /// Done, or stopped by a signal and drained in time.
  case success = 0
  /// A check or a query found what it looked for to be bad (`diagnose`, `health`).
  case checkFailed = 1
  /// A flag, a variable or a configuration file that cannot be.
  case usage = 64
  /// Data that is not in its format (a CSV with `--strict`, a corrupt segment).
  case dataError = 65
  /// A file or folder to read that is not there.
  case noInput = 66
  /// A broker, a store or another process that cannot be reached.
  case unavailable = 69
  /// A fault of the program itself.
  case software = 70
  /// The system refused: too many open files, no memory, no disk.
  case osError = 71
  /// A file or folder that cannot be made or written.
  case cannotCreate = 73
  /// Reading or writing failed.
  case ioError = 74
  /// An address to listen on that is in use.
  case addressInUse = 75
  /// Not permitted.
  case noPermission = 77
  /// Stopped before all was drained: the grace period ran out.
  case graceExceeded = 79
}

/// Why a command could not start or go on: one sentence for the person and a code for the script.
package struct StartupError: Error, Sendable, CustomStringConvertible {
  package var sentence: String
  package var exitCode: ExitCode

  package init(_ sentence: String, exitCode: ExitCode) {
    self.sentence = sentence
    self.exitCode = exitCode
  }

  /// A refused setting is the user's mistake, a taken address has a code of its own.
  package init(_ error: ServiceError) {
    let code: ExitCode =
      switch error {
      case .invalidByteCount, .invalidDuration, .invalidAddress: .usage
      case .addressInUse: .addressInUse
      case .cannotListen: .osError
      case .stopped: .software
      }
    self.init(error.description, exitCode: code)
  }

  package var description: String { sentence }
}
