#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// Standard output and standard error as a person or a script sees them.
enum Terminal {
  /// One line to standard output, at once: a script may be waiting for it.
  static func say(_ line: String) {
    var text = line + "\n"
    text.withUTF8 { bytes in _ = write(1, bytes.baseAddress, bytes.count) }
  }

  /// Text to standard error as it is, without a new line: for what is drawn over again.
  static func draw(_ text: String) {
    var text = text
    text.withUTF8 { bytes in _ = write(2, bytes.baseAddress, bytes.count) }
  }

  /// Whether standard error is a terminal, and so a progress bar is of use.
  static var isInteractive: Bool { isatty(2) == 1 }
}
