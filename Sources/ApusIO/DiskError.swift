/// What went wrong with a file: which kind, where, in which call, and the system's own number for it.
package struct DiskError: Error, Hashable, Sendable {
  package enum Kind: Hashable, Sendable {
    case notFound
    case alreadyExists
    case permissionDenied
    /// The file system or the quota is full. Writing may succeed again when space returns.
    case noSpace
    /// The device failed (EIO). What was being written is in doubt.
    case inputOutput
    case tooManyOpenFiles
    /// Another process holds the lock.
    case busy
    case other
  }

  package var kind: Kind
  /// The call that failed: `open`, `write`, `sync`, …
  package var operation: String
  package var path: String
  /// The system's error number; 0 when the error did not come from the system.
  package var code: Int32

  package init(kind: Kind, operation: String, path: String, code: Int32 = 0) {
    self.kind = kind
    self.operation = operation
    self.path = path
    self.code = code
  }
}

extension DiskError: CustomStringConvertible {
  package var description: String {
    let what =
      switch kind {
      case .notFound: "there is no such file or directory"
      case .alreadyExists: "it exists already"
      case .permissionDenied: "permission denied; check the owner and the mode of the data folder"
      case .noSpace: "the disk is full; free some space or lower the retention"
      case .inputOutput: "the device reported an input/output error; check the disk and the kernel log"
      case .tooManyOpenFiles: "too many open files; raise the limit (ulimit -n)"
      case .busy: "another process uses this data folder"
      case .other: "the system reported an error"
      }
    return "\(operation) \(path): \(what)" + (code == 0 ? "" : " (errno \(code))")
  }
}
