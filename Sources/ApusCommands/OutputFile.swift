import ApusIO
import ApusService

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// A file that a command writes from its start to its end; `-` is standard output.
struct OutputFile {
  private let path: String
  private let descriptor: Int32

  init(_ path: String) throws(StartupError) {
    self.path = path
    if path == "-" {
      descriptor = 1
      return
    }
    descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    if descriptor < 0 {
      let code = errno
      throw StartupError("\(path) cannot be written: \(String(cString: strerror(code)))", exitCode: .cannotCreate)
    }
  }

  func write(_ bytes: [UInt8]) throws(StartupError) {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { Self.put(descriptor, $0.baseAddress! + done, $0.count - done) }
      if count < 0 {
        let code = errno
        if code == EINTR { continue }
        throw StartupError("\(path) cannot be written: \(String(cString: strerror(code)))", exitCode: .ioError)
      }
      done += count
    }
  }

  /// What was written may still fail to reach the disk; that is told here.
  func close() throws(StartupError) {
    guard descriptor != 1 else { return }
    if Self.end(descriptor) != 0 {
      let code = errno
      throw StartupError("\(path) cannot be written: \(String(cString: strerror(code)))", exitCode: .ioError)
    }
  }

  // The methods hide the functions of the same names.
  private static func put(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
    #if canImport(Glibc)
      Glibc.write(descriptor, bytes, count)
    #else
      Darwin.write(descriptor, bytes, count)
    #endif
  }

  private static func end(_ descriptor: Int32) -> Int32 {
    #if canImport(Glibc)
      Glibc.close(descriptor)
    #else
      Darwin.close(descriptor)
    #endif
  }
}
